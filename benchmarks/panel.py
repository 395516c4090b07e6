"""What a panel with all its parts costs: messages, bytes and time for 10, 100 and 1,000 sessions.

    python benchmarks/panel.py            # in the kernel: messages, bytes, milliseconds, memory
    python benchmarks/panel.py --page     # in JupyterLab as well: against a plain HTML table

The kernel is a plain ipykernel in a process of its own, and what is counted is what a front end
receives, every frame of it. The rows are made up, so no server's time is in the figures.
Milliseconds are those of the processor, in the thread that does the work.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frontend import PLAIN, Frontend, _cell
from table import Row

ROOT = Path(__file__).parents[1]
SIZES = (10, 100, 1000)
ROUNDS = 5

PREPARE = """
import time, datetime
from backendai_kernel.model import Session
from backendai_magics.connection import Connection
from backendai_magics.panels.widget import open_widget
connection = Connection(None)
open_widget("", connection).close()
def made(number, status="RUNNING"):
    return Session(
        id=f"{number:08}-0000-4000-8000-{number:012}", name=f"experiment-{number:05}",
        status_name=status, image="registry.example.com/stable/python:3.11-ubuntu22.04",
        occupying_slots='{"cpu": "2", "mem": "4294967296", "cuda.shares": "0.5"}',
        created_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), access_key="AKIAEXAMPLE",
    )
def open_panel(many):
    began = time.thread_time()
    widget = open_widget("", connection)
    part = widget.desk.parts["sessions"]
    part._rows.update(many, {}, own_key="AKIAEXAMPLE")
    part.tell(**part._rows.whole(), **part._state())
    return widget, part, (time.thread_time() - began) * 1e3
def refresh(part, many):
    began = time.thread_time()
    if changes := part._rows.update(many, {}, own_key="AKIAEXAMPLE"):
        part.tell(**changes)
    return (time.thread_time() - began) * 1e3
"""


class Counting(Frontend):
    """A front end that counts what the kernel publishes for a cell's comms."""

    def counted(self, code: str) -> tuple[dict[str, int], int, str]:
        """Run code; return comm messages by type, their bytes on the wire, and the value."""
        own = self._wire.send(self._shell, "execute_request", _cell(code))["header"]["msg_id"]
        kinds: dict[str, int] = {}
        total, result, is_idle = 0, "", False
        while not is_idle:
            if not self._iopub.poll(60_000):
                raise TimeoutError(code)
            frames = self._iopub.recv_multipart()
            _, parts = self._wire.feed_identities(frames)
            message = self._wire.deserialize(parts)
            if message["parent_header"].get("msg_id") != own:
                continue
            kind = message["header"]["msg_type"]
            if kind.startswith("comm_"):
                kinds[kind] = kinds.get(kind, 0) + 1
                total += sum(map(len, frames))
            elif kind == "execute_result":
                result = message["content"]["data"]["text/plain"]
            elif kind == "error":
                raise RuntimeError("\n".join(message["content"]["traceback"]))
            is_idle = kind == "status" and message["content"]["execution_state"] == "idle"
        self._shell.poll(60_000)
        self._receive(self._shell)
        return kinds, total, result


@dataclass
class Figures:
    """What one number of sessions costs."""

    opens: int = 0
    create: int = 0
    same: int = 0
    some: int = 0
    everything: int = 0
    ms: list[float] = field(default_factory=list)
    refresh_ms: list[float] = field(default_factory=list)
    memory: float = 0.0


def measure(front: Counting, size: int) -> Figures:
    found = Figures()
    for turn in range(ROUNDS):
        front.run(f"many = [made(n) for n in range({size})]")
        before = front.process.memory_full_info().uss
        kinds, found.create, ms = front.counted("widget, part, ms = open_panel(many)\nms")
        if turn == 0:  # later rounds use what the first has freed
            found.memory = (front.process.memory_full_info().uss - before) / 2**20
        found.opens = kinds["comm_open"]
        found.ms.append(float(ms))
        _, found.same, ms = front.counted("refresh(part, [made(n) for n in range(len(many))])")
        found.refresh_ms.append(float(ms))
        changed = (
            "[made(n, 'TERMINATING' if n % 100 == 0 else 'RUNNING') for n in range(len(many))]"
        )
        _, found.some, _ = front.counted(f"refresh(part, {changed})")
        everything = "[made(n, 'TERMINATED') for n in range(len(many))]"
        _, found.everything, _ = front.counted(f"refresh(part, {everything})")
        front.run("widget.close()")
    return found


def rows(size: int, found: Figures) -> list[Row]:
    """Return lines of the table; the targets are those for 1,000 sessions."""
    ms, again = statistics.median(found.ms), statistics.median(found.refresh_ms)
    figures: list[tuple[str, float, str, float]] = [
        ("comm_open", found.opens, "", 3),
        ("to create, kB", found.create / 1e3, " kB", 300),
        ("to create, in the kernel", ms, " ms", 60),
        ("to create, memory", found.memory, " MiB", 4),
        ("refresh, nothing changed, bytes", found.same, " B", 0),
        ("refresh, nothing changed, in the kernel", again, " ms", 60),
        ("refresh, 1 % changed, kB", found.some / 1e3, " kB", 1.5),
        ("refresh, all changed, kB", found.everything / 1e3, " kB", 40),
    ]
    return [
        Row(f"{size} sessions: {what}", "", f"{value:.4g}{unit}", value, target)
        for what, value, unit, target in figures
    ]


