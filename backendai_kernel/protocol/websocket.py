"""A websocket's handshake and frames (RFC 6455), as a client that relays bytes needs them; no I/O.

No extension is ever offered: compression would cost twenty times the relay's own work.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping

from ..errors import ProtocolError

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

NORMAL, GOING_AWAY, INTERNAL_ERROR, TRY_AGAIN_LATER = 1000, 1001, 1011, 1013

_STATUS = re.compile("[1-9][0-9]{2}")
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FINAL, _MASKED, _LENGTH = 0x80, 0x80, 0x7F
_LARGEST_CONTROL = 125

Mask = Callable[[bytes, bytearray], None]
"""Masks data in place with four bytes."""


def draw_key() -> str:
    """Return the random word of a handshake."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_of(key: str) -> str:
    """Return what a server must answer to the word of a handshake."""
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()


def handshake(path: str, host: str, headers: Mapping[str, str], key: str) -> bytes:
    """Return the request that asks for a websocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_head(head: bytes) -> tuple[int, str, dict[str, str]]:
    """Return status, reason and headers (names in small letters) of an answer's head.

    Raises:
        ProtocolError: It is no HTTP.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/") or not _STATUS.fullmatch(status):
        raise ProtocolError("The server does not answer in HTTP.", hint="Check BACKEND_ENDPOINT.")
    pairs = (line.partition(":") for line in lines if line)
    return int(status), reason, {name.strip().lower(): value.strip() for name, _, value in pairs}


def frame(opcode: int, payload: bytes | bytearray | memoryview, mask: Mask) -> bytes:
    """Return a whole masked frame."""
    masked = bytearray(payload)
    return begin_frame(opcode, masked, mask) + masked


def begin_frame(opcode: int, payload: bytearray, mask: Mask) -> bytes:
    """Mask a payload in place, and return what goes before it."""
    size = len(payload)
    key = os.urandom(4)
    mask(key, payload)
    if size < 126:
        return bytes((_FINAL | opcode, _MASKED | size)) + key
    if size < 2**16:
        return bytes((_FINAL | opcode, _MASKED | 126)) + size.to_bytes(2, "big") + key
    return bytes((_FINAL | opcode, _MASKED | 127)) + size.to_bytes(8, "big") + key


def mask_slowly(key: bytes, data: bytearray) -> None:
    """Mask in pure Python, for where nothing faster is installed."""
    size = len(data)
    pattern = (key * (size // 4 + 1))[:size]
    whole = int.from_bytes(data, "little") ^ int.from_bytes(pattern, "little")
    data[:] = whole.to_bytes(size, "little")


def closing_code(payload: bytes) -> int:
    """Return the code of a close frame's payload; an empty one means a normal end."""
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else NORMAL


class FrameReader:
    """Cuts what a server sends into payloads: those of data as they come, others when whole."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._control = bytearray()
        self._left = 0  # bytes of the present frame's payload that are still to come
        self._opcode = -1  # of the present frame; -1 between two frames

    def feed(self, data: memoryview) -> Iterator[tuple[int, memoryview | bytes]]:
        """Yield an opcode and a payload for each piece; pieces of data are views of *data*.

        Raises:
            ProtocolError: It is not what a server may send.
        """
        position, end = 0, len(data)
        while position < end or (self._opcode >= 0 and not self._left):
            if self._opcode < 0:
                self._head.append(data[position])
                position += 1
                self._read_head()
                continue
            piece = data[position : position + self._left]
            position += len(piece)
            self._left -= len(piece)
            opcode = self._opcode
            if not self._left:
                self._opcode = -1
            if opcode < CLOSE:
                if piece:
                    yield BINARY, piece
                continue
            self._control += piece
            if not self._left:
                whole = bytes(self._control)
                self._control.clear()
                yield opcode, whole

    def _read_head(self) -> None:
        head = self._head
        if len(head) < 2:
            return
        size, opcode = head[1] & _LENGTH, head[0] & 0x0F
        extra = {126: 2, 127: 8}.get(size, 0)
        if len(head) < 2 + extra:
            return
        if extra:
            size = int.from_bytes(head[2:], "big")
        if head[0] & 0x70 or head[1] & _MASKED:
            raise ProtocolError("The server sent a websocket frame that is masked or compressed.")
        if opcode >= CLOSE and size > _LARGEST_CONTROL:
            raise ProtocolError("The server sent a websocket frame that is too large.")
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise ProtocolError(f"The server sent a websocket frame of an unknown kind ({opcode}).")
        head.clear()
        self._opcode, self._left = opcode, size
