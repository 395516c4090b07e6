"""A gigabyte of text out of one cell: what it costs each process in memory, and where it ends up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
from frontend import Frontend
from table import Row

LENGTH = 1000  # characters of a line, its end included
PRINTS = "line = 'x' * {}\nfor _ in range({}):\n    print(line)"
MOST = 150.0  # MiB that kernel and manager may grow by


class Watch:
    """Follows the resident memory of processes while it is entered.

    Attributes:
        grown: Name of a process → MiB by which it was larger than at the beginning, at the most.
    """

    def __init__(self, processes: Mapping[str, psutil.Process]) -> None:
        self.grown = dict.fromkeys(processes, 0.0)
        self._processes = dict(processes)
        self._before = {name: _mib(process) for name, process in processes.items()}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._is_over.wait(0.05):
            for name, process in self._processes.items():
                grown = _mib(process) - self._before[name]
                self.grown[name] = max(self.grown[name], grown)


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def processes_of(kernel: Frontend) -> dict[str, psutil.Process]:
    """Return the kernel, the manager, and the session's runner and interpreter."""
    interpreter = psutil.Process(int(kernel.run("import os\nos.getpid()").result))
    runner = interpreter.parent()
    assert runner is not None
    manager = runner.parent()
    assert manager is not None
    return {
        "kernel": psutil.Process(kernel.process.pid),
        "manager": manager,
        "runner": runner,
        "interpreter": interpreter,
    }


def flood_rows(kernel: Frontend, state: Path, size: int) -> Iterator[Row]:
    """Print *size* bytes in one cell of a kernel before the embedded manager.

    Args:
        state: Where the kernel keeps its journal.
    """
    what = f"{size / 1e9:g} GB printed"
    with Watch(processes_of(kernel)) as watch:
        cell = kernel.run(PRINTS.format(LENGTH - 1, size // LENGTH))
    assert cell.status == "ok"
    yield Row(f"{what}, s", "", f"{cell.seconds:.0f}", cell.seconds, None)
    for name, grown in watch.grown.items():
        target = MOST if name in ("kernel", "manager") else None
        yield Row(f"… growth of the {name}, MiB", "", f"{grown:.0f}", grown, target)
    shown = len(cell.text) / 1e6
    yield Row("… shown, 10⁶ characters", "", f"{shown:.0f}", shown, None)
    pace = len(cell.texts) / cell.seconds
    yield Row("… messages a second", "", f"{pace:.0f}", pace, 100)
    began = time.monotonic()
    assert kernel.run("1+1").result == "2"
    after = time.monotonic() - began
    yield Row("… the next cell, s", "", f"{after:.2f}", after, None)
    lost = size - size // LENGTH - _kept(state)
    yield Row("… characters not in the journal", "", str(lost), lost, 0)


def _kept(state: Path) -> int:
    """Return how many letters of the flood are in the largest file of the journal."""
    largest = max((state / "journal").glob("*/*.jsonl"), key=lambda path: path.stat().st_size)
    found = 0
    with largest.open("rb") as file:
        file.readline()  # the code
        while piece := file.read(2**20):
            found += piece.count(b"x")
    return found
