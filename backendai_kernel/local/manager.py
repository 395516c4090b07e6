"""The embedded manager: a server on this computer that speaks the manager's HTTP API.

```python
async with LocalManager(tmp_path) as manager:
    ...  # manager.url, manager.access_key, manager.secret_key
```
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Self

from aiohttp import web

from ..errors import ConfigError
from . import idle, problems
from .agent import Container, start_container
from .appproxy import AppProxy
from .auth import Gate, KeyPair, KeyPairPolicy, new_keypair
from .core import SENDER, Core
from .events import Hub
from .faults import Faults
from .images import Images, default_images
from .lifecycle import Lifecycle, Starter
from .passes import Passes
from .release import RELEASES, Release
from .routes import add_routes
from .scheduler import Capacity, machine_slots
from .sessions import Registry, SessionRecord, Wanted, utcnow
from .vfolders import Folders

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)

_REMEMBERED = 10_000
_OPEN = ("/", "/func/")
# The token that bytes of virtual folders and links to apps need is looked at where they are handled.
_OPEN_BELOW = ("/server/", "/storage/", "/v2/proxy/")
_GOODBYE = 5.0
_LARGEST_BODY = 2**20  # of anything but an upload; the real one refuses code of 2 MB too
_LARGEST_HEADER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was answered; ``duration`` is in seconds, ``status`` 0 when it was dropped."""

    method: str
    path: str
    status: int
    duration: float


