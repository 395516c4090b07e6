"""One cell on its way: the session is had, the code runs, and all that comes back is shown.

`Cell.run` lives on the kernel's loop; what it asks of the lane runs on the portal's. Messages cross
over in order, so all output of a cell is out before its reply.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from ..card import StartCard
from ..errors import BackendError
from ..expiry import Deadline
from ..journal import NO_ROOM
from ..outputs import Failure, Translator
from ..portal import Portal
from ..postmortem import PostMortem
from ..protocol.envelope import Message
from ..protocol.run import Event, InputRequest
from ..views import post_mortem_html, post_mortem_text
from .lanes import QueryLane
from .limit import TextLimit, output_limit
from .queue import OutputQueue

Send = Callable[[str, dict[str, Any]], None]
AskFrontEnd = Callable[[str, bool], Awaitable[str]]

_WHY_NO_STDIN = "input() was called, but this front end does not support input requests."
_NO_STDIN = Failure(
    "StdinNotImplementedError", _WHY_NO_STDIN, [f"StdinNotImplementedError: {_WHY_NO_STDIN}"]
)

STUCK = (
    "The code still runs in the session, and takes no notice of interrupts. The next cell waits for "
    "its end; interrupt that one, and it offers a fresh interpreter.\n"
)
_OFFER = (
    "The code takes no notice of interrupts. A fresh interpreter in the same session ends it: files "
    "are kept, variables are lost.\n"
)
_QUESTION = "Restart the interpreter? [y/N] "
_NO_QUESTION = (
    "This front end has no input prompt to ask at: restart the kernel for it, or wait for the "
    "code's end.\n"
)
_RESTARTED = "InterpreterRestarted"
_WHY_RESTARTED = (
    "The session has a fresh interpreter now, as was asked for; its files are kept. Its variables "
    "are lost: run the cells that set them again."
)
_GIVEN = 2.0  # seconds for the code of an interrupted cell to end before that cell does
_IGNORED_AFTER = 3.0  # seconds after an interrupt until we say that the code takes no notice


class Cell:
    """One cell that runs in the session."""

    def __init__(
        self,
        portal: Portal,
        lane: QueryLane,
        send: Send,
        ask: AskFrontEnd | None,
        silent: bool = False,
        *,
        relay: Callable[[Message], None] = lambda message: None,
        parent: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare.

        Args:
            send: Sends a message to the front end, as an answer to this cell.
            relay: Takes comm messages, and what belongs to another request than this cell.
            ask: Asks the front end for a line; ``None`` when it can give none.
            silent: No results are shown, and no card.
            parent: Header of the front end's request.
        """
        self._portal = portal
        self._lane = lane
        self._send = send
        self._ask = ask
        self._silent = silent
        self._relay = relay
        self._origin = ""
        self._parent = parent
        self._loop = asyncio.get_running_loop()
        self._work: Future[None] | None = None
        self._is_running_code = False
        self._interrupts = 0
        self._no_stdin = False
        self._is_abandoned = False
        self._offers = False  # a fresh interpreter
        self._offering: asyncio.Future[str] | None = None
        self._limit = TextLimit(0, None)
        self.lost: PostMortem | None = None

    async def run(self, code: str, head: Mapping[str, Any]) -> Translator:
        """Run the cell; return what the reply needs. How it failed the front end has been told.

        Args:
            head: As for `ComputeSession.cell`; ``count`` is the cell's number.
        """
        translator = Translator(int(head.get("count", 0)), silent=self._silent)
        self._origin = str(head.get("origin", ""))
        translator.failure = await self._run(code, head, translator)
        return translator

    async def _run(
        self, code: str, head: Mapping[str, Any], translator: Translator
    ) -> Failure | None:
        try:
            if not self._lane.is_open:
                await self._open()
            elif not self._silent and (note := self._lane.take_resumed()):
                self._say(f"[{note}]\n")
            translator.plain = self._lane.is_plain
            await self._execute(code, head, translator)
        except BackendError as exc:
            self.lost = getattr(exc, "post_mortem", None)
            if self.lost is not None and self.lost.log and not self._silent:
                self._show_log(self.lost)
            return self._failed(type(exc).__name__, str(exc))
        except asyncio.CancelledError:
            if not self._interrupts:
                raise
            return await self._left()
        return translator.failure

    async def _left(self) -> Failure:
        """End an interrupted cell; where its code runs on, say what can be done about that."""
        if self._silent or self._is_abandoned or not await self._is_stuck():
            return self._failed("KeyboardInterrupt", "")
        if not self._offers:
            self._say(STUCK)
        elif await self._is_wanted():
            return await self._start_anew()
        return self._failed("KeyboardInterrupt", "")

    async def _is_stuck(self) -> bool:
        """Tell whether the code goes on, after the seconds that it is given to end."""
        end = self._loop.time() + _GIVEN
        while self._lane.is_held:
            is_asked_for = self._offers and self._lane.is_left_running
            if is_asked_for or self._loop.time() > end:
                return True
            await asyncio.sleep(0.02)
        return False

    async def _is_wanted(self) -> bool:
        self._say(_OFFER if self._ask is not None else _OFFER + _NO_QUESTION)
        if self._ask is None:
            return False
        self._offering = asyncio.ensure_future(self._ask(_QUESTION, False))
        try:
            return (await self._offering).strip().lower() in ("y", "yes")
        except asyncio.CancelledError:
            return False  # one more interrupt
        finally:
            self._offering = None

    async def _start_anew(self) -> Failure:
        if not self._lane.is_held:
            self._say("The code has ended by itself meanwhile; nothing was restarted.\n")
            return self._failed("KeyboardInterrupt", "")
        try:
            await self._portal.run(self._lane.start_anew())
        except BackendError as exc:
            return self._failed(type(exc).__name__, str(exc))
        return self._failed(_RESTARTED, _WHY_RESTARTED)

    def _show_log(self, found: PostMortem) -> None:
        data = {"text/plain": post_mortem_text(found), "text/html": post_mortem_html(found)}
        transient = {"display_id": f"backendai-{uuid.uuid4().hex}"}
        self._send("display_data", {"data": data, "metadata": {}, "transient": transient})

    def _failed(self, ename: str, evalue: str) -> Failure:
        failure = Failure(ename, evalue, [f"{ename}: {evalue}" if evalue else ename])
        self._send("error", failure.content)
        return failure

    async def _open(self) -> None:
        card = StartCard(self._send, self._lane.wish.image, self._lane.wish.resources)
        opening = self._lane.open(lambda progress: self._here(card.progress, progress))
        self._work = self._portal.start(opening)
        try:
            async with card:
                await asyncio.wrap_future(self._work)
                client, session = self._lane.client, self._lane.session
                if client is not None and session is not None:
                    config, note = client.config, self._lane.take_note()
                    card.ready(session.name, config.endpoint, config.is_local, note)
                    self._lane.upkeep.on_time = lambda told: self._here(_show_time, card, told)
        finally:
            self._work = None

    async def _execute(self, code: str, head: Mapping[str, Any], translator: Translator) -> None:
        self._limit = TextLimit(output_limit(os.environ), self._lane.journal.folder)
        queue = OutputQueue(self._loop, partial(self._publish, translator))

        async def answer(request: InputRequest) -> str:
            self._here(queue.flush)  # what was printed before a question is shown before it
            return await self._answer(request)

        self._is_running_code = True
        self._lane.journal.is_cut = False
        self._work = self._portal.start(
            self._lane.execute(code, head, queue.put, answer, queue.room, parent=self._parent)
        )
        try:
            await asyncio.wrap_future(self._work)
        finally:
            queue.flush()
            for stream, text in self._limit.finish():
                self._send("stream", {"name": stream, "text": text})
            if self._lane.journal.is_cut:
                self._send("stream", {"name": "stderr", "text": NO_ROOM})
            self._is_running_code = False
            self._work = None

    def _here(self, function: Callable[..., None], *args: Any) -> None:
        """Call *function* on the kernel's loop; calls keep their order."""
        self._loop.call_soon_threadsafe(function, *args)

    def _publish(self, translator: Translator, event: Event | Message) -> None:
        if isinstance(event, Message) and (
            event.kind.startswith("comm_") or event.origin not in ("", self._origin)
        ):
            self._relay(event)
            return
        for kind, content in translator.translate(event):
            if kind == "error" and self._no_stdin:  # the interrupt was ours, this is the reason
                translator.failure, content = _NO_STDIN, _NO_STDIN.content
            if kind == "stream":
                for name, text in self._limit.take(str(content["name"]), str(content["text"])):
                    self._send(kind, {"name": name, "text": text})
            else:
                self._send(kind, content)

    # -- input --------------------------------------------------------------------------------

    async def _answer(self, request: InputRequest) -> str:
        """Return the line for the session's ``input()``; runs on the portal's loop."""
        if self._ask is None:
            # As ipykernel: the code fails. Nothing but an interrupt ends a read over there.
            self._no_stdin = True
            await self._lane.interrupt()
            raise asyncio.CancelledError
        asking = asyncio.run_coroutine_threadsafe(
            _as_coroutine(self._ask, request.prompt, request.is_password), self._loop
        )
        return await asyncio.wrap_future(asking)

    # -- interrupt ----------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Interrupt the cell, from any thread or signal handler.

        A first time the session's code is interrupted and the cell ends with it; while the session
        is only being started, that is cancelled. A second time the cell ends at once, and the
        session brings its code to an end in the background. Where the code goes on nevertheless, a
        third time, or the first one in a cell that waits for it, offers a fresh interpreter.
        """
        self._interrupts += 1
        self._here(self._interrupted)

    def _interrupted(self) -> None:
        work = self._work
        if self._offering is not None:
            self._offering.cancel()
        self._offers = self._offers or self._interrupts > 2
        if work is None:
            return
        if self._interrupts > 1 or not (self._is_running_code or self._lane.is_taking_up):
            work.cancel()
            return
        sent = self._portal.start(self._lane.interrupt())
        sent.add_done_callback(lambda done: self._here(self._told, work, done))
        self._loop.call_later(_IGNORED_AFTER, self._still_running, work)

    def _told(self, work: Future[None], sent: Future[bool]) -> None:
        if sent.cancelled():
            return
        if isinstance(error := sent.exception(), BackendError):
            self._say(f"The interrupt did not reach the session: {error}\n")
        elif error is None and not sent.result():
            # It still waits for the session: nothing of it runs there yet. Code of a cell before it
            # has been interrupted already; a callback was only now, and is given its time.
            self._offers = self._offers or self._lane.is_left_running
            work.cancel()

    def _still_running(self, work: Future[None]) -> None:
        if self._work is work and not work.done():
            self._say(
                "The code has not stopped: it takes no notice of interrupts, or its interpreter "
                "is gone.\nInterrupt again to leave it, or restart the kernel for a fresh "
                "interpreter.\n"
            )

    def _say(self, text: str) -> None:
        self._send("stream", {"name": "stderr", "text": text})

    def abandon(self) -> None:
        """End the cell at once, from any thread or signal handler: the kernel is about to go."""
        self._interrupts += 2
        self._is_abandoned = True
        work = self._work
        if work is not None:  # not by way of the kernel's loop, which a signal handler holds up
            work.cancel()


def _show_time(card: StartCard, deadlines: tuple[Deadline, ...]) -> None:
    card.time_left("; ".join(map(str, deadlines)))


async def _as_coroutine(ask: AskFrontEnd, prompt: str, password: bool) -> str:
    return await ask(prompt, password)
