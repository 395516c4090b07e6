"""Scripted trouble: what a network and a server do on a bad day, on demand and countable.

```python
manager.faults.drop(times=1, path="/session/*")           # closed before the server acted
lost = manager.faults.drop_after(method="POST")            # the server acted, the answer is lost
manager.faults.status(429, retry_after=2)
assert lost.hits == 1
```
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from aiohttp import web
from aiohttp.payload import IOBasePayload

from . import problems

if TYPE_CHECKING:
    from .manager import LocalManager

Kind = Literal["drop", "drop_after", "delay", "cut", "status", "websocket", "events", "upgrade"]
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(eq=False)
class Fault:
    """One kind of trouble for the requests that it matches.

    Attributes:
        times: How often it still strikes; ``None``: for ever.
        hits: How often it has struck.
    """

    kind: Kind
    times: int | None = 1
    method: str = "*"
    path: str = "*"
    seconds: float = 0.0
    code: int = 500
    retry_after: float | None = None
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.method in ("*", method) and fnmatchcase(path, self.path)

    def strike(self) -> None:
        self.hits += 1
        if self.times is not None:
            self.times -= 1


class Faults:
    """The trouble that a manager makes; every method returns a `Fault` that counts its hits.

    ``method`` is ``GET``, ``POST`` …, ``path`` a pattern as for file names (``/session/*``); what
    is left out matches all. ``times`` is how often it strikes, ``None`` for ever.
    """

    def __init__(self, manager: LocalManager) -> None:
        self._manager = manager
        self._faults: list[Fault] = []

    def drop(self, *, times: int | None = 1, method: str = "*", path: str = "*") -> Fault:
        """Close the connection before the server acts."""
        return self._add(Fault("drop", times, method, path))

    def drop_after(self, *, times: int | None = 1, method: str = "*", path: str = "*") -> Fault:
        """Let the server act and close the connection in place of the answer."""
        return self._add(Fault("drop_after", times, method, path))

    def delay(
        self, seconds: float, *, times: int | None = 1, method: str = "*", path: str = "*"
    ) -> Fault:
        """Let the server act *seconds* later."""
        return self._add(Fault("delay", times, method, path, seconds=seconds))

    def cut(self, *, times: int | None = 1, method: str = "*", path: str = "*") -> Fault:
        """Send the answer's head and half of its body, then close the connection."""
        return self._add(Fault("cut", times, method, path))

    def status(
        self,
        code: int,
        *,
        retry_after: float | None = None,
        times: int | None = 1,
        method: str = "*",
        path: str = "*",
    ) -> Fault:
        """Answer with a HTTP status in place of acting; 429, 500, 502 or 503.

        ``retry_after`` is in seconds; a real manager sends none.
        """
        fault = Fault("status", times, method, path, code=code, retry_after=retry_after)
        return self._add(fault)

    def close_websocket(self, *, times: int | None = 1, path: str = "*") -> Fault:
        """Break a websocket's connection in place of its next frame."""
        return self._add(Fault("websocket", times, "GET", path))

    def refuse_websockets(self, *, times: int | None = None) -> Fault:
        """Answer for websockets as a proxy before the server does that knows none."""
        return self._add(Fault("upgrade", times, "GET"))

    def close_events(self, *, times: int | None = 1) -> Fault:
        """Break an event stream's connection in place of its next event."""
        return self._add(Fault("events", times))

    def skew_clock(self, seconds: float, *, is_told: bool = True) -> None:
        """Make the server's clock differ from this computer's, forward when positive.

        Args:
            is_told: The ``Date`` header has it; else this computer's, as that of a proxy between.
        """
        self._manager.gate.skew = seconds
        self._manager.gate.tells_skew = is_told

    async def kill_runner(self, session: str) -> None:
        """Kill the process that runs a session's code, as if the container had died."""
        await self._manager.container(session).kill_runner()

    async def kill_interpreter(self, session: str) -> None:
        """Kill a session's interpreter; its runner lives on (recording 28)."""
        await self._manager.container(session).kill_interpreter()

    async def exhaust_memory(self, session: str) -> None:
        """Kill a session's interpreter as the system does when memory runs out; its runner logs it."""
        await self._manager.container(session).exhaust_memory()

    def clear(self) -> None:
        """Make no more trouble."""
        self._faults.clear()
        self.skew_clock(0.0)

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def _take(self, method: str, path: str, *kinds: Kind) -> Fault | None:
        for fault in self._faults:
            if fault.times != 0 and fault.kind in kinds and fault.matches(method, path):
                fault.strike()
                return fault
        return None

    def cuts_websocket(self, path: str = "*") -> bool:
        return self._take("GET", path, "websocket") is not None

    def cuts_events(self) -> bool:
        return self._take("GET", "/events/session", "events") is not None

    async def around(self, request: web.Request, act: _Next) -> web.StreamResponse:
        """Answer a request through whatever trouble is waiting for it."""
        if not self._faults:
            return await act(request)
        method, path = request.method, request.path
        if (fault := self._take(method, path, "delay")) is not None:
            await asyncio.sleep(fault.seconds)
        if self._take(method, path, "drop") is not None:
            return _hang_up(request)
        if (fault := self._take(method, path, "status")) is not None:
            return self._refuse(fault)
        if "Upgrade" in request.headers and self._take(method, path, "upgrade") is not None:
            return web.Response(
                status=502, text="<html>Bad Gateway</html>", content_type="text/html"
            )
        response = await act(request)
        if self._take(method, path, "drop_after") is not None:
            return _hang_up(request)
        if self._take(method, path, "cut") is not None:
            return await _half(request, response)
        return response

    def _refuse(self, fault: Fault) -> web.Response:
        problem = {
            429: problems.rate_limited(),
            503: problems.unavailable("scripted trouble"),
        }.get(fault.code) or problems.internal_error()
        problem.status = fault.code
        response = problem.response(self._manager.release)
        if fault.retry_after is not None:
            response.headers["Retry-After"] = f"{fault.retry_after:g}"
        return response


def _hang_up(request: web.Request) -> web.Response:
    """Close the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    body = response.body if isinstance(response, web.Response) else None
    if isinstance(body, IOBasePayload):  # a large one
        body = body.decode().encode()
    if not isinstance(body, bytes):
        return response
    half = web.StreamResponse(status=response.status, headers=response.headers)
    half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return half
