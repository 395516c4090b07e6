"""A flood of text out of one cell: memory stays flat, the page small, and the journal whole."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.proxy.conftest import folder  # noqa: F401 -- a fixture
from tests.proxy.frontend import Notebook, bare_environment, open_notebook

MIB = 2**20
SHOWN = 8 * MIB
# Many lines, and some that are longer than a message.
PRINTS = """
line, long = 'x' * 999, 'x' * 2_999_999
for number in range({}):
    for _ in range(7000):
        print(line)
    print(long)
"""
PRINTED = 10_000_000  # characters for each number
LETTERS = 7000 * 999 + 2_999_999


@pytest.fixture
def environ(folder) -> dict[str, str]:  # noqa: F811
    """A kernel with a manager in a process of its own."""
    return bare_environment(folder) | {"BACKENDAI_KERNEL_OUTPUT": str(SHOWN)}


def peak(process: psutil.Process) -> int:
    """Return the most bytes that a process has had in memory, or where nobody counts, has now."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return int(process.memory_info().rss)
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


async def processes_of(notebook: Notebook) -> dict[str, psutil.Process]:
    cell = await notebook.run("import os\nos.getpid()")
    runner = psutil.Process(int(cell.result)).parent()
    return {"kernel": notebook.process, "manager": runner.parent()}


def letters_in(journal: Path) -> int:
    largest = max(journal.glob("*/*.jsonl"), key=lambda path: path.stat().st_size)
    found = 0
    with largest.open("rb") as file:
        file.readline()  # the code
        while piece := file.read(MIB):
            found += piece.count(b"x")
    return found


@pytest.fixture
def ended() -> Iterator[list[psutil.Process]]:
    """Processes that are ended after the test."""
    found: list[psutil.Process] = []
    yield found
    for process in found:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.mark.parametrize(
    "count", [pytest.param(7, id="70 MB"), pytest.param(100, id="1 GB", marks=pytest.mark.alone)]
)
async def test_memory_stays_flat(environ, folder, ended, count):  # noqa: F811
    async with open_notebook(folder, environ) as notebook:
        processes = await processes_of(notebook)
        ended.append(processes["manager"])
        before = {name: process.memory_info().rss for name, process in processes.items()}
        cell = notebook.send(PRINTS.format(count))
        await cell.done(600)
        grown = {name: (peak(p) - before[name]) // MIB for name, p in processes.items()}
        after = await notebook.run("6 * 7")
    texts = [content["text"] for content in cell.of("stream")]

    assert cell.is_ok
    assert after.result == "42"
    limit = 150 if count > 10 else 64
    assert {name: mib for name, mib in grown.items() if mib > limit} == {}
    assert SHOWN <= len(cell.stdout) < SHOWN + 10_000
    assert cell.stdout.endswith("x\n")
    assert max(map(len, texts)) <= 1_000_000
    assert "only its end is shown" in cell.stderr
    assert "BACKENDAI_KERNEL_OUTPUT" in cell.stderr
    assert letters_in(folder / "state" / "journal") == count * LETTERS
