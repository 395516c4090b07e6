"""The way a kernel's cells take to a session: one interface, today one lane, the query API.

A lane lives on the portal's loop. It opens the client and the session when the first cell comes,
and again when the session was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..client import Client
from ..connect import open_client
from ..errors import APIError, BackendError, ConnectError, RunLost
from ..protocol import envelope
from ..protocol.envelope import Message
from ..protocol.run import Event, InputRequest, Text
from ..run import Run, collect
from ..session import ComputeSession, destroy
from ..slots import parse_words
from ..start import Progress, Request, start_session
from .kept import KeptNote

Publish = Callable[[Event | Message], None]
Ask = Callable[[InputRequest], Awaitable[str]]

_RESTART_PAUSE = 0.7  # seconds: the old interpreter is gone after 0.6, or stays
_WAITS = (
    "[The code of an interrupted cell still runs in the session; this cell waits for its end.]\n"
)
_FIRST_AGAIN = 1.0  # seconds until a lost event stream is opened again, doubled up to …
_LONGEST_AGAIN = 60.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What kind of session a kernel wants.

    Attributes:
        name: Name of the session; the same for every start of one kernel.
        image: Full reference or alias.
        resources: Words such as ``gpu=0.5``.
    """

    name: str
    image: str
    resources: tuple[str, ...] = ()


class Lane(Protocol):
    """What the kernel needs of the way to a session."""

    @property
    def is_open(self) -> bool:
        """There is a session to run code in."""

    @property
    def is_plain(self) -> bool:
        """The session sends no envelopes."""

    async def open(self, on_progress: Callable[[Progress], None]) -> None:
        """Have a session; cancelling ends one that is being started."""

    async def execute(self, code: str, publish: Publish, ask: Ask) -> None:
        """Run code to its end; cancelling interrupts it and leaves it to be drained."""

    async def interrupt(self) -> bool:
        """Interrupt the code that runs; false: none does yet, the cell still waits for its turn."""

    async def close(self, *, restart: bool) -> None:
        """Give the session a fresh interpreter, or end it."""


