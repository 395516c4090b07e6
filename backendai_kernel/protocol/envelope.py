"""Rich output through the query API: what is sent before user code, and how its envelopes are read.

An envelope is a media record ``image/svg+xml`` whose markup is one comment::

    <!--bai:VERSION:NONCE:NUMBER:PART:PARTS:CRC32:TEXT-->

The texts of all parts together are JSON in ASCII, ``[kind, content, metadata, origin, buffers]``; the
letter with which a comment could end is written otherwise (``\\u003e``). The nonce
is drawn for each interpreter, so that text which a cell prints or displays cannot pass for an
envelope. Nothing from one is ever evaluated or unpickled.

The other way, a request is code whose first line is a comment, ``#%bai:NONCE {json}``: it carries
what the query API has no field for, or names a call that runs no code at all.

Source: recordings 13 and 34 (what the server's filter lets through), 19 (what it does to HTML), 14
(how a question ends a poll).
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import msgspec

from . import remote
from .run import Event, Media, Text

VERSION = 4
RESTART_FILE = ".backendai-restart"
"""A file in the work folder: one with the nonce in it has the interpreter replaced (`remote.watch`)."""

_CARRIER = "image/svg+xml"
_FORM = re.compile(r"<!--bai:(\d+):([0-9a-f]+):(\d+):(\d+):(\d+):(\d+):")
_END = "-->"
_LONGEST_NUMBER = 18  # digits
_MOST_PARTS = 65536
_MOST_WAITING = 512 * 2**20  # bytes of messages that are not whole
_PLAIN = 128 * 1024  # characters sent as they are; as JSON one can take 6 bytes
_PACKED = 512 * 1024  # characters of a packed part; each takes one byte

KINDS = frozenset(
    {
        "clear_output",
        "comm_close",
        "comm_msg",
        "comm_open",
        "display_data",
        "error",
        "execute_result",
        "hello",
        "replay",
        "reply",
        "result",
        "stream",
        "update_display_data",
    }
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the session's own interpreter.

    Attributes:
        kind: One of `KINDS`: a Jupyter message type, or ``hello``, ``reply``, ``result``.
        content: As Jupyter has it for that type.
        origin: What the request that it belongs to was called; ``""`` for one before any name.
        buffers: Binary buffers of a comm message.
    """

    kind: str
    content: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    origin: str = ""
    buffers: tuple[bytes, ...] = ()


def bootstrap(nonce: str) -> str:
    """Return the code that teaches a session's interpreter to send envelopes.

    It leaves no name in the user's namespace and no trace in the history, and ends by sending a
    ``hello`` with the versions it met. Where there is no IPython it raises, and nothing is changed.
    """
    folder = resources.files(remote)
    texts = [folder.joinpath(f"{part}.py").read_text(encoding="utf-8") for part in remote.PARTS]
    source = "\n".join(texts)
    # One expression and no name: a namespace of its own runs the source, then its main().
    return (
        "(lambda space, shell: (exec(compile("
        f"{source!r}, '<backend.ai>', 'exec'), space), space['main'](shell, {nonce!r}))[1])"
        "({'__name__': '_backendai'}, get_ipython())"
    )


def request(nonce: str, head: Mapping[str, Any], code: str = "") -> str:
    """Return code for the query API that the bootstrap reads *head* from.

    Args:
        head: ``origin`` (a name for what comes of it), and for a cell ``count`` (its number),
            ``gap`` (seconds until a held poll is ended by output) and ``options`` (``silent``,
            ``store_history``, ``user_expressions``, ``cell_id``); for a call ``call`` and ``with``.
        code: The cell; nothing for a call.
    """
    return f"#%bai:{nonce} {json.dumps(head)}\n{code}"


def requests(nonce: str, head: Mapping[str, Any], code: str = "") -> list[str]:
    """Return what to send for a request of any size; only the last of them runs anything.

    A server refuses a body of about 1 MiB. A request that could come near that is packed (zlib,
    base64) and sent in parts, each a call that only keeps it.
    """
    whole = request(nonce, head, code)
    if len(whole) <= _PLAIN:
        return [whole]
    packed = zlib.compress(json.dumps([head, code]).encode(), 1)
    text, name = base64.b64encode(packed).decode(), secrets.token_hex(8)
    parts: list[dict[str, Any]] = [
        {"call": "part", "with": {"packet": name, "text": text[start : start + _PACKED]}}
        for start in range(0, len(text), _PACKED)
    ]
    return [request(nonce, part) for part in (*parts, {"packet": name})]


def live_mark(nonce: str) -> str:
    """Return the prompt of a question that only ends a held poll (`remote.live`)."""
    return f"\x1b]bai;{nonce}\x07"


def draw_nonce() -> str:
    """Return a nonce that cannot be guessed."""
    return secrets.token_hex(16)


