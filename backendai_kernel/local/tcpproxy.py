"""Connections to a session's apps, over websockets (API reference 5.3; recordings 40, 41, 44)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import WSCloseCode, WSMsgType, web

from . import problems
from .agent import AgentFailure, Container
from .core import Core, keypair
from .creation import service_ports
from .faults import Faults
from .operations import running
from .services import SSHD
from .sessions import SessionRecord

_CHUNK = 256 * 2**10
_LARGEST_MESSAGE = 16 * 2**20

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def tcp_proxy(core: Core, faults: Faults, request: web.Request) -> web.StreamResponse:
    """Relay one connection; binary frames are its bytes.

    As on a server: the app is looked for and started first, the connection opened after the
    upgrade; 1013 when nothing listens there, 1001 when the app has closed it. When the client
    closes the websocket, the connection is closed, too.
    """
    who = keypair(request)
    record = core.registry.find(request.match_info["session"], who)
    container = running(core, request)[1]
    query = request.query
    name, port = app_of(record, query.get("app") or query.get("service"), query.get("port"))
    try:
        path = await container.sshd.start() if name == SSHD else None
    except AgentFailure as exc:
        raise problems.app_failed(str(exc)) from exc
    ws = web.WebSocketResponse(max_msg_size=_LARGEST_MESSAGE, compress=False, autoping=False)
    await ws.prepare(request)
    with core.lifecycle.use(record):
        try:
            if path is not None:
                streams = await asyncio.open_unix_connection(str(path), limit=_CHUNK)
            else:
                streams = await asyncio.open_connection("127.0.0.1", port, limit=_CHUNK)
        except OSError:
            await ws.close(code=WSCloseCode.TRY_AGAIN_LATER)
            return ws
        await _Relay(request, faults, container, ws, streams).run()
    return ws


def app_of(record: SessionRecord, name: str | None, wanted: object) -> tuple[str, int]:
    """Return the name and port of the app that is asked for.

    Raises:
        Problem: There is no such app (404), or the port is not one of its own (400).
    """
    if not name:
        raise problems.invalid_params("Input validation error: app is required")
    for app in service_ports(record):
        if app["name"] == name:
            break
    else:
        raise problems.no_such_app(f"{record.name}:{name}")
    if wanted is None:
        return name, int(app["ports"][0])
    if str(wanted) not in map(str, app["ports"]):
        raise problems.invalid_params(f"Service {name} does not open the port number {wanted}.")
    return name, int(str(wanted))


class _Relay:
    def __init__(
        self,
        request: web.Request,
        faults: Faults,
        container: Container,
        ws: web.WebSocketResponse,
        streams: Streams,
    ) -> None:
        self._request = request
        self._faults = faults
        self._container = container
        self._ws = ws
        self._reader, self._writer = streams

    async def run(self) -> None:
        """Relay until one of both sides closes."""
        down = asyncio.create_task(self._down())
        try:
            await self._up()
        except ConnectionError:
            pass  # the app has gone; `_down` has said so, or will
        finally:
            if not down.done():
                down.cancel()
            await asyncio.wait([down])
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _up(self) -> None:
        async for message in self._ws:
            self._trouble()
            if message.type is WSMsgType.BINARY:
                self._writer.write(message.data)
                await self._writer.drain()
            elif message.type is WSMsgType.PING:
                await self._ws.pong(message.data)

    async def _down(self) -> None:
        try:
            while data := await self._reader.read(_CHUNK):
                self._trouble()
                await self._ws.send_bytes(data)
        except (ConnectionError, RuntimeError):
            pass  # one of both has gone in the middle
        await self._ws.close(code=WSCloseCode.GOING_AWAY)

    def _trouble(self) -> None:
        transport = self._request.transport
        if transport is not None and self._faults.cuts_websocket(self._request.path):
            transport.abort()
