"""When a session will end by itself, as its server counts: read, said in words, put off.

What a server checks is its own affair, and so are the limits: it is asked for what is left, nothing
is computed here (API reference 4.12).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from .client import Client
from .protocol import calls

NETWORK = "network_timeout"
LIFETIME = "session_lifetime"
_LONGEST = 1e10  # seconds, some centuries
UTILIZATION = "utilization"

WARNING = 600.0
"""Seconds before a session's end at which its user is told."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """One check of a server, and the seconds until it ends the session if nothing changes.

    Attributes:
        check: The server's word, such as `NETWORK`.
    """

    check: str
    seconds: float

    @property
    def can_be_put_off(self) -> bool:
        """Running something in the session gives it more time."""
        return self.check == NETWORK

    @property
    def condition(self) -> str:
        """Under which it ends: the end of the sentence ``ends in 9 min …``."""
        return {
            NETWORK: "unless something runs in it",
            LIFETIME: "because its lifetime is limited",
            UTILIZATION: "unless it makes more use of its resources",
        }.get(self.check, f"({self.check.replace('_', ' ')})")

    def __str__(self) -> str:
        return f"ends in {roughly(self.seconds)} {self.condition}"


def roughly(seconds: float) -> str:
    """Return a time to come in words: exact to the minute in the last hour, coarser before."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes - minutes % 10, 60)
    return f"{hours} h {rest:02d} min" if rest and hours < 10 else f"{hours} h"


def warning(name: str, deadline: Deadline) -> str:
    """Return what the user of a session is told shortly before its end."""
    step = (
        "A cell or `%bai keepalive` gives it more time."
        if deadline.can_be_put_off
        else "Nothing puts that off from here: save what you need, its variables and files go too."
    )
    if deadline.check == UTILIZATION:
        step = "Its variables and files go with it."
    return f"[The session {name} {deadline}. {step}]\n"


def read_deadlines(idle_checks: str | None) -> tuple[Deadline, ...]:
    """Return what ``idle_checks`` of a session says, the soonest first.

    A check without a number of seconds does not end the session for now: it has no limit, or it
    rests while something runs. A negative one stands for a check whose time is over.
    """
    try:
        told = msgspec.json.decode(idle_checks or "{}")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ()
    found = []
    for check, facts in told.items() if isinstance(told, dict) else ():
        remaining = facts.get("remaining") if isinstance(facts, dict) else None
        if isinstance(remaining, bool) or not isinstance(remaining, int | float):
            continue
        if abs(remaining) < _LONGEST:
            found.append(Deadline(str(check), max(0.0, float(remaining))))
    return tuple(sorted(found, key=lambda each: each.seconds))


async def ask_deadlines(client: Client, session_id: str) -> tuple[Deadline, ...]:
    """Ask when a session ends by itself; the soonest first, nothing when it does not.

    Raises:
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    answer = await client.send(calls.get_session_detail(session_id))
    return read_deadlines(answer.items[0].idle_checks) if answer.items else ()
