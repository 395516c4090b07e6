"""What stays open: execution over a websocket, and the stream of events."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from . import problems
from .agent import AgentFailure, Container
from .core import Core, answer, keypair, owner, session
from .creation import service_ports
from .events import PING, SERVER_CLOSE, Happening
from .faults import Faults
from .operations import running
from .sessions import SessionRecord

_FLUSH = 0.2
_PING_EVERY = 15.0
_LOOK_EVERY = 0.5  # whether the client of a silent stream is still there
_LARGEST_MESSAGE = 16 * 2**20


async def apps(core: Core, request: web.Request) -> web.Response:
    """List the apps of a running session; one that waits is not found."""
    record = session(core, request)
    if record.container is None:
        problem = problems.no_such_session(record.name)
        problem.msg = f"Session (name={record.name}) does not exist."
        raise problem
    return answer(service_ports(record))


class _Gone(Exception):
    """The client's connection is gone."""


class WebsocketRun:
    """One execution over one websocket (API reference 5.1; recording 42).

    As on a server of 26.4.16: the client is listened to while the program waits for input only, so
    that a close frame changes nothing. When the connection is gone the code is interrupted, and
    because nobody asks for the rest of the run, every other run of the session waits for ever.
    """

    def __init__(
        self,
        request: web.Request,
        faults: Faults,
        container: Container,
        ws: web.WebSocketResponse,
    ) -> None:
        self._request = request
        self._faults = faults
        self._container = container
        self._ws = ws
        self._run_id = secrets.token_hex(8)

    async def serve(self) -> None:
        """Run what the first message asks for; interrupt it when the client goes away."""
        first = await self._ws.receive()
        if first.type is not WSMsgType.TEXT:
            return
        with suppress(_Gone):
            await self._run(first.data)

    async def _run(self, first: str) -> None:
        try:
            asked = msgspec.json.decode(first)
            mode, code = asked["mode"], asked["code"] or ""
            options = asked.get("options") or {}
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as exc:
            await self._send({"status": "error", "msg": f"Invalid API parameters: {exc!r}"})
            return
        if mode not in ("query", "batch"):
            await self._send({"status": "error", "msg": f"Invalid API parameters: mode {mode!r}"})
            return
        try:
            await self._loop(mode, code, options)
        except _Gone:
            await self._container.interrupt()
        except AgentFailure as exc:
            await self._send({"status": "error", "msg": str(exc)})

    async def _loop(self, mode: str, code: str, options: dict[str, Any]) -> None:
        while True:
            result = await self._container.execute(mode, code, self._run_id, options, flush=_FLUSH)
            await self._send(_frame(result))
            if result["status"] == "finished":
                return
            mode, code = "continue", ""
            if result["status"] == "waiting-input":
                mode, code = "input", _text(await self._ws.receive())

    async def _send(self, frame: dict[str, Any]) -> None:
        transport = self._request.transport
        if transport is not None and self._faults.cuts_websocket(self._request.path):
            transport.abort()
        if transport is None or transport.is_closing():
            raise _Gone
        try:
            await self._ws.send_str(msgspec.json.encode(frame).decode())
        except ConnectionError:
            raise _Gone from None


def _frame(result: dict[str, Any]) -> dict[str, Any]:
    keys = ("status", "console", "exitCode", "options", "files")
    return {key: result[key] for key in keys}


def _text(message: Any) -> str:
    """Return a message's text.

    Raises:
        _Gone: It says that the client closes.
    """
    if message.type is WSMsgType.TEXT:
        return str(message.data)
    raise _Gone


async def websocket_execute(core: Core, faults: Faults, request: web.Request) -> web.StreamResponse:
    """Execute code over a websocket; the session must be the caller's own (API reference 5)."""
    who = keypair(request)
    record = core.registry.find(request.match_info["session"], who)
    container = running(core, request)[1]
    ws = web.WebSocketResponse(max_msg_size=_LARGEST_MESSAGE)
    await ws.prepare(request)
    with core.lifecycle.use(record):
        await WebsocketRun(request, faults, container, ws).serve()
    await ws.close()
    return ws


async def session_events(core: Core, faults: Faults, request: web.Request) -> web.StreamResponse:
    """Tell events as they happen; nothing of what was before.

    An open stream that names one session keeps it from being taken for idle.

    Source: API reference 5.5; recording 50, whose stream is chosen by ``sessionId``.
    """
    listener = _Listener(core, request)
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "Connection": "keep-alive",
            "X-Accel-Buffering": "no",
        }
    )
    response.enable_chunked_encoding()
    with core.hub.listen() as queue, suppress(ConnectionError):  # the client may go at any time
        await response.prepare(request)
        with listener.holding():
            await _pour(listener, faults, queue, request, response)
    return response


async def _pour(
    listener: _Listener,
    faults: Faults,
    queue: asyncio.Queue[Happening | None],
    request: web.Request,
    response: web.StreamResponse,
) -> None:
    loop = asyncio.get_running_loop()
    next_ping = loop.time() + _PING_EVERY
    while request.transport is not None:  # the client is there
        try:
            async with asyncio.timeout(_LOOK_EVERY):
                happening = await queue.get()
        except TimeoutError:
            if loop.time() < next_ping:
                continue
            frame = PING
            next_ping = loop.time() + _PING_EVERY
        else:
            if happening is None:
                await response.write(SERVER_CLOSE)
                return
            if not listener.wants(happening):
                continue
            frame = happening.frame
        if faults.cuts_events():
            if request.transport is not None:
                request.transport.abort()
            return
        await response.write(frame)


class _Listener:
    """What one event stream is about."""

    def __init__(self, core: Core, request: web.Request) -> None:
        query = request.query
        self._core = core
        self._who = keypair(request)
        access_key = query.get("ownerAccessKey")
        self._owner = owner(core, request, access_key if access_key != "*" else None)
        self._all_owners = access_key == "*" and self._who.is_admin
        scope = query.get("scope") or "*"
        self._scopes = {"session", "kernel"} if scope == "*" else set(scope.split(","))
        self._name = query.get("sessionName") or query.get("name") or "*"
        self._id = query.get("sessionId")
        self.record: SessionRecord | None = None
        if self._id is not None:
            self.record = core.registry.get(self._id)
        elif self._name != "*":
            self.record = core.registry.named(self._name, self._owner)
            if self.record is None and core.release.strict_events:
                raise problems.no_such_session(None)

    def holding(self) -> AbstractContextManager[None]:
        """Return what keeps the one session that the stream names in use."""
        if self.record is None:
            return nullcontext()
        return self._core.lifecycle.use(self.record, is_active=False)

    def wants(self, happening: Happening) -> bool:
        session = happening.session
        if happening.scope not in self._scopes:
            return False
        if self._id is not None:
            return session.id == self._id
        if self.record is not None and self._core.release.strict_events:
            return session.id == self.record.id
        mine = self._all_owners or session.owner.access_key == self._owner.access_key
        return mine and self._name in ("*", session.name)
