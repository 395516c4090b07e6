"""A port of this computer that leads to an app of a session.

```python
async with Tunnel(client, session, app, on_note=print) as tunnel:
    ...  # connect to tunnel.address
    await tunnel.ended()
```

Each connection gets a websocket of its own. One that breaks ends its connection, as a broken cable
would, and the port stays open; the session's end closes the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

from .accepted import TcpEnd
from .apps import App, explained, find_app, is_closed_way, list_apps, proxied_link
from .client import Client
from .errors import BackendError, ConfigError
from .follow import follow_events
from .model import Session
from .protocol import calls
from .relay import PING_EVERY, Lost, Scratch, open_websocket

__all__ = ["App", "Bind", "Tunnel", "find_app", "list_apps"]

LOOPBACK = "127.0.0.1"
_TRIES = 50  # ports that are looked at when the wanted one is taken
_FIRST_PORT = 8080
_BACKLOG = 256
_PAUSE = 2.0  # seconds between two looks for the session's end when the events cannot be followed


@dataclass(frozen=True, slots=True)
class Bind:
    """Where a tunnel listens; ``port`` is ``None`` for one like the app's own, 0 for any."""

    host: str = LOOPBACK
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Read ``PORT``, ``ADDRESS:PORT`` or ``[IPv6]:PORT``.

        Raises:
            ConfigError: It is none of these.
        """
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]") or LOOPBACK
        if not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ConfigError(
                f"{text!r} is no port to listen on.", hint="Write it as 8080 or 0.0.0.0:8080."
            )
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Nobody but this computer can connect."""
        return self.host in (LOOPBACK, "::1", "localhost") or self.host.startswith("127.")


class Tunnel:
    """A listening port; `async with` opens it, and at the end closes it and all connections.

    Args:
        bind: Where to listen. A port that is taken is replaced by the next one that is free.
        on_note: Told in a sentence what a user should know.

    Attributes:
        address: Host and port that it listens on.
        was_taken: The port that was wanted and is not free, else ``None``.
        connections: How many are open.
    """

    def __init__(
        self,
        client: Client,
        session: Session,
        app: App,
        *,
        bind: Bind | None = None,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> None:
        self.address = ("", 0)
        self.was_taken: int | None = None
        self._client = client
        self._session = session
        self._app = app
        self._bind = bind or Bind()
        self._on_note = on_note
        self._scratch = Scratch()
        self._serving: dict[asyncio.Task[None], TcpEnd] = {}
        self._last_note = ""

    @property
    def connections(self) -> int:
        return len(self._serving)

    @property
    def url(self) -> str:
        """Where it can be reached from this computer, as a link for apps that speak HTTP."""
        host, port = self.address
        return self._app.port.address(reachable(host), port)

    async def __aenter__(self) -> Tunnel:
        opened = self._listen()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: TcpEnd(self._scratch, self._accept), sock=opened, backlog=_BACKLOG
        )
        self._pinging = asyncio.create_task(self._ping())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self._pinging.cancel()
        for end in self._serving.values():
            end.abort()
        tasks = [self._pinging, *self._serving]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def _listen(self) -> socket.socket:
        wanted = self._bind.port
        if wanted is None:
            own = self._app.port.ports[0] if self._app.port.ports else _FIRST_PORT
            wanted = own if own >= 1024 else _FIRST_PORT
        candidates = [wanted, *range(wanted + 1, min(wanted + _TRIES, 65536)), 0]
        # A session of this computer has its ports here: a tunnel at one of them would lead to itself.
        its_own = self._app.port.ports if _is_here(self._client.config.endpoint) else ()
        for port in candidates if wanted else [0]:
            if port in its_own:
                continue
            try:
                opened = _bound(self._bind.host, port)
            except OSError as exc:
                if exc.errno == errno.EADDRINUSE:
                    continue
                raise ConfigError(
                    f"Nothing can listen on {self._bind.host}:{port}: {exc.strerror or exc}."
                ) from exc
            self.address = opened.getsockname()[:2]
            if self.address[1] != wanted and wanted:
                self.was_taken = wanted
            return opened
        raise ConfigError(f"There is no free port on {self._bind.host}.")

    # -- connections --------------------------------------------------------------------------

    def _accept(self, end: TcpEnd) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(end))
        self._serving[task] = end
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        del self._serving[task]
        if not task.cancelled() and (exc := task.exception()) is not None:
            raise exc  # a mistake of ours: the loop's handler shows it

    async def _serve(self, end: TcpEnd) -> None:
        try:
            opened = await open_websocket(
                self._client, self._app.open(self._session.id), self._scratch
            )
            opened.begin(end)
            end.begin(opened)
            try:
                error = await asyncio.shield(opened.ended)
            finally:
                opened.abort()
        except BackendError as exc:
            error, link = await self._another_way(exc)
            if link and not end.closed.done():
                end.answer(f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {link}\r\n", b"")
        if error is not None:
            self._note(str(error))
            if not end.closed.done():
                self._excuse(end, error)
        await end.closed

    async def _another_way(self, refused: BackendError) -> tuple[BackendError | None, str]:
        """Where websockets do not pass: return a link through the app proxy of the cluster."""
        if not is_closed_way(refused) or not self._app.port.is_web:
            return explained(refused, self._app), ""
        try:
            link = await proxied_link(self._client, self._session, self._app)
        except BackendError:
            return refused, ""  # there is none: the first refusal says more
        self._note("Websockets do not pass: browsers are led to the cluster's app proxy.")
        return None, link

    def _excuse(self, end: TcpEnd, error: BackendError) -> None:
        """Close a connection that got nothing; a browser gets a page that says why."""
        if self._app.port.protocol != "http" or end.has_sent or isinstance(error, Lost):
            end.abort()
            return
        page = f"<!doctype html><title>Not available</title><p>{escape(str(error))}</p>".encode()
        head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html; charset=utf-8\r\n"
        end.answer(head, page)

    def _note(self, text: str) -> None:
        if text != self._last_note:  # a browser tries again and again
            self._last_note = text
            self._on_note(text)

    async def _ping(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(PING_EVERY / 6)
            ticks += 1
            for end in list(self._serving.values()):
                end.check()
                if ticks % 6 == 0 and end.websocket is not None:
                    end.websocket.check()

    # -- the session's end --------------------------------------------------------------------

    async def ended(self) -> str:
        """Wait for the session's end and return it as a sentence."""
        while True:
            with contextlib.suppress(BackendError):  # the server is away for a while: look again
                async for event in follow_events(self._client, self._session, is_whole=True):
                    if event.name in ("session_terminated", "session_cancelled"):
                        return self._over(event.reason)
                return self._over("")
            try:
                seen = await self._client.send(calls.get_session(self._session.id))
            except BackendError:
                seen = self._session
            if seen is None or seen.status.is_over:
                return self._over("")
            await asyncio.sleep(_PAUSE)

    def _over(self, reason: str) -> str:
        why = f" ({reason})" if reason else ""
        return f"The session {self._session.name} has ended{why}: the port is closed."


def reachable(host: str) -> str:
    """Return the address by which this computer reaches what listens on *host*."""
    return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)


def _is_here(endpoint: str) -> bool:
    return urlsplit(endpoint).hostname in (LOOPBACK, "::1", "localhost")


def _bound(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    opened = socket.socket(family, kind, proto)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        # Two sockets may be bound to a port as long as none listens.
        opened.listen(_BACKLOG)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened
