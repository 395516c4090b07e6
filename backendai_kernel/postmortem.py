"""Why a session ended, as far as its server and its log can tell, and the one step to go on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from .client import Client
from .errors import BackendError, ProtocolError, RunLost
from .model import SessionDetail
from .protocol import calls
from .slots import format_size

_LIMIT = 5.0  # seconds for all questions; what has not been answered by then is not told
_LINES = 6  # of the log that are shown …
_WIDTH = 300  # … characters of each
_LOOKED_AT = 40  # lines at the end of the log in which the last accident stands

_NO_MEMORY = re.compile(r"out.of.memory|oom.kill|\bMemoryError\b", re.IGNORECASE)
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class Cause(StrEnum):
    """What kinds of ends there are."""

    IDLE = "idle"
    LIFETIME = "lifetime"
    UTILIZATION = "utilization"
    MEMORY = "memory"
    EVICTED = "evicted"
    USER = "user"
    FORCED = "forced"
    AGENT = "agent"
    TIMEOUT = "timeout"
    CRASH = "crash"  # the interpreter has died, the session had not
    CONTAINER = "container"  # the container has ended by itself
    UNKNOWN = "unknown"


_CAUSES = {
    "idle-timeout": Cause.IDLE,
    "idle-session-lifetime": Cause.LIFETIME,
    "idle-utilization": Cause.UTILIZATION,
    "user-requested": Cause.USER,
    "user-purged": Cause.USER,
    "force-terminated": Cause.FORCED,
    "agent-termination": Cause.AGENT,
    "agent-lost": Cause.AGENT,
    "terminated-unknown-container": Cause.AGENT,
    "container-not-found": Cause.AGENT,
    "not-found-in-manager": Cause.AGENT,
    "stale-kernel": Cause.AGENT,
    "agent-resource-group-changed": Cause.AGENT,
    "preempted-by-scheduler": Cause.EVICTED,
    "preempted-by-reservation": Cause.EVICTED,
    "preemption-reservation": Cause.EVICTED,
    "rescheduled": Cause.EVICTED,
    "deprioritized-for-rescheduling": Cause.EVICTED,
    "exec-timeout": Cause.TIMEOUT,
    "hang-timeout": Cause.TIMEOUT,
    "task-timeout": Cause.TIMEOUT,
    "self-terminated": Cause.CONTAINER,
    "abnormal-termination": Cause.CONTAINER,
}
"""The reasons of servers from 23.09 to 26.9 (API reference 4.11) that have a meaning for users."""

_SAID = {
    Cause.IDLE: "nothing ran in it for as long as its server lets a session be idle",
    Cause.LIFETIME: "its server limits how long a session may live",
    Cause.UTILIZATION: "it made too little use of its resources",
    Cause.EVICTED: "its server needed its resources for another session",
    Cause.USER: "somebody with your keypair, or an administrator, ended it",
    Cause.FORCED: "it was ended by force, with your keypair or by an administrator",
    Cause.AGENT: "the machine that it ran on was lost",
    Cause.TIMEOUT: "its server limits how long code may run",
}


@dataclass(frozen=True, slots=True)
class PostMortem:
    """What is known of an end.

    Attributes:
        reason: The server's own word, ``""`` when it gave none.
        sentence: What happened.
        exit_code: Of the container, where the server told it.
        log: Last lines of the container's log, without control characters.
        memory: What the session had, in bytes; ``None`` when nobody told.
        wanted: Resources for the next session, when others may help: words such as ``mem=2g``.
    """

    cause: Cause
    sentence: str
    reason: str = ""
    exit_code: int | None = None
    log: tuple[str, ...] = ()
    memory: Decimal | None = None
    wanted: tuple[str, ...] = field(default=())

    @property
    def next_step(self) -> str:
        """The one step to go on."""
        more = f" with {' '.join(self.wanted)}" if self.wanted else ""
        return (
            f"Its variables are lost. `%bai retry` runs this cell in a new session{more}; any "
            "other cell starts one, too."
        )


async def examine(client: Client, session_id: str, *, when: str, reason: str = "") -> PostMortem:
    """Find out why a session, or the interpreter in it, has ended. It never fails.

    Args:
        when: Such as ``since the last cell``.
        reason: What an event said of it, for a server that says no more.
    """
    detail, log = None, ""
    try:
        async with asyncio.timeout(_LIMIT):
            detail, log = await asyncio.gather(
                _detail(client, session_id), _log(client, session_id)
            )
    except TimeoutError:
        pass  # a server that is slow to tell: what the event said is all there is
    return judge(detail, log, when=when, reason=reason)


async def _detail(client: Client, session_id: str) -> SessionDetail | None:
    try:
        items = (await client.send(calls.get_session_detail(session_id))).items
    except BackendError:
        return None
    return items[0] if items else None


async def _log(client: Client, session_id: str) -> str:
    try:
        return await client.send(calls.get_logs(session_id))
    except BackendError:
        return ""


def judge(detail: SessionDetail | None, log: str, *, when: str, reason: str = "") -> PostMortem:
    """Return what a server's words and a log's last lines say together.

    Source: recordings 28, 36 and 37; what a runner logs when memory runs out was seen with 26.4.16.
    """
    reason = (detail and detail.status_info) or reason
    lines = _lines(log)
    lives = detail is not None and detail.status.is_running
    cause = Cause.CRASH if lives else _CAUSES.get(reason, Cause.UNKNOWN)
    exit_code = _exit_code(detail)
    no_memory = any(_NO_MEMORY.search(line) for line in lines[-_LOOKED_AT:])
    if no_memory and cause in (Cause.CRASH, Cause.CONTAINER, Cause.UNKNOWN):
        cause = Cause.MEMORY
    memory = _memory(detail)
    had = f" (it had {format_size(memory)})" if memory else ""
    said = _SAID.get(cause) or {
        Cause.MEMORY: f"memory ran out{had}",
        Cause.CRASH: "it was killed, or compiled code crashed",
        Cause.CONTAINER: f"its container ended by itself{_with(exit_code)}",
    }.get(cause, reason or "its server gives no reason")
    who = "The session's interpreter has died" if lives else f"The session has ended {when}"
    word = f" ({reason})" if reason and cause is not Cause.UNKNOWN else ""
    wanted = (f"mem={format_size(memory * 2)}",) if cause is Cause.MEMORY and memory else ()
    tail = tuple(line[:_WIDTH] for line in lines[-_LINES:])
    return PostMortem(cause, f"{who}: {said}{word}.", reason, exit_code, tail, memory, wanted)


def as_error(found: PostMortem, *, hint: str = "") -> RunLost:
    """Return the error that a cell fails with."""
    return RunLost(found.sentence, hint=hint or found.next_step, post_mortem=found)


def merged(words: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return resource words with others in place of those of the same name, or added."""
    amounts = dict(word.partition("=")[::2] for word in words)
    amounts |= dict(word.partition("=")[::2] for word in wanted)
    return tuple(f"{name}={amount}" for name, amount in amounts.items())


def _with(exit_code: int | None) -> str:
    return "" if exit_code is None else f" with exit code {exit_code}"


def _lines(log: str) -> list[str]:
    lines = (_TERMINAL.sub("", line).strip() for line in log.replace("\r", "\n").split("\n"))
    return [line for line in lines if line]


def _memory(detail: SessionDetail | None) -> Decimal | None:
    if detail is None:
        return None
    # What is over takes nothing any more, and is told with what it had asked for (recording 37).
    try:
        memory = detail.slots.get("mem") or detail.requested.get("mem")
    except ProtocolError:
        return None  # a figure that cannot be read is no reason not to tell the others
    return memory if memory is not None and memory.is_finite() else None


def _exit_code(detail: SessionDetail | None) -> int | None:
    """Return the container's exit code from ``status_data``, its own or its session's."""
    if detail is None:
        return None
    for text in (*(each.status_data for each in detail.containers or ()), detail.status_data):
        try:
            told: Any = msgspec.json.decode(text or "{}")
            code = told["kernel"]["exit_code"]
        except (msgspec.DecodeError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(code, int):
            return code
    return None
