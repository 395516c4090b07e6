"""What a run brings → what a front end is sent.

Each outgoing message is a pair of its type and its content, so this needs neither socket nor loop.
"""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .protocol.envelope import Message
from .protocol.run import Contact, Event, Finished, Media, PhaseEnded, Text

Outgoing = tuple[str, dict[str, Any]]
"""A message for the front end: its type and its content."""

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LAST_LINE = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?::\s?(?P<value>.*))?$", re.DOTALL)
_RULE = "-" * 60  # the head of an IPython traceback has 75 of them


@dataclass(slots=True)
class Failure:
    """How a cell failed: what a front end's ``error`` message and the reply say."""

    ename: str
    evalue: str
    traceback: list[str]

    @property
    def content(self) -> dict[str, Any]:
        return {"ename": self.ename, "evalue": self.evalue, "traceback": self.traceback}


@dataclass(slots=True)
class Translator:
    """Turns the events of one cell into messages, and remembers whether it failed.

    Attributes:
        execution_count: The cell's number in the notebook.
        silent: No ``execute_result``; what is printed is shown all the same, as ipykernel does.
        plain: The session sends no envelopes: an error is known by its traceback on stderr.
        failure: Set when the cell failed.
        payload: What the reply carries for the front end: pages, text for the next cell.
        user_expressions: Values that the front end asked for along with the cell.
        count: Number of the last cell that ran, where that is not the one to be expected.
    """

    execution_count: int
    silent: bool = False
    plain: bool = False
    failure: Failure | None = None
    exit_code: int | None = None
    payload: list[dict[str, Any]] = field(default_factory=list)
    user_expressions: dict[str, Any] = field(default_factory=dict)
    count: int | None = None
    _contact_id: str = field(default="", repr=False)
    _held: Text | None = field(default=None, repr=False)

    def translate(self, event: Event | Message) -> Iterator[Outgoing]:
        """Yield what to send for an event, in order."""
        if isinstance(event, Finished):
            self.exit_code = event.exit_code
            yield from self._finish()
            return
        if isinstance(event, Contact):
            yield self._contact(event)
            return
        yield from self._release()
        match event:
            case Text(stream="stderr", text=text) if self.plain and _looks_like_error(text):
                self._held = event  # an error, if it turns out to be the last thing said
            case Text(stream, text):
                yield "stream", {"name": stream, "text": text}
            case Media(mime, data):
                yield "display_data", {"data": {mime: data}, "metadata": {}, "transient": {}}
            case Message("error", content):
                self.failure = _failure(content)
                yield "error", self.failure.content
            case Message("execute_result", content) if not self.silent:
                yield (
                    "execute_result",
                    {
                        "data": _bundle(content),
                        "metadata": _object(content, "metadata"),
                        "execution_count": content.get("execution_count", self.execution_count),
                    },
                )
            case Message("display_data" | "update_display_data" as kind, content):
                yield (
                    kind,
                    {
                        "data": _bundle(content),
                        "metadata": _object(content, "metadata"),
                        "transient": _object(content, "transient"),
                    },
                )
            case Message("clear_output", content):
                yield "clear_output", {"wait": bool(content.get("wait"))}
            case Message("stream", content):
                name = "stderr" if content.get("name") == "stderr" else "stdout"
                yield "stream", {"name": name, "text": str(content.get("text") or "")}
            case Message("reply", content):
                payload = content.get("payload")
                pages = payload if isinstance(payload, list) else ()
                self.payload = [each for each in pages if isinstance(each, dict)]
                self.user_expressions = _object(content, "user_expressions")
                self._note_end(content)
            case PhaseEnded(phase, exit_code) if exit_code:
                yield "stream", {"name": "stderr", "text": f"[{phase} failed: {exit_code}]\n"}

    def _note_end(self, reply: dict[str, Any]) -> None:
        """Take what the session's own reply says otherwise than the messages before it."""
        if "error" in reply:
            self.failure = _failure(reply["error"]) if isinstance(reply["error"], dict) else None
        if isinstance(count := reply.get("count"), int):
            self.count = count

    def _contact(self, contact: Contact) -> Outgoing:
        """Return the state of the connection: one display, kept up to date."""
        kind = "update_display_data" if self._contact_id else "display_data"
        self._contact_id = self._contact_id or f"backendai-{secrets.token_hex(8)}"
        text = contact_text(contact)
        data = {"text/plain": text, "text/html": f"<div role='status'>{html.escape(text)}</div>"}
        transient = {"display_id": self._contact_id}
        return kind, {"data": data, "metadata": {}, "transient": transient}

    def _release(self) -> Iterator[Outgoing]:
        if self._held is not None:
            held, self._held = self._held, None
            yield "stream", {"name": held.stream, "text": held.text}

    def _finish(self) -> Iterator[Outgoing]:
        # Servers before 25.11 say 0 for a failed cell too, so the traceback is what counts.
        if self._held is not None and (self.exit_code or _is_ipythons(self._held.text)):
            self.failure, self._held = failure_from_text(self._held.text), None
            yield "error", self.failure.content
        elif self._held is not None:  # the code has printed it itself
            yield from self._release()
        elif self.plain and self.exit_code and self.failure is None:
            self.failure = Failure("SystemExit", str(self.exit_code), [])
            yield "error", self.failure.content


def contact_text(contact: Contact) -> str:
    """Say how it stands with the connection to the server."""
    if contact.reason:
        return (
            f"⚠ The server has not been reached for {contact.seconds:.0f} s: {contact.reason} The "
            "code goes on in its session, and its output comes when the server is back. Interrupt "
            "twice to leave the cell."
        )
    kept = "nothing was lost" if contact.is_complete else "output may be missing"
    return f"✓ The server was away for {contact.seconds:.0f} s; {kept}."


def _bundle(content: dict[str, Any]) -> dict[str, Any]:
    return _object(content, "data")


def _object(content: dict[str, Any], key: str) -> dict[str, Any]:
    """Return an object of a message that the session's code may have made up."""
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _failure(content: dict[str, Any]) -> Failure:
    traceback = content.get("traceback")
    return Failure(
        str(content.get("ename", "Error")),
        str(content.get("evalue", "")),
        [str(line) for line in traceback] if isinstance(traceback, list) else [],
    )


def _looks_like_error(text: str) -> bool:
    """Tell a traceback, of whatever form, from other text on stderr."""
    return _is_ipythons(text) or "Traceback (most recent call last)" in text


def _is_ipythons(text: str) -> bool:
    """Tell IPython's own traceback from one that the code has printed (recordings 11, 21)."""
    plain = _ANSI.sub("", text).rstrip()
    if plain.startswith(_RULE):
        return True
    return bool(re.match(r"\s*(Cell In ?\[|File |Input In )", plain)) and bool(
        _LAST_LINE.match(plain.rpartition("\n")[2])
    )


def failure_from_text(text: str) -> Failure:
    """Return the error that a traceback on stderr tells of: the last line names it."""
    plain = _ANSI.sub("", text).strip("\n")
    lines = plain.split("\n")
    for index in range(len(lines) - 1, -1, -1):
        match = _LAST_LINE.match(lines[index])
        if match and (match["value"] is not None or match["name"][0].isupper()):
            value = "\n".join([match["value"] or "", *lines[index + 1 :]]).strip()
            return Failure(match["name"].rpartition(".")[2], value, text.rstrip("\n").split("\n"))
    return Failure("Error", lines[-1], text.rstrip("\n").split("\n"))
