"""Where a pair of trouble and request is tried: a manager, a session, and how trouble comes."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import pytest
from aiohttp import connector

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import BackendError
from backendai_kernel.listing import Query, list_sessions
from backendai_kernel.local.faults import Fault
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.serve import load_keypair
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session
from tests.conftest import ROOMY

from .dropping import DroppingProxy

AWAY = 3.0  # seconds for which a server cannot be reached: longer than a run waits for its rescue
UP_WITHIN = 20.0  # seconds for a manager to serve


class Unmet(Exception):
    """A request that this kind of trouble cannot meet, such as a websocket's in one without any."""


class Place:
    """A manager with one session, `session`, and trouble that comes when it is asked for.

    Attributes:
        name: Of the trouble, in the table.
        environ: For those who read their settings from the environment.
        was_met: A request has met the trouble, known once that is over.
    """

    name = ""
    was_met = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ: dict[str, str] = {}
        self.client: Client
        self.session: ComputeSession
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Place:
        config = await self._serve()
        self.environ = {
            "BACKENDAI_KERNEL_STATE": str(self.folder / "state"),
            "BACKENDAI_KERNEL_CONFIG": str(self.folder / "config.toml"),
        }
        self.client = await self._stack.enter_async_context(Client(config))
        await self.renew()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _serve(self) -> Config:
        """Start a manager; return the settings that lead to it."""
        raise NotImplementedError

    async def renew(self) -> None:
        """Take a fresh session."""
        self.session = await start_session(
            self.client, Request("python"), f"s{os.urandom(4).hex()}"
        )

    async def alive(self) -> set[str]:
        """Return the ids of all sessions that are not over."""
        listed = await list_sessions(self.client, Query(limit=None))
        return {session.id for session in listed.items}

    def strike(self, verb: str, path: str, session: str | None = None) -> None:
        """Make trouble now, or for the next request with that verb and path.

        Args:
            session: Which session it is about; ``None``: the place's own; ``""``: one that is not
                there yet.

        Raises:
            Unmet: This kind cannot meet that request.
        """
        raise NotImplementedError

    async def over(self) -> None:
        """Wait for the trouble's end, or end it."""
        raise NotImplementedError


def _config(url: str, access_key: str, secret_key: str) -> Config:
    return Config.from_env(
        {}, with_profile=False, endpoint=url, access_key=access_key, secret_key=secret_key
    )


class Here(Place):
    """The manager is in this process."""

    manager: LocalManager

    async def _serve(self) -> Config:
        self.manager = await self._stack.enter_async_context(
            LocalManager(self.folder / "m", slots=ROOMY)
        )
        return _config(await self._way(), self.manager.access_key, self.manager.secret_key)

    async def _way(self) -> str:
        return self.manager.url


class Scripted(Here):
    """The embedded manager's own trouble with the next request."""

    def __init__(self, folder: Path, name: str, method: str, **options: Any) -> None:
        super().__init__(folder)
        self.name = name
        self._method = method
        self._options = options
        self._made: list[Fault] = []

    def strike(self, verb: str, path: str, session: str | None = None) -> None:
        faults = self.manager.faults
        if "tcpproxy" in path and self._method in ("drop_after", "cut"):
            fault = faults.close_websocket(path=path)  # its answer is what comes through it
        else:
            fault = getattr(faults, self._method)(method=verb, path=path, **self._options)
        self._made.append(fault)

    async def over(self) -> None:
        self.was_met |= any(fault.hits for fault in self._made)
        self._made.clear()
        self.manager.faults.clear()


class WebsocketClosed(Scripted):
    """A websocket is broken; only what uses one can meet it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "websocket closed", "close_websocket")

    def strike(self, verb: str, path: str, session: str | None = None) -> None:
        if "tcpproxy" not in path:
            raise Unmet("it uses no websocket")
        self._made.append(self.manager.faults.close_websocket(path=path))


class Refused(Here):
    """Nobody listens at the server's address for a while, and connections are broken."""

    name = "connection refused for 3 s"

    async def _way(self) -> str:
        self._proxy = await self._stack.enter_async_context(DroppingProxy(self.manager.url))
        return self._proxy.url

    def strike(self, verb: str, path: str, session: str | None = None) -> None:
        self._away = asyncio.create_task(self._proxy.refuse(AWAY))  # from now on
        self._proxy.close()

    async def over(self) -> None:
        await self._away
        self.was_met = True


