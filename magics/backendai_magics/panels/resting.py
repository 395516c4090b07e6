"""Whether the clock that will end a session rests: read from what the server says is left."""

from __future__ import annotations

from backendai_kernel.usage import Usage

RESTS = -1
"""In place of the time when a session ends: the clock stands still, because it is in use."""

_APART = 25.0  # seconds between two readings that decide; servers look every 15 s (reference 4.12)
_NOISE = 4.0  # seconds by which two readings differ by the network and by rounding


class IdleClock:
    """The idle clock of one session.

    A server tells what is left. While that falls, its sum with now stays put; while the session is
    in use nothing falls, and the sum moves forward as fast as the clock on the wall.
    """

    def __init__(self) -> None:
        self._since: Usage | None = None
        self._rests = False

    def read(self, usage: Usage) -> int:
        """Take a reading; return when the session ends, 0 for never or `RESTS`."""
        since = self._since
        if since is None or not usage.ends_at or not since.ends_at:
            self._since, self._rests = usage, False
            return usage.ends_at
        passed = usage.read_at - since.read_at
        if passed <= 0:  # it is the same reading
            return RESTS if self._rests else usage.ends_at
        if abs(usage.ends_at - since.ends_at - passed) > _NOISE:
            self._since, self._rests = usage, False
        elif passed >= _APART or self._rests:
            self._since, self._rests = usage, True
        return RESTS if self._rests else usage.ends_at
