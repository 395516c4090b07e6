"""One run of code: its answers as events, and what to send next.

`RunState` is the whole protocol of the query API without any I/O: feed it an answer, take the
events, ask for the next call. Its rules come from what the live server does to those who break
them (API reference 4.8; recordings 14 to 39):

* the run id is ours, and the answer's own is used from the first answer on (14a);
* ``continue`` is never sent after ``finished``: it would open the run again for ever (23, 26);
* a run whose answer was lost is asked for with ``continue``, never sent again (25);
* after a build that failed the end follows at once, and may be dropped before we can ask for it
  (32): an empty query under the same run id brings it, or an end of its own (23).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ProtocolError, clipped
from ..model import RunAnswer, RunStatus
from . import calls


@dataclass(frozen=True, slots=True)
class Text:
    """Text that the code wrote; ``stream`` is ``stdout`` or ``stderr``."""

    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """A rich output: MIME type and payload.

    The payload of an image is bare base64, as Jupyter wants it; of others, text or JSON.
    """

    mime: str
    data: Any


@dataclass(frozen=True, slots=True)
class InputRequest:
    """The code waits for a line; the prompt is the last line of the output before."""

    prompt: str
    is_password: bool


NOT_EXECUTED = 127
"""Exit code of a batch run whose build failed, and of one with nothing to execute."""


class Phase(enum.StrEnum):
    """A step of a batch run that has ended."""

    CLEAN = "clean"
    BUILD = "build"


@dataclass(frozen=True, slots=True)
class PhaseEnded:
    """A batch run's clean or build step is over."""

    phase: Phase
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over; ``exit_code`` is ``None`` when the server did not say."""

    exit_code: int | None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The server's own limit for a run was hit, and it ends the session (``exec-timeout``)."""


@dataclass(frozen=True, slots=True)
class Contact:
    """The server cannot be reached while the code runs, or can be again.

    Attributes:
        seconds: Since when.
        reason: Why; ``""``: it is reached again.
        is_complete: Nothing of the output was lost on the way.
    """

    seconds: float
    reason: str = ""
    is_complete: bool = True


Event = Text | Media | InputRequest | PhaseEnded | Finished | TimedOut | Contact


