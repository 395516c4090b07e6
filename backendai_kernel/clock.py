"""The server's clock: how far it is from ours, and what that means for signatures.

A manager refuses a signature whose time is 15 minutes off before it looks at anything else, so a
request that was refused for its time did nothing, whatever it was (API reference 2.6).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from .errors import APIError, BackendError

_BELIEVED = 100 * 365 * 86400.0  # seconds: a computer without a battery begins in 1970
_SAME = 60.0  # seconds by which two measurements differ at the most when no clock was set


class Clock:
    """What time it is where requests are checked.

    Attributes:
        skew: Seconds that the server's clock is ahead of ours, as of its last answer; ``None``: it
            does not tell. The ``Date`` header has whole seconds.
        correction: Seconds that are added to our time in what is signed.
    """

    def __init__(self) -> None:
        self.skew: float | None = None
        self.correction = 0.0
        self._date = ""

    def now(self) -> datetime:
        """Return the time to sign with."""
        return datetime.fromtimestamp(time.time() + self.correction, UTC)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Take the time from an answer's headers, where they have it."""
        date = headers.get("Date") or headers.get("date")
        if date and date != self._date:  # most answers come in the second of the one before
            self._date = date
            from email.utils import parsedate_to_datetime

            try:
                skew = parsedate_to_datetime(date).timestamp() - time.time()
            except (ValueError, TypeError, IndexError, OverflowError, OSError):
                self.skew = None
            else:
                self.skew = skew if abs(skew) < _BELIEVED else None

    def corrects(self, refused: BackendError, signed: float) -> bool:
        """Tell whether a refused request is worth sending once more, signed with another time.

        The server's own time is then followed from now on. It is not when the server tells none, or
        the time that was refused: something between has a clock of its own, and says the hour of
        that.

        Args:
            refused: Of the answer that was observed last.
            signed: The correction with which the request was signed.
        """
        if not is_about_time(refused):
            return False
        if abs(self.correction - signed) > _SAME:
            return True  # another request was refused meanwhile, and the clock is corrected already
        if self.skew is None or abs(self.skew - signed) <= _SAME:
            return False
        self.correction = self.skew
        return True

    def explain(self, refused: BackendError) -> BackendError:
        """Return the refusal with what was tried about it."""
        if is_about_time(refused):
            if self.correction:
                refused.hint = f"Signing with the server's own time did not help. {refused.hint}"
            elif self.skew is None:
                refused.hint = f"The server does not tell its time. {refused.hint}"
        return refused


def is_about_time(refused: BackendError) -> bool:
    """Tell whether a request was refused for the time in its signature (recording 60)."""
    return (
        isinstance(refused, APIError)
        and refused.slug == "invalid-auth-params"
        and "sync" in refused.msg.lower()
    )
