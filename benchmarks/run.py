"""Measure this kernel against a plain ipykernel, in turn, and print ratios.

See ``README.md`` beside this file for the three kernels and for what to trust in the figures.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

from commands import official_command, ps_rows
from flood import flood_rows
from frontend import OURS, PLAIN, Frontend
from live import live_rows
from rich import rich_rows
from table import Row, in_turn
from tunnel import tunnel_rows

import backendai_kernel
import bai
from backendai_kernel.local import discovery

HERE = Path(__file__).parent
FLOOD = 10_000_000  # bytes
GIGABYTE = 1_000_000_000
PIECE = 64 * 1024
PRINTS = f"for _ in range({FLOOD // 100}):\n    print('x' * 99)"
LINE = "import time\nprint(time.monotonic_ns())\ntime.sleep({})"
SPIN = "print('go', flush=True)\nwhile True:\n    pass"


class Bench:
    """The kernels and the managers behind them, and one method a group of rows."""

    def __init__(self, folder: Path, stub: str, local: dict[str, str], rounds: float) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("BACKEND", "SORNA_"))}
        clean["IPYTHONDIR"] = str(folder / "ipython")
        own = clean | {
            "BACKENDAI_KERNEL_CONFIG": str(folder / "config"),
            "BACKENDAI_KERNEL_STATE": str(folder / "state"),
        }
        self.folder, self.stub, self._rounds = folder, stub, rounds
        keys = {"BACKEND_ACCESS_KEY": "AKIAIOSFODNN7EXAMPLE", "BACKEND_SECRET_KEY": "none"}
        self.environ = {
            "direct": clean,
            "proxy": own | {"BACKEND_ENDPOINT": stub} | keys,
            "whole": own | local,
        }
        if os.environ.get("BACKEND_ENDPOINT"):
            given = {k: v for k, v in os.environ.items() if k.startswith("BACKEND_")}
            self.environ["cluster"] = own | given

    def rounds(self, number: int) -> range:
        return range(max(3, round(number * self._rounds)))

    def kernel(self, name: str) -> Frontend:
        argv = PLAIN if name == "direct" else OURS
        return Frontend(argv, self.folder, self.environ[name])

    @contextmanager
    def kernels(self, *names: str) -> Iterator[list[Frontend]]:
        """Give running kernels that have each run a cell."""
        with ExitStack() as stack:
            opened = [stack.enter_context(self.kernel(name)) for name in names]
            for kernel in opened:
                assert kernel.run("1+1").status == "ok"
            time.sleep(1)  # what a start leaves to the background is over
            yield opened

    def told(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.stub}/_stub", timeout=10) as answer:
            return json.load(answer)

    # -- the rows -----------------------------------------------------------------------------

    def start(self) -> Iterator[Row]:
        """Start of the process to ``kernel_info_reply``, and memory after one cell."""
        greetings, memory = [], []
        for _ in self.rounds(9):
            pair = []
            for name in ("direct", "proxy"):
                with self.kernel(name) as kernel:
                    assert kernel.run("1+1").status == "ok"
                    time.sleep(0.7)  # imports that wait for the front end to be served
                    pair.append((kernel.greeting, *kernel.memory()))
            greetings.append([taken[0] for taken in pair])
            memory.append([taken[1:] for taken in pair])
        yield in_turn("`kernel_info` after the start", greetings, 1e3, "ms", 1.10)
        yield in_turn(
            "RSS after one cell", [[taken[0] for taken in pair] for pair in memory], 1, "MiB", 1.15
        )
        yield in_turn(
            "USS after one cell", [[taken[1] for taken in pair] for pair in memory], 1, "MiB", None
        )

    def trip(self) -> Iterator[Row]:
        """Round trip of ``1+1``, request to reply and idle, and its requests."""
        with self.kernels("direct", "proxy", "whole") as kernels:
            before = self.told()["total"]
            taken = [[kernel.run("1+1").seconds for kernel in kernels] for _ in self.rounds(200)]
            requests = (self.told()["total"] - before) / len(taken)
        yield in_turn("`1+1`, proxy alone", [t[:2] for t in taken], 1e3, "ms", 0.9)
        yield in_turn("`1+1`, whole", [t[::2] for t in taken], 1e3, "ms", 2.5)
        yield Row("requests of a one-step cell", "", f"{requests:g}", requests, 1)

    def line(self) -> Iterator[Row]:
        """A line of a running cell: from the moment it exists to the moment it is seen."""
        # Long enough for what holds the line back: 0.2 s in ipykernel, 2.0 s in a server.
        codes = {"direct": LINE.format(0.5), "proxy": "#line", "whole": LINE.format(2.5)}
        with self.kernels(*codes) as kernels:
            taken = []
            for _ in self.rounds(9):
                delays = []
                for kernel, code in zip(kernels, codes.values(), strict=True):
                    came, text = kernel.run(code).texts[0]
                    delays.append(came - int(text.split()[0]) / 1e9)
                taken.append(delays)
        yield in_turn("first line, proxy alone", [t[:2] for t in taken], 1e3, "ms", 0.25)
        yield in_turn("first line, whole", [t[::2] for t in taken], 1e3, "ms", None)

    def flood(self) -> Iterator[Row]:
        """Ten megabytes of text: time to idle, bytes that came, CPU of the kernel process."""
        codes = {"direct": PRINTS, "proxy": f"#flood {FLOOD} {PIECE}", "whole": PRINTS}
        speed, seconds, cpu, pace, lost = [], [], [], [], 0
        with self.kernels(*codes) as kernels:
            for _ in self.rounds(5):
                times, cpus = [], []
                for kernel, code in zip(kernels, codes.values(), strict=True):
                    used = kernel.cpu()
                    cell = kernel.run(code)
                    times.append(cell.seconds)
                    cpus.append(kernel.cpu() - used)
                    if kernel is not kernels[0]:
                        lost += FLOOD - len(cell.text)
                    if kernel is kernels[1]:
                        pace.append(len(cell.texts) / cell.seconds)
                speed.append([FLOOD / 1e6 / taken for taken in times[:2]])
                seconds.append(times[::2])
                cpu.append(cpus[:2])
        yield in_turn("10 MB in 64 KiB pieces, proxy alone", speed, 1, "MB/s", 3, at_least=True)
        yield in_turn("… CPU of the kernel process", cpu, 1e3, "ms", 0.4)
        rate = statistics.median(pace)
        yield Row("… messages a second", "", f"{rate:.0f}", rate, 100)
        yield in_turn("10 MB printed, whole", seconds, 1, "s", 1.3)
        yield Row("… bytes lost, both", "", str(lost), lost, 0)

    def gigabyte(self) -> Iterator[Row]:
        """A gigabyte of text out of one cell: memory, and where the text is."""
        with self.kernel("whole") as kernel:
            assert kernel.run("1+1").status == "ok"
            state = Path(self.environ["whole"]["BACKENDAI_KERNEL_STATE"])
            yield from flood_rows(kernel, state, round(GIGABYTE * self._rounds))

    def ps(self) -> Iterator[Row]:
        """``%bai ps`` against ``backend.ai ps`` as a process."""
        environ = self.environ["whole"]
        yield from ps_rows(environ, self.folder, len(self.rounds(7)), official_command())

    def tunnel(self) -> Iterator[Row]:
        """Bytes and words through the tunnel to an app, against the official client's."""
        yield from tunnel_rows(
            self.environ["direct"], self.folder, self._rounds, official_command()
        )

    def interrupt(self) -> Iterator[Row]:
        """From the interrupt request to reply and idle, and to the manager's own endpoint."""
        codes = {"direct": SPIN, "proxy": "#spin", "whole": SPIN}
        taken, hits = [], []
        with self.kernels("direct", "proxy", "whole") as kernels:
            for _ in self.rounds(9):
                delays = []
                for kernel, (name, code) in zip(kernels, codes.items(), strict=True):
                    asked: list[float] = []

                    def stop(
                        text: str, kernel: Frontend = kernel, asked: list[float] = asked
                    ) -> None:
                        if "go" in text and not asked:
                            time.sleep(0.3)  # it spins by now, and the next poll is under way
                            asked.append(time.monotonic())
                            kernel.interrupt()

                    cell = kernel.run(code, stop)
                    assert cell.status == "error"
                    delays.append(time.monotonic() - asked[0])
                    if name == "proxy":
                        hits.append(self.told()["interrupted_at"] / 1e9 - asked[0])
                taken.append(delays)
        yield in_turn("interrupt to reply, proxy alone", [t[:2] for t in taken], 1e3, "ms", 1.5)
        hit = statistics.median(hits) * 1e3
        yield Row("… to the manager's endpoint, ms", "", f"{hit:.1f}", hit, 10)
        yield in_turn("interrupt to reply, whole", [t[::2] for t in taken], 1e3, "ms", None)

    def rich(self) -> Iterator[Row]:
        """Pictures, display updates, a slider, completion."""
        with self.kernels("direct", "whole") as pair:
            yield from rich_rows(pair, self.rounds(7), self.rounds(60))

    def live(self) -> Iterator[Row]:
        """Requests of cells that run for half a minute, here and on a cluster that is set up."""
        for name, where in (("whole", "embedded"), ("cluster", "cluster")):
            if name in self.environ:
                with self.kernels(name) as [kernel]:
                    yield from live_rows(kernel, where, 30, self.rounds(7))


