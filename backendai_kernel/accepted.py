"""A connection of this computer that a listening port has accepted: the near end of a relay."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .relay import HIGH_WATER, Scratch, WebSocketEnd

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
        self.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch.get()

    def buffer_updated(self, nbytes: int) -> None:
        if self.websocket is not None:
            self.websocket.send_read(nbytes)

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
    tells. Elsewhere, and for peers elsewhere, the system finds out within 90 s (`_keep_alive`).
    """
    if opened.family != socket.AF_INET:
        return False
    try:
        (host, port), (own_host, own_port) = opened.getpeername(), opened.getsockname()
        table = Path("/proc/net/tcp").read_text(encoding="ascii")
    except OSError:
        return False
    wanted = [f"{_in_table(host)}:{port:04X}", f"{_in_table(own_host)}:{own_port:04X}"]
    for line in table.splitlines():
        fields = line.split()
        if fields[1:3] == wanted:
            return fields[9] == "0"  # its inode: that of no file
    return False


def _in_table(host: str) -> str:
    return socket.inet_aton(host)[:: -1 if sys.byteorder == "little" else 1].hex().upper()


def _keep_alive(opened: socket.socket | None) -> None:
    """Let the system find out about a peer that has gone; half-closed ones answer, dead ones not."""
    if opened is None or opened.family == socket.AF_UNIX:
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if (option := getattr(socket, name, None)) is not None:
            opened.setsockopt(socket.IPPROTO_TCP, option, seconds)
