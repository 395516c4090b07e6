"""Find and end every process of a container, grandchildren and daemons too.

A process belongs to a container when one of these holds: it is a descendant of its runner, it is in
the session (in the sense of setsid) of one that is, or it carries the container's mark in the
environment that it was started with. The mark finds what has cut all other ties.

Shared with the runner, so it needs the standard library only (and psutil where there is no /proc).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARK = "BACKENDAI_KERNEL_ID"
_PROC = Path("/proc")
_LOOK_AGAIN = 0.005


@dataclass(frozen=True)
class _Process:
    pid: int
    parent: int
    session: int
    marked: bool


def end_all(container: str, *roots: int) -> None:
    """Kill what belongs to a container, and return when nothing of it runs any more.

    The calling process itself is left out.

    Args:
        container: The id that its processes carry in the variable `MARK`.
        roots: Processes known to be of it; they may be gone already.
    """
    known = set(roots)
    while found := members(container, *known):
        known |= found
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_LOOK_AGAIN)


def members(container: str, *roots: int) -> set[int]:
    """Return the live processes of a container, without the caller; zombies are not alive."""
    processes = list(_all(f"{MARK}={container}".encode()))
    mine = {p.pid for p in processes if p.marked} | set(roots)
    while True:
        more = {p.pid for p in processes if {p.parent, p.session} & mine} - mine
        if not more:
            break
        mine |= more
    return (mine & {p.pid for p in processes}) - {os.getpid()}


def _all(mark: bytes) -> Iterator[_Process]:
    if not _PROC.is_dir():
        yield from _all_by_psutil(mark)
        return
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name, in parentheses, may contain anything; the fields begin after the last one.
            state, parent, _, session = (
                (folder / "stat").read_bytes().rpartition(b")")[2].split(None, 4)[:4]
            )
            if state not in (b"Z", b"X"):
                marked = mark in _environ(folder)
                yield _Process(int(folder.name), int(parent), int(session), marked)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked


def _environ(folder: Path) -> list[bytes]:
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except PermissionError:
        return []  # of another user


def _all_by_psutil(mark: bytes) -> Iterator[_Process]:
    import psutil

    name, _, value = mark.decode().partition("=")
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                marked = process.environ().get(name) == value
                session = os.getsid(process.pid)
                yield _Process(process.pid, process.ppid(), session, marked)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
