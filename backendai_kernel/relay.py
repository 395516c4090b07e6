"""One connection to an app: bytes of this computer ↔ binary frames of a websocket.

Both ends push: what one receives is written to the other at once. Nothing is kept in between: an
end whose far side does not keep up stops the reading of the other one, so memory stays flat.

A websocket knows no end of one direction alone. When this computer has said all, the websocket
stays open, and what the app still sends arrives.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING, Protocol

from . import answers
from .errors import APIError, BackendError, ConnectError, ProtocolError
from .protocol import websocket
from .protocol.websocket import FrameReader

if TYPE_CHECKING:
    from .client import Client
    from .protocol.calls import Call

_PIECE = 1024 * 2**10
HIGH_WATER = 512 * 2**10  # bytes that wait to be written before the other side must pause
_LARGE = 16 * 2**10  # bytes of a payload that is not copied once more
_LARGEST_HEAD = 64 * 2**10
_LARGEST_REFUSAL = 2**20
_INSISTS = 5.0  # seconds for which a server that is away is tried again
_ANSWERS_WITHIN = 60.0  # seconds for a handshake: the server may have to start the app first
_GOODBYE = 5.0  # seconds for a close frame to be answered
PING_EVERY = 30.0
"""Seconds after which an idle websocket is asked whether it is there; proxies forget idle ones."""


class Scratch:
    """The buffer that all connections of a loop read into, one after the other.

    Attributes:
        whole: The buffer; `get` gives it as a view.

    What was read is written on before the next one reads. Where a transport keeps a view of it
    because the network is slow, it gets the buffer as a present, and the next read a new one.
    """

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self.whole = bytearray(_PIECE)
        self._view = memoryview(self.whole)

    def get(self) -> memoryview:
        return self._view

    def write(self, transport: asyncio.WriteTransport, data: memoryview) -> None:
        """Write a view of the buffer."""
        transport.write(data)
        if transport.get_write_buffer_size() and not _copies(transport):
            self._renew()


def _copies(transport: asyncio.WriteTransport) -> bool:
    """Tell whether a transport copies what it cannot send at once; else it keeps the view."""
    kind = type(transport)
    return sys.version_info < (3, 12) and kind.__module__ == "asyncio.selector_events"


def _load_mask() -> websocket.Mask:
    """Return the fastest masking there is; aiohttp brings one that is compiled."""
    for module, name in (
        ("aiohttp._websocket.helpers", "websocket_mask"),
        ("aiohttp.http_websocket", "_websocket_mask"),  # up to 3.10
    ):
        try:
            mask: websocket.Mask = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
        return mask
    return websocket.mask_slowly


class Local(Protocol):
    """The end of this computer."""

    def write(self, data: memoryview, scratch: Scratch) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...


_Answer = tuple[int, str, dict[str, str], bytes]  # status, reason, headers, body of a refusal


class Lost(ConnectError):
    """A websocket that stood was lost."""


def hold(transport: asyncio.ReadTransport) -> None:
    """Read no more, also where asyncio has begun to read although it was told to wait.

    Before Python 3.11.4 it does, once, when that was said as the connection was made.
    """
    transport.resume_reading()
    transport.pause_reading()


class WebSocketEnd(asyncio.BufferedProtocol):
    """The server's end. `open_websocket` makes it; from then on `local` gets what comes.

    Attributes:
        ended: Done when it is over: ``None`` after an end in order, else the error.
    """

    def __init__(self, scratch: Scratch) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[_Answer] = loop.create_future()
        self.ended: asyncio.Future[BackendError | None] = loop.create_future()
        self.local: Local | None = None
        self._scratch = scratch
        self._mask = _load_mask()
        self._reader = FrameReader()
        self._head = bytearray()
        self._early = bytearray()  # came before there was anybody to take it
        self._is_open = False
        self._is_closing = False
        self._is_paused = False
        self._is_heard = True
        self._transport: asyncio.Transport | None = None

    # -- asyncio's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch.get()

    def buffer_updated(self, nbytes: int) -> None:
        self._is_heard = True
        data = self._scratch.get()[:nbytes]
        if self.local is not None:
            self._take(data)
        elif self._is_open:
            self._early += data
        elif not self.opened.done():
            self._head += data
            self._read_head()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(
                ConnectError("The server closed the connection in place of an answer.", sent=True)
            )
        reason = f" ({exc})" if exc is not None else ""
        self._end(Lost(f"The connection to the server was lost{reason}.", sent=True))

    def pause_writing(self) -> None:
        if self.local is not None:
            self.local.pause_reading()

    def resume_writing(self) -> None:
        if self.local is not None:
            self.local.resume_reading()

    # -- the local end's side -----------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes to the app."""
        if self._transport is not None and not self._is_closing:
            self._transport.write(websocket.frame(websocket.BINARY, data, self._mask))

    def send_read(self, nbytes: int) -> None:
        """Send what was read into the buffer just now; it may be masked where it lies."""
        if self._transport is None or self._is_closing:
            return
        whole, view = self._scratch.whole, self._scratch.get()
        if nbytes < _LARGE:
            self.send(view[:nbytes])
        elif nbytes < len(whole):
            # Not joined with its head: a copy of it costs more than a second call.
            part = bytearray(view[:nbytes])
            self._transport.write(websocket.begin_frame(websocket.BINARY, part, self._mask))
            self._transport.write(memoryview(part))
        else:
            self._transport.write(websocket.begin_frame(websocket.BINARY, whole, self._mask))
            self._scratch.write(self._transport, view)

    def pause_reading(self) -> None:
        self._is_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._is_paused, self._is_heard = False, True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Say goodbye; what was sent before still arrives there."""
        if self._transport is None or self._is_closing:
            return
        self._is_closing = True
        self._transport.write(self._closing(websocket.NORMAL))
        self.resume_reading()  # the answer, and whatever else comes, is read and dropped
        asyncio.get_running_loop().call_later(_GOODBYE, self._transport.abort)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def check(self) -> None:
        """See to it that the server is there; called every `PING_EVERY` seconds."""
        if self._transport is None or self._is_closing or self._is_paused:
            return
        if not self._is_heard:
            self._end(Lost("The server does not answer any more.", sent=True))
            self._transport.abort()
            return
        self._is_heard = False
        self._transport.write(websocket.frame(websocket.PING, b"", self._mask))

    # -- inside -------------------------------------------------------------------------------

    def _read_head(self) -> None:
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > _LARGEST_HEAD:
                self.opened.set_exception(ProtocolError("The server's answer has no end."))
            return
        try:
            status, reason, headers = websocket.read_head(bytes(self._head[:end]))
        except ProtocolError as exc:
            self.opened.set_exception(exc)
            return
        rest = bytes(self._head[end + 4 :])
        if status != 101:
            told = headers.get("content-length", "")
            size = min(int(told), _LARGEST_REFUSAL) if told.isascii() and told.isdigit() else 0
            if len(rest) >= size:
                self.opened.set_result((status, reason, headers, rest[:size]))
            return
        self._head.clear()
        self._early += rest
        self._is_open = True
        self.pause_reading()
        self.opened.set_result((status, reason, headers, b""))

    def begin(self, local: Local) -> None:
        """Connect with the other end."""
        self.local = local
        early, self._early = self._early, bytearray()
        if early:
            self._take(memoryview(early))
        if not self.ended.done():
            self.resume_reading()

    def _take(self, data: memoryview) -> None:
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode == websocket.PING:
                    pong = websocket.frame(websocket.PONG, payload, self._mask)
                    assert self._transport is not None
                    self._transport.write(pong)
                elif opcode == websocket.CLOSE:
                    self._said_goodbye(websocket.closing_code(bytes(payload)))
                    return
                elif opcode == websocket.BINARY and not self._is_closing:
                    assert self.local is not None
                    self.local.write(memoryview(payload), self._scratch)
        except ProtocolError as exc:
            self._end(exc)
            self.abort()

    def _closing(self, code: int) -> bytes:
        return websocket.frame(websocket.CLOSE, code.to_bytes(2, "big"), self._mask)

    def _said_goodbye(self, code: int) -> None:
        assert self._transport is not None
        if not self._is_closing:
            self._is_closing = True
            self._transport.write(self._closing(code if code < 3000 else websocket.NORMAL))
        self._end(_error_of(code))
        self._transport.close()

    def _end(self, error: BackendError | None) -> None:
        if self.ended.done():
            return
        if self._is_closing and isinstance(error, Lost):
            error = None
        self.ended.set_result(error)
        if self.local is not None:
            if error is None:
                self.local.finish()
            elif isinstance(error, Lost):
                self.local.abort()
            # Other errors are for who opened the websocket: nothing has come through it.


def _error_of(code: int) -> BackendError | None:
    if code in (websocket.NORMAL, websocket.GOING_AWAY):
        return None
    if code == websocket.TRY_AGAIN_LATER:
        return BackendError("Nothing listens on that port in the session.")
    return Lost(f"The server ended the connection to the app (code {code}).", sent=True)


async def open_websocket(client: Client, call: Call[None], scratch: Scratch) -> WebSocketEnd:
    """Open the websocket that *call* asks for; reading is paused until `WebSocketEnd.begin`.

    It is tried again for some seconds when the server cannot be reached.

    Raises:
        ConnectError: No answer, or none that a websocket gives.
        APIError: Refused; see `Client.send`.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + _INSISTS
    return await client.insist(
        lambda: _open(client, call, scratch),
        lambda exc: isinstance(exc, ConnectError) and loop.time() < end,
    )


