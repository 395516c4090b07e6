"""What ends a session by itself: a limit of idleness, and one of its life.

Source: API reference 4.12; the checkers of 26.4.16. Both come from the owner's policy. Idleness
counts from the last end of an execution or of a connection to an app, and rests while one lasts;
what a session tells then stays at the last number.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..model import SessionStatus
from .sessions import SessionRecord

if TYPE_CHECKING:
    from .auth import KeyPairPolicy
    from .lifecycle import Lifecycle

CHECK = 15.0
"""Seconds between two checks; more often where limits are shorter, as only tests have them."""

_EXPIRED = -1.0


def pause(policy: KeyPairPolicy) -> float | None:
    """Return the seconds between two checks of a policy's sessions; ``None``: it has no limits."""
    limits = [each for each in (policy.idle_timeout, policy.max_session_lifetime) if each > 0]
    return min(CHECK, min(limits) / 8) if limits else None


async def check(lifecycle: Lifecycle, record: SessionRecord) -> None:
    """Note what is left of a running session's time, and end it when that is nothing."""
    if record.status is not SessionStatus.RUNNING or record.container is None:
        return
    policy, now = record.owner.policy, asyncio.get_running_loop().time()
    if policy.max_session_lifetime > 0:
        left = policy.max_session_lifetime - (now - record.began)
        record.remaining["session_lifetime"] = left if left > 0 else _EXPIRED
        if left <= 0:
            lifecycle.end(record, "idle-session-lifetime")
            return
    if policy.idle_timeout <= 0:
        return
    if record.active or await lifecycle.is_executing(record.container):
        record.accessed = now
        return
    left = policy.idle_timeout - (now - record.accessed)
    record.remaining["network_timeout"] = left if left > 0 else _EXPIRED
    if left <= 0 and record.ending is None:
        lifecycle.end(record, "idle-timeout")


def report(record: SessionRecord) -> dict[str, Any]:
    """Return ``idle_checks`` of a session; a check that has no limit is told with ``null``."""
    names = ["session_lifetime"]
    if record.owner.policy.idle_timeout > 0:
        names.insert(0, "network_timeout")
    return {
        name: {
            "remaining": record.remaining.get(name),
            "remaining_time_type": "expire_after",
            "extra": None,
        }
        for name in names
    }
