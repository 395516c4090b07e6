"""A connection of this computer that a listening port has accepted: the near end of a relay."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from .relay import HIGH_WATER, Scratch, WebSocketEnd, hold

_READ_WITHIN = 5.0  # seconds for a browser to read an answer of ours
_SETTLED = 0.2  # seconds after which one that has said all has also closed, if it will


class TcpEnd(asyncio.BufferedProtocol):
    """A connection of this computer, accepted by a listening port.

    Args:
        accepted: Called with it, before anything is read.
    """

    def __init__(self, scratch: Scratch, accepted: Callable[[TcpEnd], None]) -> None:
        self.has_said_all = False
        self.has_sent = False
        self._is_answered = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scratch = scratch
        self._accepted = accepted
        self._early = bytearray()
        self.websocket: WebSocketEnd | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()
        transport.set_write_buffer_limits(high=HIGH_WATER)
        _keep_alive(transport.get_extra_info("socket"))
        self._accepted(self)

    def begin(self, other: WebSocketEnd) -> None:
        self.websocket = other
        if self._early:
            other.send(self._early)
            self._early = bytearray()
        self.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch.get()

    def buffer_updated(self, nbytes: int) -> None:
        if self.websocket is not None:
            self.websocket.send_read(nbytes)
        elif not self._is_answered:
            self._early += self._scratch.get()[:nbytes]
            hold(self.transport)

    def eof_received(self) -> bool:
        if self._is_answered:
            return False
        self.has_said_all = True
        asyncio.get_running_loop().call_later(_SETTLED, self.check)
        return True  # what comes from the app is still written

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        if self.websocket is not None:
            self.websocket.close()

    def pause_writing(self) -> None:
        if self.websocket is not None:
            self.websocket.pause_reading()

    def resume_writing(self) -> None:
        if self.websocket is not None:
            self.websocket.resume_reading()

    def write(self, data: memoryview, scratch: Scratch) -> None:
        self.has_sent = True
        if not self.transport.is_closing():
            scratch.write(self.transport, data)

    def pause_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.transport.is_closing() and not self.has_said_all:
            self.transport.resume_reading()

    def answer(self, head: str, page: bytes) -> None:
        """Answer a browser in place of the app, and close.

        Args:
            head: The first lines of an HTTP answer, each with its end.
        """
        if self.transport.is_closing():
            return
        rest = f"Content-Length: {len(page)}\r\nConnection: close\r\n\r\n"
        self.transport.write((head + rest).encode() + page)
        self.transport.write_eof()
        # What the browser has asked is read and dropped: closing before would take the answer back.
        self._is_answered = True
        self.transport.resume_reading()
        asyncio.get_running_loop().call_later(_READ_WITHIN, self.transport.close)

    def finish(self) -> None:
        """Close, after what was written has gone out."""
        self.transport.close()

    def abort(self) -> None:
        """Close as after an accident, so that nobody takes a part for the whole."""
        opened = self.transport.get_extra_info("socket")
        if opened is not None and opened.fileno() >= 0 and opened.family != socket.AF_UNIX:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def check(self) -> None:
        """After the end of what it says: notice when it has gone altogether."""
        opened = self.transport.get_extra_info("socket")
        if self.has_said_all and not self.transport.is_closing() and opened is not None:
            if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or _is_orphaned(opened):
                self.transport.abort()


def _is_orphaned(opened: Any) -> bool:
    """Tell whether no process of this computer has the other end of a connection any more.

    A peer that will not send any more and one that has gone look the same from here: only Linux
    tells, of the peer's socket, whether a process still has it. Elsewhere, and for peers elsewhere,
    the system finds out within 90 s (`_keep_alive`).
    """
    try:
        answer = _ask_of(opened.family, opened.getpeername(), opened.getsockname())
    except (OSError, AttributeError):  # no Linux, or a sandbox that forbids it
        return False
    kind = _HEAD.unpack_from(answer)[1]
    (inode,) = _INODE.unpack_from(answer, _INODE_AT)
    return bool(kind == _BY_FAMILY and inode == 0)  # that of no file


# Linux, sock_diag(7): a header, then inet_diag_req_v2 or inet_diag_msg with one inet_diag_sockid.
_BY_FAMILY = 20
_SOCK_DIAG = 4
_HEAD = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_WHICH = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
_NOBODY = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, no cookie
_INODE = struct.Struct("=I")
_INODE_AT = 16 + 4 + 48 + 16  # behind both heads, the socket's id and four numbers


def _ask_of(family: int, peer: Any, own: Any) -> bytes:
    """Return what the system knows of a socket of this computer, by both of its addresses."""
    hosts = b"".join(socket.inet_pton(family, end[0]).ljust(16, b"\0") for end in (peer, own))
    which = _WHICH.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
    which += struct.pack("!HH", peer[1], own[1]) + hosts + _NOBODY
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as asking:
        asking.settimeout(0.1)  # it answers at once
        asking.send(_HEAD.pack(_HEAD.size + len(which), _BY_FAMILY, 1, 1, 0) + which)
        return asking.recv(4096).ljust(_INODE_AT + _INODE.size, b"\xff")


def _keep_alive(opened: socket.socket | None) -> None:
    """Let the system find out about a peer that has gone; half-closed ones answer, dead ones not."""
    if opened is None or opened.family == socket.AF_UNIX:
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if (option := getattr(socket, name, None)) is not None:
            opened.setsockopt(socket.IPPROTO_TCP, option, seconds)
