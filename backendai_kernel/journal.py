"""What each cell of a notebook has shown, on disk before it is shown.

One file a cell, readable by its owner alone: a line of JSON that tells what ran, then one line for
each answer of the server, with what it brought and how much has come by then. Whoever comes after a
kernel that was killed thus knows from where on output is missing, and can show all of it again.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .config import make_private, state_dir
from .protocol.envelope import Message
from .protocol.run import Event, Finished, InputRequest, Media, Text

VARIABLE = "BACKENDAI_KERNEL_JOURNAL"
DEFAULT = "2g"
_CELLS = 20  # of a notebook, as far as they have room
_SPARE = 10  # more than that, so that not every cell has to wait for a file to be removed
_PIECE = 2**20  # characters that are written at once: a copy of a whole flood would be one too many
NO_ROOM = "[The journal had no room for more; BACKENDAI_KERNEL_JOURNAL=10g gives it some.]\n"
"""What is said of a cell whose output is not whole in the journal."""
_LONG = 1000  # characters from which on a text is written in another way
_CODING = ("utf-8", "surrogatepass")  # half a letter is kept as it is
_CUT = b'{"cut":true}\n'
_OLD = 30 * 86400.0  # seconds after which a notebook that is not used any more is forgotten


@dataclass(frozen=True, slots=True)
class Head:
    """What ran.

    Attributes:
        key: Name of the request in the session's interpreter.
        nonce: What that interpreter was given to mark its envelopes.
        count: Number of the cell.
        parent: Header of the front end's request, for what comes of it when this process is gone.
    """

    session_id: str
    run_id: str
    key: str
    nonce: str
    count: int
    code: str = ""
    began: float = 0.0
    parent: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell in the journal.

    Attributes:
        have: How much has come of it; see `RunState.have`.
        is_over: Its end was told.
        is_cut: The journal had no room for all of it.
    """

    path: Path
    head: Head
    have: Mapping[str, int] = field(default_factory=dict)
    is_over: bool = False
    is_cut: bool = False

    def events(self) -> Iterator[Event | Message]:
        """Yield all that it has shown; a line that was not written to its end is left out."""
        for line in _lines(self.path):
            yield from filter(None, map(_event, line.get("said", ())))


