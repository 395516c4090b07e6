"""From a wish to a running session: ask, watch the queue, explain the wait, replace a dud."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from . import slots as slot_words
from .client import Client
from .creation import Request as Request
from .creation import create
from .errors import APIError, BackendError, RunLost, SessionFailed
from .model import Created, SessionStatus
from .protocol import calls
from .quota import Verdict, why_creating, why_pending
from .run import HELD_BY_ANOTHER
from .session import ComputeSession

_ATTEMPTS = 2  # sessions made before an image without an interpreter is given up
_FIRST_LOOK = 0.05  # seconds; the pause between two looks at a starting session grows …
_LONGEST_LOOK = 1.0  # … up to this
_EXPLAIN_AFTER = 2.5  # seconds in the queue after which we ask what it waits for
_EXPLAIN_AGAIN = 15.0
_MADE_WITHIN = 15.0  # seconds for an agent to make a session; few need more than five
_GOODBYE = 5.0  # seconds for ending a session that is not wanted any more
_END_LIMIT = 30.0  # seconds for a session to be gone


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a session has come; ``note`` says in a sentence what it waits for, or nothing."""

    status_name: str
    session_id: str = ""
    note: str = ""


OnProgress = Callable[[Progress], None]


class StillQueued(BackendError):
    """The time that a caller wanted to wait is over, and the session stays in the queue."""

    def __init__(
        self, session: ComputeSession, status_name: str, note: str, seconds: float
    ) -> None:
        super().__init__(
            f"The session {session.name} has not started within {seconds:g} s; it stays "
            f"{status_name.lower()}.",
            hint=note,
        )
        self.session = session
        self.status_name = status_name


@dataclass(frozen=True, slots=True)
class Left:
    """What a process may leave behind that was killed.

    Attributes:
        session_id: UUID of its session, ``""`` for none.
        run_id: Id of a run that may still go on, ``""`` for none.
        asks: The run waits for input.
        is_planned: The kernel was restarted: its variables are to be gone.
        key: What that run is called in the session's interpreter, ``""`` for nothing, …
        nonce: … which was given this one.
    """

    session_id: str = ""
    run_id: str = ""
    asks: bool = False
    is_planned: bool = False
    key: str = ""
    nonce: str = ""


Resume = Callable[[ComputeSession, Left], Awaitable[None]]


async def enqueue_session(
    client: Client, request: Request, name: str, *, reuse: bool = True
) -> tuple[ComputeSession, str]:
    """Ask for a session and return it with its status, which is ``PENDING`` for a new one.

    Raises:
        As `start_session`, but for what happens after the request.
    """
    slots = await _resolved(client, request)
    created = await create(client, request, slots, name, reuse=reuse)
    return _session(client, created, name), created.status_name