class QueryLane:
    """Cells as ``POST /session/{id}``."""

    def __init__(
        self,
        wish: Wish,
        environ: Mapping[str, str],
        *,
        cwd: Path | None = None,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        self.wish = wish
        self.client: Client | None = None
        self.session: ComputeSession | None = None
        self._environ = environ
        self._cwd = cwd
        self._on_wait = on_wait
        self._opening = asyncio.Lock()
        self._run: Run | None = None
        self._asking: asyncio.Task[str] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ended: str | None = None
        self._note = KeptNote(environ, wish.name)
        self._begun_id = ""  # of the last session that was had, or nearly so

    @property
    def is_open(self) -> bool:
        return self.session is not None

    @property
    def is_plain(self) -> bool:
        return self.session is None or not self.session.hello

    async def open(self, on_progress: Callable[[Progress], None]) -> None:
        """Have a session whose interpreter is ours alone; see `start_session` for the errors."""
        async with self._opening:
            if self.session is not None:
                return
            wanted = parse_words(self.wish.resources)  # before anything is started for nothing
            on_progress(Progress("CONNECTING"))
            if self.client is None:
                self.client = await open_client(
                    self._environ,
                    cwd=self._cwd,
                    on_note=lambda note: on_progress(Progress("CONNECTING", note=note)),
                    on_wait=self._on_wait,
                )

            def progress(now: Progress) -> None:
                self._begun_id = now.session_id or self._begun_id
                on_progress(now)

            request = Request(self.wish.image, wanted)
            session = await start_session(
                self.client, request, self.wish.name, on_progress=progress
            )
            if not session.is_fresh:  # the kernel was restarted: its variables are to be gone
                on_progress(Progress("RESTARTING", session.id))
                await session.restart()
            self.session, self._ended = session, None
            self._note.forget()
            self._watching = asyncio.create_task(self._watch(self.client, session))

    async def execute(self, code: str, publish: Publish, ask: Ask) -> None:
        """Run code to its end.

        Raises:
            RunLost: The session has ended, before the code or under it; the next cell gets a new
                one.
            ConnectError, APIError, ProtocolError: As `Client.send`.
        """
        session = self._live_session()
        if session.endings:
            publish(Text("stderr", _WAITS))
        try:
            async with session.run(code) as run:
                self._run = run
                try:
                    async for event in run:
                        if isinstance(event, InputRequest):
                            await self._answer(run, event, ask)
                        else:
                            publish(event)
                finally:
                    self._run = None  # what is left of it is brought to its end without us
        except RunLost:
            await self._forget()
            raise

    def _live_session(self) -> ComputeSession:
        if self.session is None:
            raise RuntimeError("the lane is not open")
        if self._ended is not None:
            reason, self.session = self._ended, None
            raise RunLost(
                f"The session has ended since the last cell: {reason}.",
                hint="Its variables are lost. Run the cell again for a new session.",
            )
        return self.session

    async def _answer(self, run: Run, request: InputRequest, ask: Ask) -> None:
        self._asking = asyncio.ensure_future(_awaited(ask(request)))
        try:
            run.give_input(await self._asking)
        except asyncio.CancelledError:
            if run.is_waiting:  # we are cancelled ourselves; else the code was interrupted
                raise
        finally:
            self._asking.cancel()
            self._asking = None

    async def interrupt(self) -> bool:
        run, asking = self._run, self._asking
        if run is None:
            return False
        await run.interrupt()
        if asking is not None:
            asking.cancel()
        return True

    async def close(self, *, restart: bool) -> None:
        """Restart the interpreter for the next kernel process, or end what this one started."""
        if self._watching is not None:
            self._watching.cancel()
        if restart:
            await self._leave_to_next()
        else:
            await self._end_session()
        if self.client is not None:
            await self.client.__aexit__(None, None, None)
            self.client = None

    async def _leave_to_next(self) -> None:
        """Keep the session for the next kernel process, and begin to give it a new interpreter."""
        async with self._opening:  # a start that was cancelled ends its session first
            session = self.session
        if self._begun_id:
            self._note.write(self._begun_id)
        if session is not None and not session.turn.locked() and session.hello:
            # Begun now, it is done when the next process comes; that one makes sure.
            await collect(session.run(envelope.RESTART))
            await asyncio.sleep(_RESTART_PAUSE)  # nobody may speak to the old one meanwhile

    async def _end_session(self) -> None:
        """End the session that was had here, or that the kernel before its restart had."""
        if left := self._note.read():
            self._begun_id = self._begun_id or left
            self.client = self.client or await open_client(self._environ, cwd=self._cwd)
        ended = ""
        while True:
            if self.client is not None and ended != self._begun_id:
                ended = self._begun_id
                await destroy(self.client, ended)
            async with self._opening:  # a start that was cancelled may have had one more
                if ended == self._begun_id:
                    break
        self._note.forget()

    # -- the session's end --------------------------------------------------------------------

    async def _watch(self, client: Client, session: ComputeSession) -> None:
        """Learn of the session's end between two cells; the embedded manager sees we are here."""
        pause = _FIRST_AGAIN
        while True:
            try:
                async with client.events(session.id, session.name) as events:
                    pause = _FIRST_AGAIN
                    async for event in events:
                        if event.session_id == session.id and event.name in (
                            "session_terminating",
                            "session_terminated",
                        ):
                            self._ended = event.reason or "terminated"
                            return
            except APIError:
                return  # a server that has no such stream, or no such session any more
            except (ConnectError, BackendError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_AGAIN)
            else:
                await asyncio.sleep(pause)

    async def _forget(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        session, self.session = self.session, None
        if session is not None and self._ended is None:
            try:
                async with asyncio.timeout(5):
                    await session.destroy()  # what is left of it must not go on costing
            except (BackendError, TimeoutError):
                return  # it is gone already, or out of reach: the cell says so


async def _awaited(work: Awaitable[str]) -> str:
    return await work