class Journal:
    """The cells of one notebook.

    The cell that runs has all the room there may be: it takes that of older ones, the oldest first.

    Attributes:
        is_cut: There was no room for all of the last cell.
    """

    def __init__(self, environ: Mapping[str, str], name: str) -> None:
        """Look nowhere yet.

        Args:
            environ: Names the folder for what is kept, and how much of it may be there.
            name: The session's name, the same for every process of a kernel.
        """
        self._root = state_dir(environ) / "journal"
        self._folder = self._root / name
        self._limit = limit_of(environ)
        self._file: int | None = None
        self._name = ""  # of the file that is open, …
        self._end = 0  # … and its length in bytes
        self._older: dict[str, int] | None = None  # length of each cell before it, oldest first
        self._room = 0
        self.is_cut = False

    @property
    def folder(self) -> Path | None:
        """Where the cells are; ``None``: nothing is kept."""
        return self._folder if self._limit else None

    def begin(self, head: Head) -> None:
        """Open the file of a cell; before its first request is sent.

        Raises:
            OSError: The folder for what is kept cannot be written.
        """
        self.close()
        self.is_cut = False
        if not self._limit:
            return
        if self._older is None:
            self._older = self._found()
        self._prune(self._older)
        self._name, self._end = f"{time.time_ns():020d}-{head.key or 'plain'}.jsonl", 0
        try:
            self._file = self._created()
        except FileNotFoundError:  # somebody has emptied the folder for what is kept
            self._older = self._found()
            self._file = self._created()
        self._write({name: getattr(head, name) for name in Head.__slots__})

    def _created(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        return os.open(f"{self._folder}/{self._name}", flags, 0o600)

    def resume(self, entry: Entry) -> None:
        """Go on with the file of a cell, which is the newest."""
        self.close()
        self.is_cut = False
        self._older = self._found()
        self._room = max(0, self._limit - sum(self._older.values()))
        self._name, self._end = entry.path.name, self._older.pop(entry.path.name, 0)
        self._file = os.open(entry.path, os.O_WRONLY | os.O_APPEND)
        _put(self._file, b"\n")  # the last line may have no end
        self._end += 1

    def answer(self, events: Sequence[Event | Message], have: Mapping[str, int]) -> None:
        """Keep what an answer brought; all of it is there or nothing."""
        said = [item for item in map(_item, events) if item is not None]
        if said:
            self._write({"said": said, "have": dict(have)})

    def close(self) -> None:
        """The cell is over."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            if self._older is not None:
                self._older[self._name] = self._end

    def last(self) -> Entry | None:
        """Return the newest cell."""
        entries = self.entries(1)
        return entries[0] if entries else None

    def entries(self, count: int = _CELLS) -> list[Entry]:
        """Return cells, the newest first."""
        return [e for e in map(_entry, reversed(self._paths()[-count:])) if e is not None]

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        size = 0
        try:
            for piece in _written(line):
                size += len(piece)
                if not self._has_room(size):
                    raise OSError(errno.EFBIG, "the journal's limit")
                _put(self._file, piece)
        except OSError:  # no room, in the journal or on the disk: the cell says so at its end
            self.is_cut = True
            os.ftruncate(self._file, self._end)  # of the line there is all or nothing
            with suppress(OSError):
                _put(self._file, _CUT)
                self._end += len(_CUT)
            self.close()
            return
        self._room -= size
        self._end += size

    def _has_room(self, size: int) -> bool:
        while self._room < size and self._older:
            self._remove_oldest(self._older)
        return self._room >= size

    def _remove_oldest(self, older: dict[str, int]) -> None:
        name = next(iter(older))
        self._room += older.pop(name)
        (self._folder / name).unlink(missing_ok=True)

    def _prune(self, older: dict[str, int]) -> None:
        self._room = self._limit - sum(older.values())
        most = _CELLS if len(older) >= _CELLS + _SPARE else _CELLS + _SPARE
        while len(older) >= most or (older and self._room < 0):
            self._remove_oldest(older)

    def _found(self) -> dict[str, int]:
        """Look, once, at what is there; no other process writes while this one does."""
        make_private(self._folder)
        for folder in self._root.iterdir():
            if folder != self._folder:
                _forget(folder)
        return {path.name: path.stat().st_size for path in self._paths()}


def _forget(folder: Path) -> None:
    """Remove a notebook that nobody has used for long; what is not ours there stays."""
    with suppress(OSError):  # another kernel may be at it, and no cell has to wait for this
        if time.time() - folder.stat().st_mtime > _OLD:
            for path in folder.glob("*.jsonl"):
                path.unlink(missing_ok=True)
            folder.rmdir()


def limit_of(environ: Mapping[str, str]) -> int:
    """Return how many bytes the journal of one notebook may take; 0: none is kept.

    Raises:
        ConfigError: The setting is no size.
    """
    from .slots import size_setting

    return size_setting(environ, VARIABLE, DEFAULT, "500m or 2g")


def _written(line: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield a line of JSON in pieces; long texts, which are most of a flood, a piece at a time."""
    waiting: list[bytes] = []
    for number, (key, value) in enumerate(line.items()):
        waiting.append(b"%b%b:" % (b"," if number else b"{", _json(key)))
        if key != "said":
            waiting.append(_json(value))
            continue
        for at, item in enumerate(value):
            waiting.append(b"," if at else b"[")
            if item[0] in ("stdout", "stderr") and len(item[1]) > _PIECE:
                waiting.append(b'[%b,"' % _json(item[0]))
                for start in range(0, len(item[1]), _PIECE):
                    waiting.append(_text(item[1][start : start + _PIECE])[1:-1])
                    yield b"".join(waiting)
                    waiting.clear()
                waiting.append(b'"]')
            else:
                waiting.append(_json(item))
        waiting.append(b"]")
    waiting.append(b"}\n")
    yield b"".join(waiting)


def _json(value: Any) -> bytes:
    """Return a value as JSON; a picture in it is mostly one long text, which has a way of its own."""
    if not _has_long(value):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(*_CODING)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        pairs = (b"%b:%b" % (_json(str(key)), _json(each)) for key, each in value.items())
        return b"{%b}" % b",".join(pairs)
    return b"[%b]" % b",".join(map(_json, value))


def _has_long(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) > _LONG
    if isinstance(value, dict):
        return any(map(_has_long, value.values()))
    return isinstance(value, list) and any(map(_has_long, value))


def _text(text: str) -> bytes:
    try:
        return msgspec.json.encode(text)  # ten times as fast
    except UnicodeEncodeError:
        return json.dumps(text, ensure_ascii=False).encode(*_CODING)


def _put(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                continue  # its writer was killed
            if isinstance(value, dict):
                yield value


def _entry(path: Path) -> Entry | None:
    head, have, is_over, is_cut = None, dict[str, int](), False, False
    for line in _lines(path):
        if head is None:
            if not set(Head.__slots__) - {"parent"} <= set(line):
                return None
            head = Head(**{name: line[name] for name in Head.__slots__ if name in line})
        elif "said" in line:
            have = line["have"]
            is_over = any(item[0] == "end" for item in line["said"])
        is_cut = is_cut or bool(line.get("cut"))
    return None if head is None else Entry(path, head, have, is_over, is_cut)


def _item(event: Event | Message) -> list[Any] | None:
    match event:
        case Text(stream, text):
            return [stream, text]
        case Media(mime, data):
            return ["media", mime, data]
        case Message(kind, content, metadata, origin, buffers):
            packed = [base64.b64encode(each).decode() for each in buffers]
            return ["message", kind, content, metadata, origin, packed]
        case InputRequest(prompt, is_password):
            return ["input", prompt, is_password]
        case Finished(exit_code):
            return ["end", exit_code]
    return None


def _event(item: list[Any]) -> Event | Message | None:
    match item:
        case ["stdout" | "stderr" as stream, str(text)]:
            return Text(stream, text)
        case ["media", str(mime), data]:
            return Media(mime, data)
        case ["message", str(kind), dict(content), dict(metadata), str(origin), list(packed)]:
            buffers = tuple(map(base64.b64decode, packed))
            return Message(kind, content, metadata, origin, buffers)
        case ["input", str(prompt), bool()]:
            return Text("stdout", f"{prompt}\n")
        case ["end", exit_code]:
            return Finished(exit_code)
    return None
