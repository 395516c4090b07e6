"""The server's rate limit, respected before it bites and shared with the other notebooks.

The server counts per keypair (per user from 26.x on) over 15 minutes and tells the rest in every
answer, so all notebooks of a keypair see one count. What they cannot see is that another one was
just refused: that is left in a small file for them. Source: API reference 3.3.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_RESERVE = 0.2  # below this share of the window's budget, polls are spread out
_LONGEST_GAP = 10.0  # seconds between two polls at the most
_FIRST_REFUSAL = 5.0  # seconds to wait when the server does not say how long
_LONGEST_REFUSAL = 60.0
_JITTER = 1.1  # so that not all who were refused come back at the same moment
_BELIEVED = _LONGEST_REFUSAL * _JITTER


class RateLimit:
    """How many requests are left, and until when none may be sent."""

    def __init__(
        self,
        shared: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin with no knowledge.

        Args:
            shared: File that carries a refusal to other processes; ``None``: not shared.
            clock: Seconds since the epoch; one for all processes of this computer.
        """
        self.limit: int | None = None
        self.remaining: int | None = None
        self._window = 900.0
        self._resets_at: float | None = None
        self._blocked_until = 0.0
        self._refusals = 0
        self._shared = shared
        self._clock = clock

    def observe(self, headers: Mapping[str, str]) -> None:
        """Take note of an answer's ``X-RateLimit-*`` headers."""
        limit = _number(headers.get("X-RateLimit-Limit"))
        remaining = _number(headers.get("X-RateLimit-Remaining"))
        if limit is not None and remaining is not None:
            self.limit, self.remaining = int(limit), int(remaining)
        if window := _number(headers.get("X-RateLimit-Window")):
            self._window = window
        if (reset := _number(headers.get("X-RateLimit-Reset"))) is not None:
            # Seconds from now, or a moment since the epoch: servers differ.
            self._resets_at = reset if reset > 1e9 else self._clock() + reset

    def accepted(self) -> None:
        """A request was let through."""
        self._refusals = 0

    def refused(self, retry_after: float | None) -> float:
        """A request was refused (429); return the seconds to wait, and tell the others."""
        now = self._clock()
        if retry_after is None and self._resets_at is not None and self._resets_at > now:
            retry_after = self._resets_at - now
        if retry_after is None:
            retry_after = _FIRST_REFUSAL * 2**self._refusals
        self._refusals = min(self._refusals + 1, 6)
        wait = min(max(retry_after, 0.1), _LONGEST_REFUSAL) * random.uniform(1.0, _JITTER)
        self._blocked_until = now + wait
        self._tell()
        return wait

    def blocked_for(self) -> float:
        """Return the seconds until requests may be sent again, 0 for now."""
        until = max(self._blocked_until, self._told())
        # A moment far ahead comes from a clock that was set; do not believe it.
        return max(0.0, min(until - self._clock(), _BELIEVED))

    def gap(self) -> float:
        """Return the seconds to wait before the next poll of a run, so that the budget lasts."""
        if not self.limit or self.remaining is None or self.remaining > self.limit * _RESERVE:
            return 0.0
        left = self._window
        if self._resets_at is not None:
            left = max(0.0, self._resets_at - self._clock())
        return min(left / max(self.remaining, 1), _LONGEST_GAP)

    def _tell(self) -> None:
        # Another's longer refusal stays, unless it lies so far ahead that a clock was set.
        told = self._told()
        if self._shared is None or self._blocked_until <= told <= self._clock() + _BELIEVED:
            return
        from .config import write_private

        write_private(self._shared, f"{self._blocked_until:.3f}".encode())

    def _told(self) -> float:
        if self._shared is None:
            return 0.0
        try:
            return float(self._shared.read_text())
        except (FileNotFoundError, ValueError):
            return 0.0  # nobody was refused yet, or the file is not ours


def _number(text: str | None) -> float | None:
    try:
        number = None if text is None else float(text)
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None