@dataclass(slots=True)
class _Collected:
    """What has come of a message in parts. Memory is what a large one costs, so it is one text."""

    count: int = 0
    body: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Decoder:
    """Turns the envelopes among a run's events into messages; everything else passes.

    Attributes:
        nonce: The nonce that the session's interpreter was given; ``""``: nothing is an envelope.
    """

    nonce: str = ""
    known_to: int = 0  # envelopes up to this number have come in another way
    _parts: dict[int, _Collected] = field(default_factory=dict, repr=False)

    def read(self, event: Event) -> Event | Message | None:
        """Return the event itself, the message in it, or ``None`` while parts are missing.

        A comment in the form of an envelope that is not one of ours is dropped: it would draw
        nothing anyway.
        """
        if not (self.nonce and isinstance(event, Media) and event.mime == _CARRIER):
            return event
        match = _FORM.match(event.data) if isinstance(event.data, str) else None
        if match is None or not event.data.endswith(_END):
            return event
        text = event.data[match.end() : -len(_END)]
        if ">" in text:  # the comment ends before the end: there is more, and it may draw
            return event
        return self._open(match, text)

    def _open(self, match: re.Match[str], text: str) -> Message | None:
        version, nonce, number, part, parts, checksum = match.groups()
        if max(map(len, (version, number, part, parts, checksum))) > _LONGEST_NUMBER:
            return None
        if not secrets.compare_digest(nonce, self.nonce) or int(version) != VERSION:
            return None
        if int(number) <= self.known_to:
            return None
        data = text.encode("utf-8", "replace")
        if zlib.crc32(data) != int(checksum):
            return None
        if not 0 <= int(part) < int(parts) <= _MOST_PARTS:
            return None
        collected = self._parts.setdefault(int(number), _Collected())
        if collected.count != int(part):  # a part before it was lost: the message cannot be had
            self._parts.pop(int(number), None)
            return None
        collected.count += 1
        collected.body += data
        while sum(len(each.body) for each in self._parts.values()) > _MOST_WAITING:
            # Nothing of ours leaves so much unfinished; the session's code can, if it wants to.
            del self._parts[next(iter(self._parts))]
            if int(number) not in self._parts:
                return None
        if collected.count < int(parts):
            return None
        del self._parts[int(number)]
        return _message(collected.body)


def again(nonce: str, serial: int, key: str, have: Mapping[str, int]) -> str:
    """Return the line that asks, as the answer to a question, for output that was lost.

    It may also be sent when nothing is asked: the next question then takes it, whichever it is, and
    is asked once more.

    Args:
        serial: Number of this wish, so that its answer is known from those of earlier ones.
        key: Name of the request whose output it is.
        have: What has come of it, as `RunState.have`.
    """
    return f"\x1b]bai-again;{nonce};" + json.dumps({"serial": serial, "key": key, "have": have})


@dataclass(frozen=True, slots=True)
class Replay:
    """What a request sent that a lost answer took along.

    Attributes:
        is_known: The request has arrived; else none of it was run.
        is_over: It has been run to its end.
        events: All that it sent from what was asked for to now, in order.
        at: Where that ends; see `RunState.have`.
        missing: Characters and messages that are kept no more.
        last: Number of the last envelope among it.
        serial: As in `again`; 0 when it was asked for otherwise.
    """

    is_known: bool
    is_over: bool = False
    events: tuple[Event | Message, ...] = ()
    at: Mapping[str, int] = field(default_factory=dict)
    missing: int = 0
    last: int = 0
    serial: int = 0


def replay_of(told: Any) -> Replay | None:
    """Read what the bootstrap tells of a request's output; ``None`` when it is in no known form."""
    try:
        if not told["is_known"]:
            return Replay(False)
        found = (_replayed(str(kind), text) for kind, text in told["items"])
        return Replay(
            True,
            bool(told["is_over"]),
            tuple(event for event in found if event is not None),
            {kind: int(told["at"][kind]) for kind in ("stdout", "stderr", "rich")},
            sum(map(int, told["missing"].values())),
            int(told["last"]),
            int(told.get("serial", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _replayed(kind: str, text: str) -> Event | Message | None:
    if not isinstance(text, str):
        raise TypeError("no text")
    return _message(bytearray(text.encode())) if kind == "rich" else Text(kind, text)


def _message(body: bytearray) -> Message | None:
    try:
        kind, content, metadata, origin, buffers = _parse(body)
        decoded = tuple(base64.b64decode(buffer, validate=True) for buffer in buffers)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(kind, str) or kind not in KINDS:
        return None
    if not isinstance(content, dict) or not isinstance(metadata, dict):
        return None
    return Message(kind, content, metadata, str(origin), decoded)


def _parse(body: bytearray) -> Any:
    try:
        return msgspec.json.decode(body)
    except ValueError:  # the standard library also takes NaN and halves of letters, but takes long
        return json.loads(body)
