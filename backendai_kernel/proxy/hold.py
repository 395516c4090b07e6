"""How a lane comes by its session, looks after it, and leaves it.

It lives on the portal's loop. The session is had when the first cell comes, and again when it was
lost.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..client import Client
from ..connect import open_client
from ..errors import APIError, BackendError, ConnectError
from ..expiry import Deadline, warning
from ..journal import Entry, Journal
from ..leases import Lease, hint, left_behind, sign
from ..protocol.run import Text
from ..session import ComputeSession, destroy
from ..slots import parse_words
from ..sshkeys import Place, forget_ended
from ..start import Left, Progress, Request, start_session
from .kept import KeptNote
from .left import LeftCell
from .resume import OnLeft, resume
from .upkeep import Upkeep
from .wish import Publish, Wish

_RESUMED = "The kernel was started again; its session has kept all variables."
_MISSED = (
    " Cell {count} went on meanwhile: where its output is not shown under it, `%bai replay {count}` "
    "shows all of it."
)
_RESTART_PAUSE = 0.7  # seconds: the old interpreter is gone after 0.6, or stays
_LEAVING = 1.0  # seconds for the code of a cell to end, when the kernel is restarted under it
_FIRST_AGAIN = 1.0  # seconds until a lost event stream is opened again, doubled up to …
_LONGEST_AGAIN = 60.0


_GOES_ON = (
    "A cell that ran when the kernel was started again goes on; this one waits for its end. "
    "Interrupt ends both."
)


def _looked_at(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # whoever waits has it, and else the first cell meets it again


class SessionHold(ABC):
    """A session, from its start to its end."""

    def __init__(
        self,
        wish: Wish,
        environ: Mapping[str, str],
        *,
        cwd: Path | None = None,
        on_wait: Callable[[float], None] | None = None,
        on_late: Publish = lambda event: None,
        on_end: Callable[[], None] = lambda: None,
        lease: Lease | None = None,
        on_left: OnLeft = lambda entry: None,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            wish: What kind of session is wanted.
            lease: Of the session's name, where this process has begun to hold it.
            on_late: Takes what comes of a request that is over.
            on_end: Called when the session is gone, and with it all that it held.
            on_left: Told a cell that outlived the kernel before this one, returns what shows the
                rest of its output.
        """
        self.wish = wish
        self.client: Client | None = None
        self.session: ComputeSession | None = None
        self._environ = environ
        self._cwd = cwd
        self._on_wait = on_wait
        self._opening = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._ended: str | None = None
        self._on_late = on_late
        self._on_end = on_end
        self._on_left = on_left
        self._left: ComputeSession | None = None  # whose run of before is brought to its end
        self._taking: asyncio.Task[None] | None = None
        self._left_cell: LeftCell | None = None
        self._following: asyncio.Task[None] | None = None
        self._kept = KeptNote(environ, wish.name)
        self.journal = Journal(environ, wish.name)
        self._resumed = False
        self._is_hinted = False
        self._begun_id = ""  # of the last session that was had, or nearly so
        self._lease = lease or Lease(environ, wish.name)
        self.upkeep = Upkeep(self._beat, self._has_work, self._touch)
        self.upkeep.on_warning = self._warn

    @property
    def is_open(self) -> bool:
        return self.session is not None

    @property
    def is_plain(self) -> bool:
        return self.session is None or not self.session.hello

    async def open(self, on_progress: Callable[[Progress], None]) -> None:
        """Have a session whose interpreter is ours alone; see `start_session` for the errors."""
        if self._is_left():
            on_progress(Progress("STARTING PYTHON", self._begun_id, _GOES_ON))
            with suppress(BackendError, OSError):  # what follows meets it again, and says so
                await self.take_up()
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

            sign(self._lease, self.client.config, self.wish.image, self._environ)

            def progress(now: Progress) -> None:
                if now.session_id and now.session_id != self._begun_id:
                    self._begun_id = now.session_id
                    self._lease.note_session(now.session_id)
                on_progress(now)

            request = Request(
                self.wish.image,
                wanted,
                environ=self.wish.environ,
                mounts=self.wish.mounts,
                group=self.wish.project or None,
                scaling_group=self.wish.scaling_group or None,
            )
            left = self._kept.read()
            session = await start_session(
                self.client,
                request,
                self.wish.name,
                on_progress=progress,
                left=left,
                resume=self._resume,
            )
            self._left = None
            is_ours = session.id == left.session_id and not session.is_fresh
            if is_ours and not left.is_planned:  # the kernel was killed: it goes on
                self._resumed = True
            elif not session.is_fresh:  # the kernel was restarted: its variables are to be gone
                on_progress(Progress("RESTARTING", session.id))
                await session.restart()
            self._begin(self.client, session)

    def _begin(self, client: Client, session: ComputeSession) -> None:
        """Have the session, from now on."""
        self.session, self._ended = session, None
        self._kept.write(session.id)
        session.on_run = partial(self._note_run, session)
        self._watching = asyncio.create_task(self._watch(client, session))
        self.upkeep.begin(client, session.id)

    def _note_run(
        self, session: ComputeSession, run_id: str, asks: bool, *, is_planned: bool = False
    ) -> None:
        key = session.running.key if run_id and session.running is not None else ""
        nonce = session.decoder.nonce if key else ""
        self._kept.write(session.id, run_id, asks, is_planned=is_planned, key=key, nonce=nonce)

    # -- after a kernel that was killed -------------------------------------------------------

    async def take_up(self) -> None:
        """Bring the run to its end that a killed kernel left, before a cell asks for the session.

        Nothing is done where there is none, or its session does not run any more: then the first
        cell has one started, as ever. Cancelling ends the wait alone.

        Raises:
            ConfigError, RunLost, ConnectError, APIError, ProtocolError: As `open`; the first cell
                tries it again.
        """
        if self._taking is None or self._taking.done():
            self._taking = asyncio.create_task(self._take_up())
            self._taking.add_done_callback(_looked_at)
        await asyncio.shield(self._taking)

    async def _take_up(self) -> None:
        async with self._opening:
            if not self._is_left():
                return
            left = self._kept.read()
            if self.client is None:
                self.client = await open_client(self._environ, cwd=self._cwd)
            session = ComputeSession(self.client, left.session_id, self.wish.name, is_new=False)
            seen = await session.look()
            if seen is None or not seen.status.is_running:
                return
            sign(self._lease, self.client.config, self.wish.image, self._environ)
            self._begun_id = session.id
            self._lease.note_session(session.id)
            await self._resume(session, left)
            await session.prepare()
            self._left, self._resumed = None, not session.is_fresh
            self._begin(self.client, session)

    def _is_left(self) -> bool:
        """Tell whether a kernel that was killed has left a run that nobody has taken up yet."""
        left = self._kept.read()
        return self.session is None and bool(left.run_id) and not left.is_planned

    @property
    def is_taking_up(self) -> bool:
        """A run of before is brought to its end, and the session cannot be used yet."""
        is_begun = self._taking is not None and not self._taking.done()
        return is_begun or (self._left is not None and self._opening.locked())

    async def _resume(self, session: ComputeSession, left: Left) -> None:
        self._left = session
        await resume(self.journal, session, left, self._note_left)

    def _note_left(self, entry: Entry) -> LeftCell | None:
        self._left_cell = self._on_left(entry)
        return self._left_cell

    def left_run(self) -> bool:
        """Tell whether a kernel process before this one has left a run that may still go on."""
        return bool(self._kept.read().run_id)

    def take_note(self) -> str:
        """Return, once, what is worth a sentence when the session is there."""
        is_told, self._is_hinted = self._is_hinted, True
        return self.take_resumed() or ("" if is_told else hint(left_behind(self._environ)))

    def take_resumed(self) -> str:
        """Return, once, what a kernel that was started again has to say of it."""
        is_resumed, self._resumed = self._resumed, False
        left, self._left_cell = self._left_cell, None
        missed = left.count if left is not None and left.has_said else 0
        if not is_resumed:
            return ""
        return _RESUMED + (_MISSED.format(count=missed) if missed else "")

    def _beat(self) -> None:
        if self._lease.is_held:
            self._lease.beat()
        elif self.client is not None:  # another process had it, on its way out
            sign(self._lease, self.client.config, self.wish.image, self._environ)
            self._lease.note_session(self._begun_id)

    def _warn(self, deadline: Deadline) -> None:
        name = self.session.name if self.session is not None else self.wish.name
        self._on_late(Text("stderr", warning(name, deadline)))

    @abstractmethod
    def _has_work(self) -> bool:
        """Tell whether code of a cell runs in the session."""

    @abstractmethod
    async def _touch(self) -> None:
        """Run something in the session that leaves no trace."""

    async def close(self, *, restart: bool) -> None:
        """Restart the interpreter for the next kernel process, or end what this one started."""
        for task in (self._watching, self._following, self._taking):
            if task is not None:
                task.cancel()
        self.upkeep.stop()
        if restart:
            await self._leave_to_next()
        else:
            await self._end_session()
        if self.client is not None:
            await self.client.__aexit__(None, None, None)
            self.client = None

    async def _leave_to_next(self) -> None:
        """Keep the session for the next kernel process, and begin to give it a new interpreter."""
        if self._left is not None and self._opening.locked():  # to leave it may take too long
            self._note_leaving()
        async with self._opening:  # a start that was cancelled ends its session first
            pass
        session = self._note_leaving()
        running = session.running if session is not None else None
        if session is not None and running is not None:
            try:
                async with asyncio.timeout(_LEAVING), session.turn:
                    pass
            except TimeoutError:
                pass  # the next process ends the run by its id
            if running.is_over:
                self._kept.write(self._begun_id, is_planned=True)
        is_idle = session is not None and (running is None or running.is_over)
        if session is not None and is_idle and session.hello:
            # Begun now, it is done when the next process comes; that one makes sure.
            await session.execute_anew()
            await asyncio.sleep(_RESTART_PAUSE)  # nobody may speak to the old one meanwhile

    def _note_leaving(self) -> ComputeSession | None:
        session = self.session or self._left
        if session is not None:
            running, leave = session.running, partial(self._note_run, session, is_planned=True)
            leave(running.run_id if running is not None else "", False)
            session.on_run = leave
        elif self._begun_id:
            self._kept.write(self._begun_id, is_planned=True)
        return session

    async def _end_session(self) -> None:
        """End the session that was had here, or that the kernel before its restart had."""
        if left := self._kept.read().session_id or self._lease.read().session_id:
            self._begun_id = self._begun_id or left
            self.client = self.client or await open_client(self._environ, cwd=self._cwd)
        ended = ""
        while True:
            if self.client is not None and ended != self._begun_id:
                ended = self._begun_id
                await destroy(self.client, ended)
                await forget_ended(Place.of(self.client.config, self._environ), [ended])
            async with self._opening:  # a start that was cancelled may have had one more
                if ended == self._begun_id:
                    break
        self._kept.forget()
        self._lease.end()

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
                            self._ended = event.reason
                            await forget_ended(Place.of(client.config, self._environ), [session.id])
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
        self.upkeep.stop()
        session, self.session = self.session, None
        self._on_end()
        if session is not None and self._ended is None:
            await self._destroy(session)

    async def _destroy(self, session: ComputeSession) -> None:
        try:
            async with asyncio.timeout(5):
                await session.destroy()  # what is left of it must not go on costing
        except (BackendError, TimeoutError):
            return  # it is gone already, or out of reach: the cell says so
