"""One execution in a session: an async context manager that yields its events.

    async with session.run("print(6 * 7)") as run:
        async for event in run:
            ...

Leaving it early, by ``break``, error or cancellation, interrupts the code in the session and polls
on until it has ended, because a run that nobody polls to its end blocks every later one.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from .errors import (
    APIError,
    BackendError,
    ConnectError,
    NotFound,
    ProtocolError,
    RunLost,
    ServerError,
)
from .model import RunAnswer, RunStatus
from .protocol import calls
from .protocol.envelope import Message, Replay
from .protocol.run import Event, Finished, InputRequest, RunState, Text, TimedOut
from .recovery import OnContact, Reach, Recovery

if TYPE_CHECKING:
    from .session import ComputeSession

HELD_BY_ANOTHER = "A run from before holds the session, and nobody can end it."
_DRAIN = 3.0  # seconds to wait for an interrupted run before it is left to the background
_CHECK_AFTER = 2  # silent polls, about 2 s each, after which we ask whether anybody lives there; …
_CHECK_EVERY = 15  # … then after so many, half a minute
_QUIET = 0.15  # seconds between silent polls, so that these questions add no requests on the whole
INTERRUPT_FIRST = 0.15  # seconds: an empty line that overtook the interrupt would be the answer
_REACH_AGAIN = 60.0  # seconds to try to reach the server for a run that was left
_SEND_AGAIN = 3  # times that code which did not arrive is sent once more

OnAnswer = Callable[[Sequence[Event | Message], Mapping[str, int]], None]
"""Takes what an answer brought, before it is shown, and all that has come by then."""

_DOUBT = (
    "The answer that told how the code ended was lost ({reason}): it may have run to its end, in "
    "part, or not at all."
)
_LOOK_FIRST = "Look at its variables before you run it again."

_HELD_ON = 2.2  # seconds: a server holds a poll for 2, also when its connection has broken
_BORN = time.monotonic()  # no poll of a process before us is younger
SETTLE = 0.3  # seconds for an empty query of ours to end after the run that it was sent into

_LOST_OUTPUT = (
    "[The answer of the server was lost ({reason}); output from before this line may be missing.]\n"
)


class Run:
    """A run of code; see the module. Not made by hand: `ComputeSession.run` makes it."""

    def __init__(
        self,
        session: ComputeSession,
        state: RunState,
        patience: float | None = None,
        *,
        key: str = "",
    ) -> None:
        self.session = session
        self._state = state
        self._patience = patience
        self._check_at = _CHECK_AFTER
        self._events: deque[Event | Message] = deque()
        self._poll: asyncio.Task[RunAnswer] | None = None
        self._interrupted = False
        self._has_extra = False
        self._may_go_on = False  # although nobody asks for it any more
        self._doubt = ""  # why it cannot be told how the code ended
        self._astray = ""  # why its end has gone to a poll that nobody reads
        self._sent_at = _BORN  # by another process, if it is not ours
        self._waiting: InputRequest | None = None
        self._asks = False  # as the session was told last
        self._recovery = Recovery(session, key)
        self._reach = Reach()
        self._interrupt_due = False
        self._sent_again = 0
        self.on_answer: OnAnswer = lambda events, have: None

    @property
    def run_id(self) -> str:
        """The id under which the server knows the run."""
        return self._state.run_id

    @property
    def is_over(self) -> bool:
        """The server has said that it is finished, or it was lost."""
        return self._state.is_over

    @property
    def is_waiting(self) -> bool:
        """It waits for the answer to an `InputRequest`."""
        return self._waiting is not None

    async def __aenter__(self) -> Run:
        await self.session.turn.acquire()  # a session runs one thing at a time
        self.session.running = self
        self.session.on_run(self.run_id, False)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._state.is_over or not self._state.is_sent:
            await self._release()
            return
        ending = asyncio.create_task(self._end())
        self.session.endings.add(ending)  # it owns the turn from here on
        ending.add_done_callback(self.session.endings.discard)
        await asyncio.wait([ending], timeout=_DRAIN)

    async def _end(self) -> None:
        self._reach.limit = _REACH_AGAIN
        try:
            await self.interrupt()
            async for _ in self:
                pass
        except (RunLost, APIError, ConnectError):
            pass  # nobody waits for this run any more; the next one is told in its own words
        finally:
            await self._release()

    async def _release(self) -> None:
        try:
            if self._has_extra:
                # Our empty query may still be on its way; its end must not be taken for that of
                # the next run. Between runs the server drops it.
                await asyncio.sleep(SETTLE)
        finally:
            self.session.running = None
            if self.is_over and not self._may_go_on:
                self.session.on_run("", False)
            self.session.turn.release()

    def __aiter__(self) -> Run:
        return self

    async def __anext__(self) -> Event | Message:
        """Return the next event.

        Cancelling is safe: an answer under way is not lost, a later call picks it up.

        Raises:
            RunLost: The session or its interpreter went away under the code.
            ConnectError: No answer; or the one that told how the code ended was lost.
            APIError, ProtocolError: As `Client.send`.
        """
        while not self._events:
            if self._doubt:
                reason, self._doubt = self._doubt, ""
                raise ConnectError(_DOUBT.format(reason=reason), hint=_LOOK_FIRST, sent=True)
            if self._state.is_over:
                raise StopAsyncIteration
            if self._waiting is not None:
                raise RuntimeError("the run waits for input: call give_input first")
            await self._step()
        event = self._events.popleft()
        if isinstance(event, InputRequest):
            if self._interrupted:  # the code was interrupted while it asked: unblock the runner
                self._state.give_input("")
                return await self.__anext__()
            self._waiting = event
        return event

    @property
    def key(self) -> str:
        """Name of the request in the session's interpreter, by which its output is kept."""
        return self._recovery.key

    @property
    def on_contact(self) -> OnContact:
        """Told when the server cannot be reached while the code runs, and when it can be again."""
        return self._reach.on_contact

    @on_contact.setter
    def on_contact(self, told: OnContact) -> None:
        self._reach.on_contact = told

    def give_input(self, text: str) -> None:
        """Answer the `InputRequest` that came last; a newline at the end is left out."""
        self._waiting = None
        self._state.give_input(text.removesuffix("\n"))

    async def interrupt(self) -> None:
        """Interrupt the code, as Ctrl-C does; the run then ends by itself, with its own error.

        While the code waits for input, the runner goes on waiting after the code was interrupted
        (API reference 10.6), so it is sent an empty line.

        Raises:
            ConnectError, APIError: As `Client.send`.
        """
        self._interrupted = True
        try:
            await self.session.interrupt()
        except ConnectError:
            self._interrupt_due = self._reach.is_lost  # as soon as the server is reached again
            raise
        if self._waiting is not None:
            await asyncio.sleep(INTERRUPT_FIRST)
        if self._waiting is not None:
            self.give_input("")

    async def settle(self, seconds: float) -> None:
        """Return when no poll is under way, or after so many seconds."""
        if self._poll is not None:
            await asyncio.wait([self._poll], timeout=seconds)

    def forget(self) -> None:
        """Ask for nothing more: the interpreter that ran the code is gone, and with it the end."""
        self._state.is_over = True
        if self._poll is not None:
            self._poll.cancel()

    # -- polling ------------------------------------------------------------------------------

    async def _step(self) -> None:
        # An answer carries output that exists nowhere else: never cancel it in flight.
        if self._poll is None:
            await self.session.may_send.wait()
            if self._state.is_over:
                return  # its interpreter was replaced
            self._poll = asyncio.create_task(self._next_answer())
        try:
            answer = await asyncio.shield(self._poll)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # the poll itself failed: there is none to pick up any more
            self._poll = None
            self._state.is_over = True
            self._may_go_on = not isinstance(exc, RunLost)
            raise
        self._poll = None
        before = dict(self._state.have)
        events = self._state.receive(answer)
        if self._state.awaits_input != self._asks:
            # Not before the answer to the input: a server forgets one whose sender is gone.
            self._asks = self._state.awaits_input
            self.session.on_run(self.run_id, self._asks)
        if self._state.is_live:
            self._state.is_live = False
            gap = self.session.pace.next_gap()
            recovery = self._recovery
            self._state.give_input(recovery.question() if recovery.is_lossy else gap)
        if self._doubt:  # this end is perhaps not that of the code
            events = [event for event in events if not isinstance(event, Finished)]
        decoded = [e for e in map(self.session.decoder.read, events) if e is not None]
        shown = self._recovery.take(self._state, before, decoded)
        if self._recovery.is_lossy and self._state.is_over:
            shown = await self._complete(shown)
        self.on_answer(shown, self._state.have)
        self._events.extend(shown)
        if any(isinstance(event, TimedOut) for event in events):
            raise RunLost(
                "The code ran longer than this server allows, and it has ended the session.",
                hint="Run the cell again for a new session.",
            )
        await self._check_alive(self._state.silent_polls)

    async def _check_alive(self, silent: int) -> None:
        if not silent:
            self._check_at = _CHECK_AFTER
        if silent < self._check_at:
            return
        self._check_at = silent - silent % _CHECK_EVERY + _CHECK_EVERY
        try:
            await self.session.check_alive()
        except RunLost:
            self._state.is_over = True  # there is nothing left to interrupt, and no end to poll for
            raise

    async def _next_answer(self) -> RunAnswer:
        client = self.session.client
        quiet = _QUIET if self._state.silent_polls >= _CHECK_AFTER else 0.0
        if self._state.is_sent and (gap := max(client.rate.gap(), quiet)) > 0:
            await asyncio.sleep(gap)
        was_sent = self._state.is_sent
        if self._state.is_resumed:
            self._state.is_resumed = False
            return await self._rescue("the kernel was away")
        if self._astray:
            return await self._rescue(self._astray)
        call = self._state.next_call()
        self._has_extra = self._has_extra or self._state.is_freed
        try:
            async with asyncio.timeout(None if was_sent else self._patience):
                while True:
                    self._sent_at = time.monotonic()
                    try:
                        answer = await client.send(call)
                    except ConnectError as exc:
                        if exc.sent or not was_sent:
                            raise
                        await self._wait(exc)  # it never left, so nothing was lost
                    else:
                        await self._reached()
                        return answer
        except TimeoutError:
            raise RunLost(HELD_BY_ANOTHER) from None
        except ConnectError as exc:
            if not exc.sent and not was_sent:
                raise  # the code never left
            return await self._rescue("the connection broke")
        except NotFound as exc:
            raise await self.session.lost(exc) from exc
        except ServerError as exc:
            if exc.slug == "invalid-session-data":
                raise
            return await self._rescue(f"HTTP {exc.status}")

    async def _rescue(self, reason: str) -> RunAnswer:
        """Take up a run whose answer was lost, whatever has become of it.

        ``continue`` would open a run again that has ended meanwhile, for ever (26); an empty
        ``query`` under the same run id is answered with the rest of a run that goes on, and frees
        the queue of one that has ended or that the server cannot tell about (19, 23, 27). In the
        second case the end that it tells may be its own: how the code ended nobody knows.

        A poll from before is held for 2 s, though nobody reads it, and takes what comes meanwhile
        for itself: a question, or the end. So it is outlived. Where one has taken the end
        nevertheless, the answer names no run, and it is asked anew.
        """
        recovery = self._recovery
        if recovery.key:
            recovery.lose(self._state)
        elif not self._astray:
            self._events.append(Text("stderr", _LOST_OUTPUT.format(reason=reason)))
        call = calls.execute(self.session.id, self._state.run_id, "query", "")
        while True:
            await asyncio.sleep(self._sent_at + _HELD_ON - time.monotonic())
            self._sent_at = time.monotonic()
            try:
                answer = await self.session.client.send(call)
            except NotFound as exc:
                raise await self.session.lost(exc) from exc
            except (ConnectError, ServerError) as exc:
                await self._wait(exc)
            else:
                break
        self._has_extra = True
        self._astray = ""
        if answer.status is RunStatus.FINISHED:
            self._doubt = reason
        elif answer.status is RunStatus.CONTINUED and not answer.run_id:
            self._astray = reason
        elif recovery.key and answer.status is RunStatus.CONTINUED:
            self._state.give_input(recovery.question())  # it may wait for one that was lost
        await self._reached()
        return answer

    async def _wait(self, error: BackendError) -> None:
        if self.session.client.config.is_local and not getattr(error, "sent", True):
            raise error  # nobody listens at its port any more, and its sessions ended with it
        pause = self._reach.lost(error)
        if self._reach.is_over():
            raise RunLost(
                f"The server could not be reached any more while the code ran: {error}",
                hint="The session may still be there: `backendai-kernel doctor` looks.",
            ) from error
        await asyncio.sleep(pause)

    async def _reached(self) -> None:
        self._reach.back(is_complete=bool(self._recovery.key))
        if self._interrupt_due:
            self._interrupt_due = False
            await self.session.interrupt()

    async def _complete(self, shown: list[Event | Message]) -> list[Event | Message]:
        """Return what was missing when the run ended, and the end."""
        end = [event for event in shown if isinstance(event, Finished | TimedOut)]
        await asyncio.sleep(SETTLE)  # our empty query may have to end first
        try:
            replay = await self._recovery.ask(self._wait)
        except (APIError, ProtocolError):
            replay = None
        if replay is None:
            note = Text("stderr", _LOST_OUTPUT.format(reason=self._doubt or "the connection broke"))
            return [note, *self._recovery.give_up(), *end]
        if replay.is_known:
            self._doubt = ""
            return [*self._recovery.adopt(replay), *(end or [Finished(_exit_code_of(replay))])]
        self._recovery.give_up()
        if self._state.mode != "query" or self._sent_again >= _SEND_AGAIN:
            self._doubt = ""
            raise ConnectError(
                "The code did not arrive at the session, so none of it ran.",
                hint="Run the cell again.",
                sent=False,
            )
        # The interpreter has not seen it, and would not run it a second time.
        self._sent_again += 1
        self._doubt = ""
        old = self._state
        self._state = RunState(old.session, secrets.token_hex(8), old.mode, old.code, old.options)
        self._state.live_mark = old.live_mark
        self.session.on_run(self.run_id, False)
        return []


def _exit_code_of(replay: Replay) -> int:
    failed = any(isinstance(e, Message) and e.kind == "error" for e in replay.events)
    return int(failed)


async def collect(entered: AbstractAsyncContextManager[Run]) -> list[Event | Message]:
    """Return all events of a run that asks for no input."""
    async with entered as run:
        return [event async for event in run]


def exit_code(events: list[Any]) -> int | None:
    """Return the exit code among the events of a finished run."""
    return next((e.exit_code for e in reversed(events) if isinstance(e, Finished)), None)