class NoName(Refused):
    """The server's name cannot be resolved for a while, and connections are broken."""

    name = "name not resolved for 3 s"
    _HOST = "manager.example"

    async def _way(self) -> str:
        url = await super()._way()
        self._is_known = True
        self._asked = 0
        ask = socket.getaddrinfo

        def answer(host: Any, *words: Any, **options: Any) -> Any:
            if host != self._HOST:
                return ask(host, *words, **options)
            self._asked += 1
            if not self._is_known:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return ask("127.0.0.1", *words, **options)

        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(socket, "getaddrinfo", answer)
        return url.replace("127.0.0.1", self._HOST)

    def strike(self, verb: str, path: str, session: str | None = None) -> None:
        before = self._asked
        self._is_known = False
        assert self.client._http is not None
        self.client._http.connector.clear_dns_cache()  # type: ignore[union-attr]
        self._proxy.cut()
        self._away = asyncio.create_task(self._found_again(before))

    async def _found_again(self, before: int) -> None:
        await asyncio.sleep(AWAY)
        self._is_known = True
        self.was_met = self._asked > before

    async def over(self) -> None:
        await self._away


class Distrusted(Here):
    """Somebody else's certificate is at the server's address for a while."""

    name = "certificate not trusted for 3 s"

    async def _way(self) -> str:
        self._own, self._other = [await self._certified(name) for name in ("own", "other")]
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SSL_CERT_FILE", str(self.folder / "own.pem"))
        # aiohttp's own context was made when it was imported.
        patch.setattr(connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context())
        self._proxy = await self._stack.enter_async_context(
            DroppingProxy(self.manager.url, tls=self._own)
        )
        return self._proxy.url

    async def _certified(self, name: str) -> ssl.SSLContext:
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        await asyncio.to_thread(
            subprocess.run,
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
                *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        return context

    def strike(self, verb: str, path: str, session: str | None = None) -> None:
        self._away = asyncio.create_task(self._elsewhere())

    async def _elsewhere(self) -> None:
        await self._proxy.show(self._other)
        await asyncio.sleep(AWAY)
        await self._proxy.show(self._own)

    async def over(self) -> None:
        await self._away
        self.was_met = True


class RunnerKilled(Here):
    """The process that runs a session's code is killed, as if the container had died."""

    name = "runner killed"

    def strike(self, verb: str, path: str, session: str | None = None) -> None:
        wanted = self.session.id if session is None else session
        self._killing = asyncio.create_task(self._kill(wanted))

    async def _kill(self, wanted: str) -> None:
        known = {str(record.id) for record in self.manager.registry}
        async with asyncio.timeout(UP_WITHIN):
            while True:
                there = {str(record.id) for record in self.manager.registry.alive()}
                for one in {wanted} if wanted else there - known:
                    try:
                        await self.manager.faults.kill_runner(one)
                    except LookupError:
                        continue  # it has none yet
                    return
                await asyncio.sleep(0.01)

    async def over(self) -> None:
        await self._killing
        self.was_met = True


class ManagerKilled(Place):
    """The manager's process is killed, and another one is there a second later."""

    name = "manager killed and restarted"

    async def _serve(self) -> Config:
        self._port = _free_port()
        self._process: asyncio.subprocess.Process
        await self._start()
        self._stack.push_async_callback(self._stop)
        keys = load_keypair(self.folder / "m")
        return _config(f"http://127.0.0.1:{self._port}", keys.access_key, keys.secret_key)

    async def _start(self) -> None:
        words = ["--port", str(self._port), "--state", str(self.folder / "m"), "--cpu", "8"]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backendai_kernel.local", *words, "--mem", "16g"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(UP_WITHIN):
            await self._process.stdout.readline()

    async def _stop(self) -> None:
        self._process.terminate()
        await self._process.wait()

    def strike(self, verb: str, path: str, session: str | None = None) -> None:
        self._replacing = asyncio.create_task(self._replace())

    async def _replace(self) -> None:
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        await self._process.wait()
        await asyncio.sleep(AWAY)
        await self._start()
        _, left = await asyncio.to_thread(psutil.wait_procs, children, UP_WITHIN)
        if left:
            raise AssertionError(f"{left} outlived their manager")

    async def over(self) -> None:
        await self._replacing
        self.was_met = True


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def scripted(name: str, method: str, **options: Any) -> Callable[[Path], Place]:
    return lambda folder: Scripted(folder, name, method, **options)


async def is_there(place: Place) -> bool:
    """Tell whether the place's session still runs code."""
    try:
        seen = await place.session.look()
    except BackendError:
        return False
    return seen is not None and not seen.status.is_ending
