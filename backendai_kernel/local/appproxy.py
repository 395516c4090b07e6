"""A cluster's app proxy, for who asks for one: web apps at addresses of its own.

A real one is two programs, a coordinator that hands out links and a worker that listens. Here both
are the manager's: `link` opens a port that leads straight to the app.

Source: API reference 6.4 (``start-service``); the coordinator's ``/v2/proxy/auth`` and ``add``.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress

from aiohttp import web

from . import problems
from .core import Core, answer, json_body, owner
from .operations import running
from .services import SSHD
from .sessions import SessionRecord
from .tcpproxy import app_of

_PIECE = 2**16


class AppProxy:
    """The coordinator and its worker.

    Attributes:
        address: Where the coordinator answers.
        opened: How many links were asked for.
    """

    def __init__(self, *, is_old: bool = False) -> None:
        self.address = ""
        self.opened = 0
        self._is_old = is_old
        self._tokens: dict[str, tuple[SessionRecord, int]] = {}
        self._workers: list[asyncio.Server] = []

    def admit(self, record: SessionRecord, port: int) -> str:
        """Return a token that opens a session's port."""
        token = secrets.token_hex(16)
        self._tokens[token] = (record, port)
        return token

    async def link(self, token: str, session_id: str) -> str:
        """Open a port of the worker and return the link to it.

        Raises:
            Problem: The token is not for this session (401).
        """
        record, port = self._tokens.get(token, (None, 0))
        if record is None or record.id != session_id:
            raise problems.auth_failed("E20007: Session ID mismatch")
        self.opened += 1

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                theirs, to_them = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_pump(reader, to_them), _pump(theirs, writer))

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        self._workers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/setup?token={token}"

    def add_routes(self, app: web.Application) -> None:
        """Answer the coordinator's requests; nobody signs them, the token is enough."""

        async def auth(request: web.Request) -> web.StreamResponse:
            if self._is_old:
                raise problems.url_not_found(request.path)
            link = await self.link(request.query["token"], request.query["session_id"])
            if "application/json" not in request.headers.get("Accept", ""):
                raise web.HTTPPermanentRedirect(link)
            return answer({"redirect_url": link, "reuse": False})

        async def add(request: web.Request) -> web.StreamResponse:
            info = request.match_info
            return answer({"code": 200, "url": await self.link(info["token"], info["session"])})

        app.router.add_route("GET", "/v2/proxy/auth", auth)
        app.router.add_route("GET", "/v2/proxy/{token}/{session}/add", add)

    async def close(self) -> None:
        """Close the worker's ports."""
        for server in self._workers:
            server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def start_service(core: Core, request: web.Request) -> web.Response:
    """Start an app for the app proxy; without one, refuse as in recording 64."""
    ref = request.match_info["session"]
    try:
        record = core.registry.find(ref, owner(core, request))
    except problems.Problem:  # this route has words of its own for it (recording 61)
        raise problems.no_such_session_of_user(ref) from None
    if core.app_proxy is None:
        raise problems.unavailable("No coordinator configured for this resource group")
    running(core, request)
    body = await json_body(request)
    name, port = app_of(record, body.get("app") or body.get("service"), body.get("port"))
    if name == SSHD:
        raise problems.app_failed("sshd has no port that the app proxy reaches")
    token = core.app_proxy.admit(record, port)
    return answer({"token": token, "wsproxy_addr": core.app_proxy.address})