@dataclass(slots=True)
class RunState:
    """What is known of a run.

    Attributes:
        session: UUID of the session; a name may mean a dead one too (recordings 24, 92).
        run_id: Ours until the first answer, the answer's own after it.
        silent_polls: Answers in a row that were ``continued`` and brought nothing.
        has_failed_build: The build step of a batch run has failed, so nothing will be executed.
        is_freed: The empty query that brings the end after a failed build was sent.
        is_resumed: Somebody else has begun it and is gone; unset by the first call.
        have: What has come so far: characters of each stream, prompts included, and ``rich``
            messages, which whoever reads them counts.
        live_mark: Prompt of the questions that the bootstrap asks only to end a held poll; they
            are answered by ``is_live`` and never become an `InputRequest`.
    """

    session: str
    run_id: str
    mode: str
    code: str
    options: Mapping[str, Any] | None = None
    is_sent: bool = False
    is_over: bool = False
    awaits_input: bool = False
    silent_polls: int = 0
    live_mark: str = ""
    is_live: bool = False
    has_failed_build: bool = False
    is_freed: bool = False
    is_resumed: bool = False
    have: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0, "rich": 0})
    _input: str | None = field(default=None, repr=False)

    def next_call(self) -> calls.Call[RunAnswer]:
        """Return what to send next.

        Raises:
            RuntimeError: The run is over, or it waits for input that was not given.
        """
        if self.is_over:
            raise RuntimeError("the run is over; asking for more would open it again")
        if not self.is_sent:
            self.is_sent = True
            return calls.execute(self.session, self.run_id, self.mode, self.code, self.options)
        if self._input is not None:
            text, self._input = self._input, None
            self.awaits_input = False
            return calls.execute(self.session, self.run_id, "input", text)
        if self.awaits_input:
            raise RuntimeError("the run waits for input")
        if self.has_failed_build and not self.is_freed:
            self.is_freed = True
            return calls.execute(self.session, self.run_id, "query", "")
        return calls.execute(self.session, self.run_id, "continue")

    def give_input(self, text: str) -> None:
        """Answer the `InputRequest`; the line goes out with the next call, without its newline."""
        self._input = text

    def receive(self, answer: RunAnswer) -> list[Event]:
        """Take an answer and return what it brought, in order.

        Raises:
            ProtocolError: A status that we do not know; the run counts as over.
        """
        if answer.run_id:
            self.run_id = answer.run_id
        events = [event for item in answer.console or () for event in _read(*item)]
        self._count(events)
        status = answer.status
        self.silent_polls = (
            self.silent_polls + 1 if status is RunStatus.CONTINUED and not events else 0
        )
        match status:
            case RunStatus.CONTINUED:
                pass
            case RunStatus.WAITING_INPUT:
                self.awaits_input = True
                self.is_live = self._take_mark(events)
                if self.is_live:
                    self.have["stdout"] -= len(self.live_mark)
                    return events
                prompt = _take_prompt(events)
                is_password = bool(answer.options and answer.options.is_password)
                events.append(InputRequest(prompt, is_password))
            case RunStatus.CLEAN_FINISHED:
                events.append(PhaseEnded(Phase.CLEAN, answer.exit_code))
            case RunStatus.BUILD_FINISHED:
                events.append(PhaseEnded(Phase.BUILD, answer.exit_code))
                self.has_failed_build = bool(answer.exit_code)
            case RunStatus.FINISHED:
                self.is_over = True
                # The empty query's own end says 0.
                code = NOT_EXECUTED if self.has_failed_build else answer.exit_code
                events.append(Finished(code))
            case RunStatus.EXEC_TIMEOUT:
                self.is_over = True
                events.append(TimedOut())
            case _:
                self.is_over = True
                raise ProtocolError(
                    f"The server answered a run with the status {clipped(answer.status_name)!r}, which "
                    "this version does not know.",
                    hint="Upgrade backendai-kernel.",
                )
        return events

    def _count(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Text):
                self.have[event.stream] = self.have.get(event.stream, 0) + len(event.text)

    def _take_mark(self, events: list[Event]) -> bool:
        """Take the mark of a live question off the end of the output; tell whether it was there."""
        if not (self.live_mark and events):
            return False
        last = events[-1]
        if not (isinstance(last, Text) and last.text.endswith(self.live_mark)):
            return False
        rest = last.text.removesuffix(self.live_mark)
        events[-1:] = [Text(last.stream, rest)] if rest else []
        return True


def _read(kind: str, payload: Any) -> list[Event]:
    if kind in ("stdout", "stderr"):
        return [Text(kind, str(payload))] if payload else []
    if kind == "log":
        return [Text("stderr", str(payload))] if payload else []
    if kind == "html":
        return [Media("text/html", str(payload))]
    if kind == "media" and isinstance(payload, list | tuple) and len(payload) == 2:
        mime, data = payload
        return [Media(str(mime), _bare(str(mime), data))]
    return []  # "completion" and what a newer server may add: nothing a run's output is made of


def _bare(mime: str, data: Any) -> Any:
    """Strip the ``data:`` URI that images come in (recording 12)."""
    prefix = f"data:{mime};base64,"
    if isinstance(data, str) and data.startswith(prefix):
        return data[len(prefix) :]
    return data


def _take_prompt(events: list[Event]) -> str:
    """Take the prompt off the end of the output (recording 14): it belongs in the input box."""
    if not events or not isinstance(last := events[-1], Text) or last.stream != "stdout":
        return ""
    before, newline, prompt = last.text.rpartition("\n")
    if before or newline:
        events[-1] = Text("stdout", before + newline)
    else:
        events.pop()
    return prompt