class LocalManager:
    """A manager on this computer; `async with` binds its port and, at the end, ends every session.

    Args:
        root: Folder for the sessions' own folders.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.
        release: Which server generation to be.
        idle_limit: `idle` is set after so many seconds with no request, no stream and no session;
            ``None``: never.
        session_idle_limit: A session that nothing holds for so many seconds is ended; ``None`` or
            0: never.
        images: What sessions can be made from; by default one image, of our own interpreter.
        slots: What sessions may take together; by default this computer's cores and memory, and
            *gpus* simulated GPUs.
        gpus: How many simulated GPUs there are.
        policy: Policy of the manager's own keypair.
        keypair: Its own keypair; by default a new one.
        others: More keypairs that may send requests.
        idle: Set once it has been idle for *idle_limit*.
        keeps_steps: Whether batch mode keeps what comes between two requests; the real server drops
            it, so that a quick command never seems to end (recording 32).
        start: Starts a session's process tree.

    Attributes:
        url: Where it listens, without a slash at the end.
        requests: The last answered requests, oldest first.
    """

    def __init__(
        self,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        release: Release = RELEASES["26.4"],
        idle_limit: float | None = None,
        session_idle_limit: float | None = None,
        images: Images | None = None,
        slots: Mapping[str, Decimal] | None = None,
        gpus: int = 2,
        policy: KeyPairPolicy | None = None,
        keypair: KeyPair | None = None,
        others: Iterable[KeyPair] = (),
        idle: asyncio.Event | None = None,
        keeps_steps: bool = True,
        app_proxy: AppProxy | None = None,
        start: Starter = start_container,
    ) -> None:
        self.keypair = keypair or new_keypair(policy=policy, password=secrets.token_urlsafe(12))
        self.release = release
        self.gate = Gate(release)
        self._keypairs = (self.keypair, *others)
        for each in self._keypairs:
            self.gate.add(each)
        self.registry = Registry()
        self.faults = Faults(self)
        self.requests: deque[Request] = deque(maxlen=_REMEMBERED)
        self.idle = idle or asyncio.Event()
        self._root = root
        self._host = host
        self._port = port
        self._idle_limit = idle_limit
        self._session_idle_limit = session_idle_limit
        self._in_flight = 0
        self._last_request = time.monotonic()
        hub = Hub()
        capacity = Capacity(machine_slots(gpus) if slots is None else slots)
        self._core = Core(
            release=release,
            gate=self.gate,
            images=images or default_images(),
            capacity=capacity,
            registry=self.registry,
            hub=hub,
            lifecycle=Lifecycle(
                root=root,
                release=release,
                registry=self.registry,
                capacity=capacity,
                hub=hub,
                start=start,
                keeps_steps=keeps_steps,
            ),
            folders=Folders(root / "vfolders", release),
            passes=Passes(),
            started=utcnow(),
            app_proxy=app_proxy,
        )

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def access_key(self) -> str:
        return self.keypair.access_key

    @property
    def secret_key(self) -> str:
        return self.keypair.secret_key

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._serve], client_max_size=_LARGEST_BODY)
        add_routes(app, self._core, self.faults)
        if (app_proxy := self._core.app_proxy) is not None:
            app_proxy.add_routes(app)
        app.on_response_prepare.append(_sign_answer)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=_GOODBYE,
            keepalive_timeout=75.0,
            max_line_size=_LARGEST_HEADER,
            max_field_size=_LARGEST_HEADER,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as exc:
            await self._runner.cleanup()
            raise ConfigError(
                f"Nothing can listen at {self._host}:{self._port}: {os.strerror(exc.errno or 0)}.",
                hint="Choose another --port; without one, any that is free is taken.",
            ) from exc
        self._port = self._runner.addresses[0][1]
        if app_proxy is not None:
            app_proxy.address = self.url
        self._sweepers = [asyncio.create_task(self._sweep())]
        checked: list[KeyPairPolicy] = []
        for policy in (pair.policy for pair in self._keypairs):
            if policy not in checked and (pause := idle.pause(policy)) is not None:
                checked.append(policy)
                self._sweepers.append(asyncio.create_task(self._check_limits(policy, pause)))
        return self

    async def __aexit__(self, *exc: object) -> None:
        for sweeper in self._sweepers:
            sweeper.cancel()
        await asyncio.wait(self._sweepers)
        await self._core.lifecycle.close()
        self._core.hub.close()
        if self._core.app_proxy is not None:
            await self._core.app_proxy.close()
        await self._runner.cleanup()

    def enqueue(self, wanted: Wanted) -> SessionRecord:
        """Put a session in the queue without a request; `SessionRecord.settled` tells when it runs.

        Raises:
            Problem: Its owner has as many sessions as the policy allows.
        """
        return self._core.lifecycle.enqueue(wanted)

    def end(self, record: SessionRecord, reason: str = "user-requested") -> None:
        """Begin to end a session; `SessionRecord.over` tells when it has."""
        self._core.lifecycle.end(record, reason, forced=True)

    def session(self, ref: str) -> SessionRecord:
        """Return the live session of that name or id.

        Raises:
            LookupError: There is none.
        """
        for record in reversed(self.registry.alive()):
            if ref in (record.id, record.name):
                return record
        raise LookupError(f"no live session {ref!r}")

    def container(self, session: str) -> Container:
        """Return the container of a running session, by name or id.

        Raises:
            LookupError: There is no such session, or it has none.
        """
        container = self.session(session).container
        if container is None:
            raise LookupError(f"session {session!r} has no container")
        return container

    async def running(self, session: str) -> None:
        """Return once user code of that session, by name or id, executes."""
        record = self.session(session)
        await record.settled.wait()
        await self.container(record.id).running()

    @web.middleware
    async def _serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer one request, in trouble or not, and write it down."""
        started = time.monotonic()
        self._in_flight += 1
        status = 0
        try:
            response = await self.faults.around(request, partial(self._answer, handler))
            status = response.status if not _is_lost(request) else 0
            if not response.prepared:
                response.headers.update(self.gate.date())
            return response
        finally:
            self._in_flight -= 1
            self._last_request = time.monotonic()
            duration = self._last_request - started
            self.requests.append(Request(request.method, request.path, status, duration))

    async def _answer(self, handler: Handler, request: web.Request) -> web.StreamResponse:
        """Check who asks, count it, and turn every refusal into a problem.

        Only answers that are no problem tell of the rate limit (recordings 00 and 60).
        """
        try:
            sender = self.gate.identify(request)
            SENDER.set(sender)
            limits = self.gate.count(sender)
            if sender is None and not _is_for_anybody(request):
                raise problems.auth_failed("Unauthorized access")
            response = await handler(request)
        except problems.Problem as problem:
            return problem.response(self.release)
        except web.HTTPException as exc:
            return _of_http(exc, request).response(self.release)
        except Exception:  # the outermost edge: as the real one, it answers with a 500
            log.exception("%s %s failed", request.method, request.path)
            return problems.internal_error().response(self.release)
        if not response.prepared:
            response.headers.update(limits)
        return response

    async def _sweep(self) -> None:
        """Look now and then for sessions and a manager that nobody needs any more."""
        limits = [limit for limit in (self._idle_limit, self._session_idle_limit) if limit]
        if not limits:
            return
        while True:
            await asyncio.sleep(min(15.0, min(limits) / 4))
            if self._session_idle_limit:
                await self._core.lifecycle.end_idle(self._session_idle_limit)
            if self._idle_limit and self._is_idle(self._idle_limit):
                self.idle.set()

    async def _check_limits(self, policy: KeyPairPolicy, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            await self._core.lifecycle.check_limits(policy)

    def _is_idle(self, limit: float) -> bool:
        busy = self._in_flight or self.registry.alive()
        return not busy and time.monotonic() - self._last_request >= limit


async def _sign_answer(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "BackendAI"


def _is_for_anybody(request: web.Request) -> bool:
    """Tell whether a request needs no signature: for the version, for a login, for no path of ours."""
    is_unknown = request.match_info.http_exception is not None
    return is_unknown or request.path in _OPEN or request.path.startswith(_OPEN_BELOW)


def _of_http(exc: web.HTTPException, request: web.Request) -> problems.Problem:
    if exc.status == 404:
        return problems.url_not_found(request.path)
    if exc.status == 405:
        return problems.method_not_allowed()
    return problems.bad_request()


def _is_lost(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
