"""One execution in a session: an async context manager that yields its events.

    async with session.run("print(6 * 7)") as run:
        async for event in run:
            ...

Leaving it early, by ``break``, error or cancellation, interrupts the code in the session and polls
on until it has ended, because a run that nobody polls to its end blocks every later one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from .errors import APIError, ConnectError, NotFound, RunLost, ServerError
from .model import RunAnswer, RunStatus
from .protocol import calls
from .protocol.envelope import Message
from .protocol.run import Event, Finished, InputRequest, RunState, Text, TimedOut

if TYPE_CHECKING:
    from .session import ComputeSession

HELD_BY_ANOTHER = "A run from before holds the session, and nobody can end it."
_DRAIN = 3.0  # seconds to wait for an interrupted run before it is left to the background
_CHECK_AFTER = 2  # silent polls, about 2 s each, after which we ask whether anybody lives there; …
_CHECK_EVERY = 20  # … then after growing numbers of them, up to this
_QUIET = 0.12  # seconds between silent polls, so that these questions add no requests on the whole
INTERRUPT_FIRST = 0.15  # seconds: an empty line that overtook the interrupt would be the answer
_REACH_AGAIN = 60.0  # seconds to try to reach a server that a run was going on at

_DOUBT = (
    "The answer that told how the code ended was lost ({reason}): it may have run to its end, in "
    "part, or not at all."
)
_LOOK_FIRST = "Look at its variables before you run it again."

SETTLE = 0.3  # seconds for an empty query of ours to end after the run that it was sent into

_LOST_OUTPUT = (
    "[The answer of the server was lost ({reason}); output from before this line may be missing.]\n"
)


class Run:
    """A run of code; see the module. Not made by hand: `ComputeSession.run` makes it."""

    def __init__(
        self, session: ComputeSession, state: RunState, patience: float | None = None
    ) -> None:
        self.session = session
        self._state = state
        self._patience = patience
        self._check_at = _CHECK_AFTER
        self._events: deque[Event | Message] = deque()
        self._poll: asyncio.Task[RunAnswer] | None = None
        self._interrupted = False
        self._has_extra = False
        self._doubt = ""  # why it cannot be told how the code ended
        self._waiting: InputRequest | None = None
        self._asks = False  # as the session was told last

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
            if self.is_over:
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
        await self.session.interrupt()
        if self._waiting is not None:
            await asyncio.sleep(INTERRUPT_FIRST)
        if self._waiting is not None:
            self.give_input("")

    # -- polling ------------------------------------------------------------------------------

    async def _step(self) -> None:
        # An answer carries output that exists nowhere else: never cancel it in flight.
        if self._poll is None:
            self._poll = asyncio.create_task(self._next_answer())
        try:
            answer = await asyncio.shield(self._poll)
        except asyncio.CancelledError:
            raise
        except BaseException:  # the poll itself failed: there is none to pick up any more
            self._poll = None
            self._state.is_over = True
            raise
        self._poll = None
        events = self._state.receive(answer)
        if self._state.awaits_input != self._asks:
            # Not before the answer to the input: a server forgets one whose sender is gone.
            self._asks = self._state.awaits_input
            self.session.on_run(self.run_id, self._asks)
        if self._state.is_live:
            self._state.is_live = False
            self._state.give_input(self.session.pace.next_gap())
        if self._doubt:  # this end is perhaps not that of the code
            events = [event for event in events if not isinstance(event, Finished)]
        self._events.extend(e for e in map(self.session.decoder.read, events) if e is not None)
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
        self._check_at = silent + min(3 * silent, _CHECK_EVERY)
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
        call = self._state.next_call()
        self._has_extra = self._has_extra or self._state.is_freed
        try:
            async with asyncio.timeout(None if was_sent else self._patience):
                return await client.send(call)
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
        """
        self._events.append(Text("stderr", _LOST_OUTPUT.format(reason=reason)))
        call = calls.execute(self.session.id, self._state.run_id, "query", "")
        deadline = asyncio.get_running_loop().time() + _REACH_AGAIN
        pause = 0.2
        while True:
            try:
                answer = await self.session.client.send(call)
            except NotFound as exc:
                raise await self.session.lost(exc) from exc
            except (ConnectError, ServerError) as exc:
                if asyncio.get_running_loop().time() > deadline:
                    raise RunLost(
                        f"The server could not be reached any more while the code ran: {exc}",
                        hint="The session may still be there: `backendai-kernel doctor` looks.",
                    ) from exc
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            else:
                self._has_extra = True
                if answer.status is RunStatus.FINISHED:
                    self._doubt = reason
                return answer


async def collect(entered: AbstractAsyncContextManager[Run]) -> list[Event | Message]:
    """Return all events of a run that asks for no input."""
    async with entered as run:
        return [event async for event in run]


def exit_code(events: list[Any]) -> int | None:
    """Return the exit code among the events of a finished run."""
    return next((e.exit_code for e in reversed(events) if isinstance(e, Finished)), None)