# -- in a page ----------------------------------------------------------------------------------

TABLE = """\
from IPython.display import HTML, display
names = ["name", "status", "image", "resources", "age", "idle", "actions"]
cells = ["<td>experiment-%05d</td><td>Running</td><td>stable/python:3.11</td><td>2 CPU</td><td>3 d</td>"
         "<td>-</td><td><button>Logs</button> <button>End</button></td>" % n for n in range(SIZE)]
HTML("<table><tr>" + "".join(f"<th>{n}</th>" for n in names) + "</tr><tr>" + "</tr><tr>".join(cells)
     + "</tr></table>")"""
PANEL = """\
widget = open_widget("", connection)
part = widget.desk.parts["sessions"]
part._look_at_all = part._listen = idle
part._rows.update(many[:SIZE], {}, own_key="AKIAEXAMPLE")
part._is_read = True
widget"""
IDLE = "import asyncio\nasync def idle():\n    await asyncio.sleep(600)\n"
# From the request until no long task, no new element and no new text has come for half a second.
SETTLED = """async run => {
    const log = {began: performance.now(), last: performance.now(), blocked: 0};
    const tasks = new PerformanceObserver(list => {
        for (const task of list.getEntries()) {
            log.blocked += Math.max(0, task.duration - 50);
            log.last = Math.max(log.last, task.startTime + task.duration);
        }
    });
    tasks.observe({entryTypes: ['longtask']});
    const box = window.jupyterapp.shell.currentWidget.content.activeCell.node;
    const changes = new MutationObserver(() => { log.last = performance.now(); });
    changes.observe(box, {childList: true, subtree: true, characterData: true});
    await window.jupyterapp.commands.execute('notebook:run-cell');
    while (performance.now() - log.last < 500) await new Promise(go => setTimeout(go, 20));
    tasks.disconnect();
    changes.disconnect();
    return [log.last - log.began, log.blocked, box.querySelectorAll('.jp-OutputArea *').length];
}"""


def in_a_page() -> list[Row]:
    """Return how long sessions take to settle in JupyterLab, against a plain HTML table."""
    sys.path.insert(0, str(ROOT))
    from playwright.sync_api import sync_playwright

    from tests.browser.lab import FLAGS, Sheet, find_browser, serve

    lines: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="panel-") as home,
        serve(Path(home)) as lab,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        sheet = Sheet(browser.new_page(viewport={"width": 1280, "height": 1000}))
        sheet.open(lab.write("panel", kernel="python3"))
        sheet.run(PREPARE + IDLE + "many = [made(n) for n in range(1000)]")
        for size in SIZES:
            sheet.run(f"SIZE = {size}")
            lines += settled(sheet, size)
        complaints = len(sheet.complaints)
        browser.close()
    return [*lines, Row("in JupyterLab: errors in the console", "", f"{complaints}", complaints, 0)]


def settled(sheet: Any, size: int) -> list[Row]:
    """Return lines for one number of sessions, which the notebook has as ``SIZE``."""
    taken: dict[str, list[list[float]]] = {"table": [], "panel": []}
    for _ in range(ROUNDS):
        for what, code in (("table", TABLE), ("panel", PANEL)):
            cell = sheet.write(code)
            cell.editor.click()
            taken[what].append(sheet.page.evaluate(SETTLED))
            sheet.command("notebook:clear-cell-output")
    middle = {
        what: [statistics.median(column) for column in zip(*each, strict=True)]
        for what, each in taken.items()
    }
    ratio = statistics.median(
        mine[0] / theirs[0] for mine, theirs in zip(taken["panel"], taken["table"], strict=True)
    )

    def told(place: int, unit: str) -> tuple[str, str]:
        return f"{middle['table'][place]:.0f}{unit}", f"{middle['panel'][place]:.0f}{unit}"

    where = f"{size} sessions, in JupyterLab"
    is_many = size == max(SIZES)  # a table of ten rows settles before any program can
    blocked, elements = middle["panel"][1:]
    return [
        Row(f"{where}: settled", *told(0, " ms"), ratio, 1.2 if is_many else None),
        Row(f"{where}: main thread blocked, ms", *told(1, " ms"), blocked, 150),
        Row(f"{where}: elements in the output", *told(2, ""), elements, 1500),
    ]


def main() -> None:
    lines = [
        "| what | HTML table | panel | figure | target | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory(prefix="panel-") as home:
        environ: dict[str, Any] = {**os.environ, "BACKENDAI_KERNEL_STATE": str(Path(home, "state"))}
        paths = [str(ROOT), str(ROOT / "magics"), os.environ.get("PYTHONPATH", "")]
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        with Counting(PLAIN, Path(home), environ) as front:
            front.run(PREPARE)
            for size in SIZES:
                lines += map(str, rows(size, measure(front, size)))
    if "--page" in sys.argv[1:]:
        lines += map(str, in_a_page())
    print("\n".join(lines))
    target = ROOT / "build" / "panel.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
