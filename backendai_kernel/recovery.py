"""What a run does about answers that were lost: nothing is shown twice, and nothing left out.

What a poll had taken when its connection broke is gone on the server (recordings 25 to 27). The
bootstrap keeps it, with positions, and sends it once more: while the code runs when it is asked for
as the answer to a question, at its end by a call. Until then everything else waits, because it
comes behind what is missing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .errors import BackendError, ConnectError, ServerError
from .model import RunStatus
from .protocol import calls, envelope
from .protocol.envelope import Message, Replay
from .protocol.run import Contact, Event, Finished, InputRequest, RunState, Text, TimedOut

if TYPE_CHECKING:
    from .session import ComputeSession

OnContact = Callable[[Contact], None]

_KEPT_NO_MORE = (
    "[{missing} characters of output were lost on the way: the session keeps only so much.]\n"
)
_ATTEMPTS = 5  # to ask for what is missing at the end of a run


class Recovery:
    """What has come of one request, and what must still come before anything else may be shown.

    Attributes:
        key: Name of the request in the session's interpreter; ``""``: it knows of none, and what is
            lost cannot be had again.
        is_lossy: Something is missing.
    """

    def __init__(self, session: ComputeSession, key: str) -> None:
        self.key = key if session.decoder.nonce else ""
        self.is_lossy = False
        self._session = session
        self._serial = 0
        self._wanted: dict[str, int] = {}  # from where on it is missing
        self._held: list[Event | Message] = []

    def lose(self, state: RunState) -> None:
        """Note that an answer was lost."""
        if not self.is_lossy:
            self._wanted = dict(state.have)
        self.is_lossy = True
        self._serial += 1

    def question(self) -> str:
        """Return the answer to a question that asks for what is missing."""
        nonce = self._session.decoder.nonce
        return envelope.again(nonce, self._serial, self.key, self._wanted)

    def take(
        self, state: RunState, before: dict[str, int], events: Sequence[Event | Message]
    ) -> list[Event | Message]:
        """Take what an answer brought; return what may be shown of it.

        Args:
            before: `RunState.have` before that answer.
        """
        shown: list[Event | Message] = []
        walked = {"stdout": 0, "stderr": 0}
        for event in events:
            if isinstance(event, Message):
                if event.kind == "replay":
                    replay = envelope.replay_of(event.content)
                    if self.is_lossy and replay is not None and self._is_ours(replay):
                        for kind, count in walked.items():
                            behind = state.have[kind] - before[kind] - count
                            state.have[kind] = replay.at[kind] + behind
                            before[kind] = state.have[kind] - behind - count
                        state.have["rich"] = replay.at["rich"]
                        shown += self.adopt(replay)
                    continue
                state.have["rich"] += 1
            elif isinstance(event, Text):
                walked[event.stream] += len(event.text)
            if not self.is_lossy or isinstance(event, Finished | TimedOut):
                shown.append(event)
            elif isinstance(event, InputRequest):
                state.give_input(self.question())  # it is asked once more, behind what is missing
            else:
                self._held.append(event)
        return shown

    def _is_ours(self, replay: Replay) -> bool:
        return replay.is_known and replay.serial == self._serial

    def adopt(self, replay: Replay) -> list[Event | Message]:
        """Return what was missing, which has what was held in it."""
        self._session.decoder.known_to = replay.last
        self.is_lossy = False
        self._held.clear()
        found = list(replay.events)
        if replay.missing:
            found.insert(0, Text("stderr", _KEPT_NO_MORE.format(missing=replay.missing)))
        return found

    def give_up(self) -> list[Event | Message]:
        """Return what was held: what is missing cannot be had."""
        held, self._held, self.is_lossy = self._held, [], False
        return held

    async def ask(self, is_worth_waiting: Callable[[BackendError], object]) -> Replay | None:
        """Ask the interpreter for what is missing, when the run has ended.

        Args:
            is_worth_waiting: Awaited between two attempts.

        Returns:
            ``None``: It cannot tell.

        Raises:
            NotFound, APIError, ProtocolError: As `Client.send`.
        """
        head = {"call": "replay", "with": {"key": self.key, "have": self._wanted}}
        code = envelope.request(self._session.decoder.nonce, head)
        for _ in range(_ATTEMPTS):
            state = RunState(self._session.id, secrets.token_hex(8), "query", code)
            found: Replay | None = None
            while not state.is_over:
                try:
                    answer = await self._session.client.send(state.next_call())
                except (ConnectError, ServerError) as exc:
                    await self._free(state, exc, is_worth_waiting)
                    break
                for event in state.receive(answer):
                    message = self._session.decoder.read(event)
                    if isinstance(message, Message) and message.kind == "result":
                        found = envelope.replay_of(message.content.get("value"))
            else:
                return found
        return None

    async def _free(
        self,
        state: RunState,
        error: BackendError,
        is_worth_waiting: Callable[[BackendError], object],
    ) -> None:
        """Free the server of a run whose answer was lost too."""
        call = calls.execute(self._session.id, state.run_id, "query", "")
        while True:
            await is_worth_waiting(error)  # type: ignore[misc]  # a coroutine function
            try:
                if (await self._session.client.send(call)).status is RunStatus.FINISHED:
                    return
            except (ConnectError, ServerError) as exc:
                error = exc


class Reach:
    """How long a server has not been reached, and what is told of it.

    Attributes:
        on_contact: Told when it cannot be reached, and when it can be again.
        limit: Seconds after which nobody waits any more; ``None``: as long as the session lives.
    """

    def __init__(self) -> None:
        self.on_contact: OnContact = lambda contact: None
        self.limit: float | None = None
        self._since: float | None = None
        self._is_told = False
        self._pause = 0.2

    @property
    def is_lost(self) -> bool:
        return self._since is not None

    def lost(self, error: BackendError) -> float:
        """Note that the server could not be reached; return the seconds to wait."""
        now = time.monotonic()
        if self._since is None:
            self._since, self._pause = now, 0.2
        else:  # what is over at once is not worth a word
            self._is_told = True
            self.on_contact(Contact(now - self._since, str(error.args[0])))
        self._pause = min(self._pause * 2, 10.0)
        return self._pause

    def is_over(self) -> bool:
        """Nobody waits any more."""
        limit, since = self.limit, self._since
        return limit is not None and since is not None and time.monotonic() - since > limit

    def back(self, *, is_complete: bool) -> None:
        """Note that it answers."""
        if self._since is not None:
            since, self._since = self._since, None
            if self._is_told:
                self._is_told = False
                self.on_contact(Contact(time.monotonic() - since, "", is_complete))
