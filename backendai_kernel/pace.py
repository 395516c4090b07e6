"""How often output of a running cell may end a held poll, so that the rate limit lasts.

Each time costs a request. A cell shows its output quickly at first and after a silence; one that
floods for long is shown in larger steps, and when the keypair's budget runs low plain polling, every
2 s, has to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .ratelimit import RateLimit

_FIRST = 0.02  # seconds from the first output of a cell to its showing
_QUICK = 0.25  # seconds from one showing to the next
_QUICK_TIMES = 120  # half a minute at that pace
_SLOWER = 1.0
_NEVER = ""  # no number: the server's own 2 s
_COMFORT = 0.5  # share of the budget that must be left for the quick pace …
_NEED = 0.25  # … and for any


class Pace:
    """The steps of one session's runs."""

    def __init__(self, rate: RateLimit, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._times = 0
        self._last = 0.0

    def begin(self) -> None:
        """A cell begins."""
        self._times = 0

    def first_gap(self) -> float | None:
        """Return the seconds from a cell's first output to its showing; ``None``: no hurry."""
        return _FIRST if self._left() > _NEED else None

    def next_gap(self) -> str:
        """Return the answer to a live question: seconds from it to the next one, or nothing."""
        now = self._clock()
        if now - self._last > 5.0:  # it was silent: what comes now is news
            self._times = max(0, self._times - _QUICK_TIMES // 4)
        self._last = now
        self._times += 1
        left = self._left()
        if left <= _NEED:
            return _NEVER
        if left > _COMFORT and self._times <= _QUICK_TIMES:
            return str(_QUICK)
        return str(_SLOWER)

    def _left(self) -> float:
        if not self._rate.limit or self._rate.remaining is None:
            return 1.0
        return self._rate.remaining / self._rate.limit
