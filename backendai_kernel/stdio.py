"""Standard input and output as the local end of a relay: what a ProxyCommand of OpenSSH is."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

from .errors import BackendError, ConfigError
from .relay import PING_EVERY, Scratch, WebSocketEnd, hold, open_websocket

if TYPE_CHECKING:
    from .client import Client
    from .protocol.calls import Call

_LAST_WORDS = 10.0  # seconds for the app to end a connection of which we have said all


class _Input(asyncio.Protocol):
    def __init__(self, end: StdioEnd) -> None:
        self._end = end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        self._end.source = transport

    def data_received(self, data: bytes) -> None:
        if self._end.websocket is not None:
            self._end.websocket.send(data)
        else:
            self._end.early += data
            hold(self._end.source)

    def eof_received(self) -> bool:
        self._end.said_all()
        return False


class _Output(asyncio.BaseProtocol):
    def __init__(self, end: StdioEnd) -> None:
        self._end = end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._end.sink = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.gone()

    def pause_writing(self) -> None:
        if self._end.websocket is not None:
            self._end.websocket.pause_reading()

    def resume_writing(self) -> None:
        if self._end.websocket is not None:
            self._end.websocket.resume_reading()


class StdioEnd:
    """The two pipes; asyncio has a transport for each."""

    def __init__(self) -> None:
        self.source: asyncio.ReadTransport
        self.sink: asyncio.WriteTransport
        self.early = bytearray()  # what has come before there was a websocket
        self.websocket: WebSocketEnd | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Take over standard input and output.

        Raises:
            ConfigError: They are files.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_read_pipe(lambda: _Input(self), sys.stdin.buffer)
            await loop.connect_write_pipe(lambda: _Output(self), sys.stdout.buffer)
        except ValueError as exc:
            raise ConfigError(
                "Standard input and output must be pipes or sockets here.",
                hint="This command is for OpenSSH: see `backendai-kernel ssh-config`.",
            ) from exc

    def begin(self, other: WebSocketEnd) -> None:
        self.websocket = other
        if self.early:
            other.send(self.early)
            self.early = bytearray()
        self.resume_reading()

    def said_all(self) -> None:
        """What the app still says is written, for a while."""
        asyncio.get_running_loop().call_later(_LAST_WORDS, self.sink.close)

    def gone(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        if self.websocket is not None:
            self.websocket.close()

    def write(self, data: memoryview, scratch: Scratch) -> None:
        scratch.write(self.sink, data)

    def pause_reading(self) -> None:
        self.source.pause_reading()

    def resume_reading(self) -> None:
        if not self.source.is_closing():
            self.source.resume_reading()

    def finish(self) -> None:
        self.sink.close()

    def abort(self) -> None:
        self.sink.abort()


async def bridge(client: Client, call: Call[None]) -> BackendError | None:
    """Relay between standard input and output and an app, to the end.

    Returns:
        Why it ended, if not in order.

    Raises:
        ConfigError: As `StdioEnd.open`.
        ConnectError, APIError, ProtocolError: As `open_websocket`.
    """
    local = StdioEnd()
    await local.open()
    opened = await open_websocket(client, call, Scratch())
    opened.begin(local)
    local.begin(opened)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):  # OpenSSH's way to end us
        loop.add_signal_handler(number, local.gone)
    pinging = asyncio.create_task(_ping(opened))
    try:
        first: list[asyncio.Future[Any]] = [opened.ended, local.closed]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if opened.ended.done():
            local.finish()
            await local.closed
    finally:
        pinging.cancel()
        opened.abort()
    return opened.ended.result() if opened.ended.done() else None


async def _ping(opened: WebSocketEnd) -> None:
    while True:
        await asyncio.sleep(PING_EVERY)
        opened.check()
