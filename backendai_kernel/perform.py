"""A program from start to end: a session is had, files go up, code runs, values come back.

What is shown meanwhile is the caller's business: it hands in an `Audience`, which is told of
everything on the client's loop and asked for input.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from .batch import Steps, delay_for
from .client import Client
from .errors import BackendError, ConfigError
from .leases import BEAT, Lease, sign
from .listing import find_session
from .model import Session
from .protocol.envelope import Message
from .protocol.run import Event, Finished, InputRequest, PhaseEnded
from .run import Run
from .session import ComputeSession
from .start import Progress, Request, StillQueued, enqueue_session, start_session
from .upload import Planned, upload
from .values import pull


class Audience(Protocol):
    """Who is told how a program fares; all on the client's loop."""

    def waits(self, progress: Progress) -> None:
        """The session is on its way."""

    def begins(self, session: ComputeSession) -> None:
        """The session is there, and what is to be done in it begins."""

    def uploads(self, sent: int, total: int) -> None:
        """So many bytes of so many have gone up."""

    def runs(self, run: Run) -> None:
        """The code runs: this is what an interrupt has to reach."""

    def hears(self, event: Event | Message) -> None:
        """The code has said something, or a step of it is over."""

    async def asked(self, request: InputRequest) -> str | None:
        """The code asks for a line; ``None``: it was interrupted instead, and its run knows."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is to be run, and where.

    Attributes:
        request: The session to start; ``None`` for *existing*.
        name: Its name.
        existing: A session that runs, by name or id.
        code: Source text for the session's interpreter; ``None``: *steps* are executed.
        files: What goes up before.
        wanted: Names of variables to bring back.
        is_removed: The session is ended afterwards, however it went.
        environ: Names the folder for leases: a new session that is to be ended is answered for
            there, in case this process is killed. ``None``: it is not.
        is_reused: A live session of that name and image will do.
        max_wait: Seconds to wait for the session; ``None``: as long as it takes.
        only_enqueued: Nothing is executed, and nothing is waited for.
    """

    request: Request | None
    name: str
    existing: str = ""
    code: str | None = None
    steps: Steps = field(default_factory=Steps)
    files: Sequence[Planned] = ()
    wanted: tuple[str, ...] = ()
    is_removed: bool = False
    environ: Mapping[str, str] | None = None
    is_reused: bool = True
    max_wait: float | None = None
    only_enqueued: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    Attributes:
        session_id, name: Of its session.
        status: The session's status where nothing was executed, else ``""``.
        note: What it waits for, when it was not executed.
        exit_code: ``None`` where nobody told, or nothing was executed.
        has_raised: The code ended with an exception.
        phases: Step → exit code, for programs of several steps.
        values: Variables that were brought back.
        seconds: How long it took, the session's start left out.
        is_removed: Its session was ended.
        is_new: Its session was started for it.
    """

    session_id: str
    name: str
    status: str = ""
    note: str = ""
    exit_code: int | None = None
    has_raised: bool = False
    phases: Mapping[str, int | None] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    is_removed: bool = False
    is_new: bool = False


async def perform(client: Client, program: Program, audience: Audience) -> Outcome:
    """Run a program.

    Code that fails is no error here: the outcome says how it ended. Cancelling interrupts the code;
    while the session is still on its way it ends the session.

    Raises:
        NotFound, ConfigError, Conflict: There is no such session; or it does not run.
        SessionFailed, QuotaExceeded: As `start_session`.
        RunLost, ConnectError, APIError, ProtocolError: As `Run`.
    """
    if program.only_enqueued and program.request is not None:
        session, status = await enqueue_session(
            client, program.request, program.name, reuse=program.is_reused
        )
        return Outcome(session.id, session.name, status=status, is_new=session.is_new)
    try:
        session = await _have_session(client, program, audience)
    except StillQueued as exc:
        queued = exc.session
        return Outcome(
            queued.id, queued.name, status=exc.status_name, note=exc.hint, is_new=queued.is_new
        )
    async with _removed(session, program.is_removed, program.environ):
        audience.begins(session)
        began = time.monotonic()
        if program.files:
            await upload(session, program.files, audience.uploads)
        phases, has_raised = await _run(session, program, audience)
        seconds = time.monotonic() - began
        exit_code = phases.get(_LAST)
        values = {}
        if program.wanted and not exit_code and not has_raised:
            values = await pull(session, program.wanted)
    return Outcome(
        session.id,
        session.name,
        exit_code=exit_code,
        has_raised=has_raised,
        phases=phases if program.code is None else {},
        values=values,
        seconds=seconds,
        is_removed=program.is_removed,
        is_new=session.is_new,
    )


_LAST = "execute"


async def _have_session(client: Client, program: Program, audience: Audience) -> ComputeSession:
    if program.request is not None:
        return await start_session(
            client,
            program.request,
            program.name,
            on_progress=audience.waits,
            reuse=program.is_reused,
            max_wait=program.max_wait,
        )
    return await open_session(client, await find_session(client, program.existing))


async def open_session(client: Client, found: Session) -> ComputeSession:
    """Return a session that runs already, ready for code; what it has in memory stays.

    Raises:
        ConfigError: It does not run.
        RunLost, ConnectError, APIError, ProtocolError: As `ComputeSession.prepare`.
    """
    if not found.status.is_running:
        raise ConfigError(
            f"The session {found.name} does not run: it is {found.status_name.lower()}.",
            hint=f"`%bai events {found.name}` tells when it does.",
        )
    session = ComputeSession(client, found.id, found.name, is_new=False)
    await session.prepare()
    return session


@asynccontextmanager
async def _removed(
    session: ComputeSession, is_removed: bool, environ: Mapping[str, str] | None
) -> AsyncIterator[None]:
    """End the session at the end, also when we are cancelled: it must not go on costing."""
    lease = beating = None
    if is_removed and session.is_new and environ is not None:
        lease = Lease(environ, session.name)
        sign(lease, session.client.config, "", environ)
        lease.note_session(session.id)
        beating = asyncio.create_task(_beat(lease))

    async def end() -> None:
        await session.destroy()
        if lease is not None:
            lease.end()

    try:
        try:
            yield
        except BaseException:
            if is_removed:
                with contextlib.suppress(BackendError):  # there is an error to tell already
                    await asyncio.shield(end())
            raise
        if is_removed:
            await asyncio.shield(end())
    finally:
        if lease is not None and beating is not None:
            beating.cancel()
            lease.release()


async def _beat(lease: Lease) -> None:
    while True:
        await asyncio.sleep(BEAT)
        lease.beat()


async def _run(
    session: ComputeSession, program: Program, audience: Audience
) -> tuple[dict[str, int | None], bool]:
    """Run code or steps to their end.

    Returns:
        Step → exit code, the last one ``execute``; and whether the code has raised, which servers
        before 25.11 tell by no exit code.
    """
    phases: dict[str, int | None] = {}
    has_raised = False
    async with await _entered(session, program) as run:
        audience.runs(run)
        async for event in run:
            if isinstance(event, InputRequest):
                if (line := await audience.asked(event)) is not None:
                    run.give_input(line)
                continue
            if isinstance(event, PhaseEnded):
                if event.exit_code or event.phase.value in program.steps.named:
                    phases[event.phase.value] = event.exit_code
            elif isinstance(event, Finished):
                phases[_LAST] = event.exit_code
            elif isinstance(event, Message) and event.kind == "error":
                has_raised = True
            elif isinstance(event, Message) and event.kind == "reply" and "error" in event.content:
                has_raised = event.content["error"] is not None  # it is the reply that counts
            audience.hears(event)
    return phases, has_raised


async def _entered(session: ComputeSession, program: Program) -> Any:
    if program.code is not None:
        return session.cell(program.code, {"origin": "", "options": {"silent": False}})
    delay = await delay_for(session.client)
    return session.run("", mode="batch", options=program.steps.options(delay))