async def start_session(
    client: Client,
    request: Request,
    name: str,
    *,
    on_progress: OnProgress = lambda progress: None,
    reuse: bool = True,
    left: Left | None = None,
    resume: Resume | None = None,
    is_prepared: bool = True,
    max_wait: float | None = None,
) -> ComputeSession:
    """Return a running session whose interpreter is ready for code.

    A live session of the same name and image is taken when *reuse*; ``is_new`` then is false and
    its interpreter may have run code before (``is_fresh``). A queue may be long, so without
    *max_wait* there is no time limit. Cancelling ends the session that was asked for, and so does
    every error but `StillQueued`.

    Args:
        name: As from `session_name`.
        on_progress: Told of every change, on the client's loop.
        left: What somebody before us left: a run in the session is interrupted, …
        resume: … or brought to its end in another way.
        is_prepared: Whether its interpreter is wanted; else a session that runs will do.
        max_wait: Seconds to wait for it to run; ``None``: for ever.

    Raises:
        StillQueued: It does not run yet after *max_wait*.
        SessionFailed: The server gave the session up, or no interpreter comes up in it.
        QuotaExceeded: It asks for more than the keypair may have, or than there is.
        NotFound: No such image; the hint names close ones.
        ConfigError: The server has no such resource.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    slots = await _resolved(client, request)
    deadline = None if max_wait is None else asyncio.get_running_loop().time() + max_wait
    for _ in range(_ATTEMPTS):
        created = await create(client, request, slots, name, reuse=reuse)
        session = _session(client, created, name)
        told = Progress(created.status_name, session.id)

        def tell(progress: Progress) -> None:
            nonlocal told
            told = progress
            on_progress(progress)

        try:
            try:
                async with asyncio.timeout_at(deadline):
                    await _until_running(session, created, slots, request, tell)
            except TimeoutError:
                raise StillQueued(session, told.status_name, told.note, max_wait or 0) from None
            if not is_prepared:
                return session
            on_progress(Progress("STARTING PYTHON", session.id))
            if left is not None and left.run_id and left.session_id == session.id:
                await (resume or _take_over)(session, left)
            await session.prepare()
            return session
        except StillQueued:
            raise
        except RunLost as exc:
            if await _is_running(session):
                # No interpreter came up, and none ever will (surprise 11): another session might.
                on_progress(Progress("REPLACING", session.id, exc.message))
            await _forget(session)
        except BaseException:  # a cancellation too: what was started must not go on costing
            if session.is_new:
                await _say_goodbye(session)
            raise
    raise SessionFailed(
        f"No interpreter comes up in sessions of the image {request.image!r}.",
        hint="Use an image that has a Python kernel; `backendai-kernel doctor` lists what there is.",
    )


async def _resolved(client: Client, request: Request) -> Mapping[str, Decimal]:
    if not request.wanted:
        return {}
    known = await client.send(calls.get_slot_types())
    return slot_words.resolve(request.wanted, known)


async def _take_over(session: ComputeSession, left: Left) -> None:
    if not await session.take_over(left.run_id, asks=left.asks):
        raise RunLost(HELD_BY_ANOTHER)


def _session(client: Client, created: Created, name: str) -> ComputeSession:
    return ComputeSession(
        client, created.session_id, created.session_name or name, is_new=created.created
    )


# -- waiting ----------------------------------------------------------------------------------


async def _until_running(
    session: ComputeSession,
    created: Created,
    slots: Mapping[str, Decimal],
    request: Request,
    on_progress: OnProgress,
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    explain_at, note = began + _EXPLAIN_AFTER, ""
    status_name, pause = created.status_name, _FIRST_LOOK
    made_since: float | None = None
    while True:
        on_progress(Progress(status_name, session.id, note))
        status = SessionStatus(status_name)
        if status.is_running:
            return
        if status is SessionStatus.PENDING and loop.time() > explain_at:
            verdict = await _explained(session.client, slots, request.group)
            if verdict.error is not None:
                raise verdict.error
            note, explain_at = verdict.note, loop.time() + _EXPLAIN_AGAIN
            on_progress(Progress(status_name, session.id, note))
        elif status is SessionStatus.CREATING:
            made_since = made_since or loop.time()
            if loop.time() > made_since + _MADE_WITHIN:
                verdict = why_creating(slots)
                if verdict.error is not None:
                    raise verdict.error
                note = verdict.note
        elif status is not SessionStatus.PENDING:
            note = ""
        await asyncio.sleep(pause)
        pause = min(pause * 1.4, _LONGEST_LOOK)
        seen = await session.look()
        if (seen is None or seen.status.is_ending) and not session.is_new:
            raise RunLost("The session of that name was about to end.")
        if seen is None or seen.status.is_ending:
            reason = (seen and (seen.status_info or seen.status_name.lower())) or "it is gone"
            raise SessionFailed(
                f"The session did not start: {reason}.",
                hint="Run the cell again; if it goes on, tell the cluster's administrator.",
            )
        status_name = seen.status_name
        # While it waits, this is what was asked for, with what the server added of its own.
        slots = seen.slots or slots


async def _explained(client: Client, slots: Mapping[str, Decimal], group: str | None) -> Verdict:
    try:
        return await why_pending(client, slots, group)
    except APIError:
        return Verdict()  # an older server without this call: the queue is all we can say


async def _is_running(session: ComputeSession) -> bool:
    seen = await session.look()
    return seen is not None and seen.status.is_running


async def _forget(session: ComputeSession) -> None:
    """End a session and wait until its name is free."""
    await session.destroy()
    async with asyncio.timeout(_END_LIMIT):
        while True:
            seen = await session.look()
            if seen is None or seen.status.is_over:
                return
            await asyncio.sleep(0.2)


async def _say_goodbye(session: ComputeSession) -> None:
    """End a session that is not wanted any more, also when we were cancelled ourselves."""
    ending = asyncio.ensure_future(session.destroy())
    try:
        await asyncio.wait_for(asyncio.shield(ending), _GOODBYE)
    except (BackendError, TimeoutError):
        return  # the caller has its own error to tell
