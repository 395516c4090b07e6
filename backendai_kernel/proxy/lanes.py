"""The way a kernel's cells take to a session: one interface, today one lane, the query API.

A lane lives on the portal's loop. It opens the client and the session when the first cell comes,
and again when the session was lost; see `hold`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..anew import replace_interpreter
from ..errors import BackendError, ConfigError, RunLost
from ..journal import Head
from ..postmortem import Cause, as_error, examine
from ..protocol.envelope import Message
from ..protocol.run import Event, Finished, InputRequest, Text
from ..run import Run
from ..session import ComputeSession
from .hold import SessionHold
from .wish import Ask, Publish

_WAITS = (
    "[The code of an interrupted cell still runs in the session; this cell waits for its end.]\n"
)
_MOMENT = 0.02  # seconds
_LATE_FIRST = 0.3  # seconds until late output is asked for, growing up to …
_LATE_LONGEST = 10.0


async def nowhere_full() -> None:
    """Return: there is room for any number of events."""


class QueryLane(SessionHold):
    """Cells as ``POST /session/{id}``.

    Attributes:
        names: Variable → type, as the session last told of them.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.names: dict[str, str] = {}
        self._run: Run | None = None
        self._asking: asyncio.Task[str] | None = None
        self._is_late = False
        self._way_on = ""  # what to do when the session is gone, in place of a new one

    @property
    def is_busy(self) -> bool:
        # A hidden call is over in a moment and can be waited for; a cell may take hours.
        return self._run is not None or self.is_left_running

    @property
    def is_held(self) -> bool:
        """Something runs in the session: a cell's code, what is left of one, or a callback."""
        session = self.session or self._left
        return bool(session and session.running)

    @property
    def is_left_running(self) -> bool:
        """Code of a cell that is over goes on: it has not heeded its interrupt."""
        session = self.session or self._left
        return bool(session and session.endings)

    def _has_work(self) -> bool:
        return self.is_busy

    async def _touch(self) -> None:
        await self.call("late", self._on_late)

    async def execute(
        self,
        code: str,
        head: Mapping[str, Any],
        publish: Callable[..., None],
        ask: Ask,
        room: Callable[[], Awaitable[None]] = nowhere_full,
        parent: Mapping[str, Any] | None = None,
    ) -> None:
        """Run code to its end.

        Args:
            head: As for `ComputeSession.cell`.
            publish: Takes what comes of it, and whether the run is over by now: then we return soon.
            ask: Asks the front end for a line.
            room: Awaited before more is fetched, so that what *publish* takes does not pile up.
            parent: Header of the front end's request, for a kernel process that comes after us.

        Raises:
            RunLost: The session has ended, before the code or under it; the next cell gets a new
                one.
            ConnectError, APIError, ProtocolError: As `Client.send`.
        """
        try:
            session = self._live_session()
        except RunLost as exc:
            self.session = None
            raise await self._examined(exc, "since the last cell") from None
        if session.endings:
            publish(Text("stderr", _WAITS))
        try:
            async with session.cell(code, head) as run:
                self._run = run
                run.on_contact = publish
                run.on_answer = self.journal.answer
                self._begin_entry(session, run, code, head, parent or {})
                try:
                    async for event in run:
                        if isinstance(event, InputRequest):
                            await self._answer(run, event, ask)
                        else:
                            self._note(event)
                            publish(event, run.is_over)
                            await room()
                finally:
                    run.on_answer = lambda events, have: None  # the next cell closes the file
                    self._run = None  # what is left of it is brought to its end without us
        except RunLost as exc:
            lost = await self._examined(exc, "while the code ran")
            await self._forget()
            raise lost from None

    def _begin_entry(
        self,
        session: ComputeSession,
        run: Run,
        code: str,
        head: Mapping[str, Any],
        parent: Mapping[str, Any],
    ) -> None:
        now, nonce = time.time(), session.decoder.nonce
        count = int(head.get("count", 0))
        try:
            self.journal.begin(
                Head(session.id, run.run_id, run.key, nonce, count, code, now, parent)
            )
        except OSError as exc:
            raise ConfigError(
                f"The journal of this notebook cannot be written: {exc}.",
                hint="BACKENDAI_KERNEL_STATE names another folder, BACKENDAI_KERNEL_JOURNAL=0 "
                "keeps none.",
            ) from exc

    async def call(
        self, name: str, publish: Publish, *, origin: str | None = None, **arguments: Any
    ) -> Any:
        """Have the session's interpreter do something that is no code of the user.

        It waits for a cell that runs, and leaves no trace in history and numbers.

        Args:
            name: A function of the bootstrap, by its name behind ``call_``.
            publish: Takes what comes of it but the result.
            origin: Name of the request that it is part of; ``None``: that of the last cell.

        Returns:
            What the function returned, as JSON has it; ``None`` when it failed.

        Raises:
            RunLost, ConnectError, APIError, ProtocolError: As `execute`.
        """
        session, value = self._live_session(), None
        async with session.call(name, origin=origin, **arguments) as run:
            async for event in run:
                self._note(event)
                if isinstance(event, InputRequest):
                    run.give_input("")  # a callback that asks: there is no cell to ask from
                elif isinstance(event, Message) and event.kind == "result":
                    value = event.content.get("value")
                else:
                    publish(event)
        return value

    def _note(self, event: Event | Message) -> None:
        if not (isinstance(event, Message) and event.kind == "reply"):
            return
        if isinstance(names := event.content.get("names"), dict):
            self.names = names
        if event.content.get("late"):
            self._is_late = True
            if self._following is None or self._following.done():
                self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        """Fetch what threads, tasks and callbacks say between the cells.

        Quickly at first and after each find, then slower and slower, as the rate limit asks for.
        """
        pause = _LATE_FIRST
        while self._is_late and self.session is not None and self.client is not None:
            await asyncio.sleep(max(pause, self.client.rate.gap()))
            if self.is_busy or self._ended is not None:
                pause = _LATE_FIRST
                continue
            found = False

            def publish(event: Event | Message) -> None:
                nonlocal found
                if not isinstance(event, Finished):
                    found = found or not (isinstance(event, Message) and event.kind == "reply")
                    self._on_late(event)

            self._is_late = False
            try:
                await self.call("late", publish)
            except (BackendError, RuntimeError):
                return  # the next cell is told, by its own request
            pause = _LATE_FIRST if found else min(pause * 1.5, _LATE_LONGEST)

    def _live_session(self) -> ComputeSession:
        if self.session is None:
            raise RuntimeError("the lane is not open")
        if self._ended is not None:
            self.upkeep.stop()
            self._on_end()
            raise RunLost("The session has ended since the last cell.", hint=self._way_on)
        return self.session

    async def _examined(self, error: RunLost, when: str) -> RunLost:
        """Return the error with the reason, as far as it can be found out."""
        if self.client is None:
            return error
        found = await examine(self.client, self._begun_id, when=when, reason=self._ended or "")
        if found.cause in (Cause.CRASH, Cause.MEMORY) and "interpreter" not in error.message:
            return error  # the session lives: it was lost for another reason
        return as_error(found, hint=self._way_on)

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
            while self.is_taking_up and not self.is_held:  # noqa: ASYNC110 -- a moment, at the start
                await asyncio.sleep(_MOMENT)
            # A widget's callback may hold the interpreter, with a cell behind it or without; a run
            # that was left has been interrupted before.
            session = self.session or self._left
            if session is not None and session.running is not None and not session.endings:
                await session.running.interrupt()
            return False
        await run.interrupt()
        if asking is not None:
            asking.cancel()
        return True

    async def start_anew(self) -> None:
        """Give the session a fresh interpreter, whatever its code is at.

        Raises:
            RunLost, ConnectError, APIError, ProtocolError: As `replace_interpreter`.
        """
        await replace_interpreter(self._left or self._live_session())
        self.names, self._is_late = {}, False
        self._on_end()  # widgets had their other end in the old one


async def _awaited(work: Awaitable[str]) -> str:
    return await work