async def _open(client: Client, call: Call[None], scratch: Scratch) -> WebSocketEnd:
    clock = client.clock
    signed = clock.correction
    try:
        return await _open_once(client, call, scratch)
    except APIError as exc:
        if not clock.corrects(exc, signed):
            raise clock.explain(exc) from None
    try:
        return await _open_once(client, call, scratch)
    except APIError as exc:
        raise clock.explain(exc) from None


async def _open_once(client: Client, call: Call[None], scratch: Scratch) -> WebSocketEnd:
    shake = await client.handshake(call)
    loop = asyncio.get_running_loop()
    end = WebSocketEnd(scratch)
    try:
        async with asyncio.timeout(client.config.connect_timeout or None):
            transport, _ = await loop.create_connection(
                lambda: end, shake.host, shake.port, ssl=client.tls() if shake.is_tls else None
            )
    except (OSError, TimeoutError) as exc:
        raise answers.unreachable(client.config, exc) from exc
    key = websocket.draw_key()
    try:
        transport.write(websocket.handshake(shake.path, shake.host_header, shake.headers, key))
        try:
            async with asyncio.timeout(client.config.read_timeout or _ANSWERS_WITHIN):
                status, reason, headers, said = await end.opened
        except TimeoutError:
            raise ConnectError(
                "The server does not answer the wish for a websocket.",
                hint="Is there a proxy between that knows none?",
                sent=True,
            ) from None
        client.clock.observe(headers)
        if status != 101:
            raise answers.refusal(client.config, status, reason, headers, said, call.what)
        if headers.get("sec-websocket-accept") != websocket.accept_of(key):
            raise ProtocolError(
                "What answered is no websocket.", hint="Is there a proxy between the server and us?"
            )
    except BaseException:
        transport.abort()
        raise
    return end