# -- the managers -----------------------------------------------------------------------------


@contextmanager
def stub() -> Iterator[str]:
    """Run the stub and give its URL."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "stub.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.communicate(timeout=20)


@contextmanager
def embedded(state: Path) -> Iterator[dict[str, str]]:
    """Run an embedded manager and give the variables that point at it."""
    command = [sys.executable, "-m", "backendai_kernel.local", "--state", str(state)]
    with subprocess.Popen([*command, "--cpu", "4"], stdout=subprocess.DEVNULL) as process:
        try:
            while (found := discovery.find(state)) is None:
                if process.poll() is not None:
                    raise RuntimeError("the embedded manager did not start")
                time.sleep(0.05)
            yield {
                "BACKEND_ENDPOINT": found.url,
                "BACKEND_ACCESS_KEY": found.access_key,
                "BACKEND_SECRET_KEY": found.secret_key,
            }
        finally:
            process.terminate()
            process.wait(30)


# -- the table --------------------------------------------------------------------------------

GROUPS = ("start", "trip", "line", "flood", "gigabyte", "interrupt", "rich", "live", "ps", "tunnel")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--rounds", type=float, default=1.0, help="factor on all repetitions")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks.md"))
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there is {', '.join(GROUPS)}")
    for package in (backendai_kernel, bai):  # as an installation does
        compileall.compile_dir(Path(str(package.__file__)).parent, quiet=1)
    lines = [headline(), "", "| what | direct | ours | ratio | target | |", "|" + " --- |" * 6]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory(prefix="backendai-bench-") as name:
        folder = Path(name)
        with stub() as url, embedded(folder / "manager") as local:
            bench = Bench(folder, url, local, options.rounds)
            for group in options.groups or GROUPS:
                for row in getattr(bench, group)():
                    lines.append(str(row))
                    print(row, flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def headline() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("ipykernel", "pyzmq", "aiohttp"))
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"Python {platform.python_version()}, {packages}; {os.cpu_count()} cores, load {load} at "
        f"the start; {time.strftime('%Y-%m-%d')}."
    )


if __name__ == "__main__":
    sys.exit(main())
