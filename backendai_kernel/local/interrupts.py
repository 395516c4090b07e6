"""When an interrupt may reach the interpreter: not before the cell that it is meant for has begun.

ipykernel takes a SIGINT that comes just before a cell for its own and never answers the request,
and Python misses one that comes just before it falls asleep. Both moments are over soon.

Runs inside the runner.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_SETTLED = 0.05  # seconds after its beginning when a cell is safely in its own code
_NOT_BEGUN_LIMIT = 5.0  # seconds that an interrupt waits for a cell that does not say it has begun


class Interrupts:
    """Holds an interrupt back until its moment has come.

    Cells are announced, begin and are over, one after the other; interrupts come from another
    thread at any time.

    Args:
        send: Interrupts the interpreter.
    """

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._announced = 0  # cells that are on their way in, or in
        self._cell = 0  # which one it is; an interrupt is not kept for the next
        self._begun: float | None = None  # when it began
        self._wanted = False

    def announce(self) -> None:
        """A cell is on its way in."""
        with self._lock:
            self._announced += 1

    def begun(self) -> None:
        """The cell runs the user's code."""
        with self._lock:
            self._begun = time.monotonic()
            if self._wanted:
                self._later(_SETTLED)

    def over(self) -> None:
        """The cell has ended."""
        with self._lock:
            self._announced -= 1
            self._cell += 1
            self._begun = None
            self._wanted = False

    def ask(self) -> None:
        """Interrupt the cell, at once or when it can be; without a cell at once."""
        with self._lock:
            self._wanted = True
            if not self._announced:
                self._now(self._cell)
            elif self._begun is None:
                self._later(_NOT_BEGUN_LIMIT)
            else:
                self._later(self._begun + _SETTLED - time.monotonic())

    def _later(self, seconds: float) -> None:
        if seconds <= 0:
            self._now(self._cell)
            return
        timer = threading.Timer(seconds, self._when_due, [self._cell])
        timer.daemon = True
        timer.start()

    def _when_due(self, cell: int) -> None:
        with self._lock:
            self._now(cell)

    def _now(self, cell: int) -> None:
        if self._wanted and cell == self._cell:
            self._wanted = False
            self._send()
