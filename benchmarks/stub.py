"""A manager that answers at once, so that what is measured is the kernel's own share.

``python stub.py`` prints its URL and serves until its standard input is closed. Any keypair will
do. A cell is answered by its first line:

* ``#flood BYTES PIECE``: that much text, one piece an answer;
* ``#line``: a line with the time at which it is answered, in ns of the monotonic clock, then a
  held poll;
* ``#spin``: held until it is interrupted;
* anything else: the value ``2``.

``GET /_stub`` tells how many requests came, and when the last interrupt did.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import zlib
from typing import Any

from aiohttp import web

from backendai_kernel.protocol import envelope

VERSION = {"version": "v9.20250722", "manager": "26.4.16"}
NONCE = re.compile(r"\['main'\]\(shell, '([0-9a-f]+)'\)")
HOLD = 0.3  # seconds that a poll behind a `#line` is held

Console = list[list[Any]]


class Stub:
    """The whole server: one interpreter for whatever sessions there are."""

    def __init__(self) -> None:
        self.nonce = ""
        self.requests: dict[str, int] = {}
        self.interrupted_at = 0
        self.interrupted = asyncio.Event()
        self.runs: dict[str, list[Any]] = {}  # run id → what is left to answer
        self.closing = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.count], client_max_size=2**26)
        app.add_routes(
            [
                web.get("/", self.version),
                web.get("/_stub", self.tell),
                web.post("/session", self.create),
                web.post("/session/{name}", self.execute),
                web.post("/session/{name}/interrupt", self.interrupt),
                web.delete("/session/{name}", self.destroy),
                web.get("/session/{name}/files", self.files),
                web.post("/admin/gql", self.graphql),
                web.get("/config/resource-slots", self.slots),
                web.get("/events/session", self.events),
            ]
        )
        return app

    @web.middleware
    async def count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        kind = str(
            request.match_info.route.resource and request.match_info.route.resource.canonical
        )
        key = f"{request.method} {kind}"
        self.requests[key] = self.requests.get(key, 0) + 1
        return await handler(request)

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response(VERSION)

    async def tell(self, _: web.Request) -> web.Response:
        total = sum(n for kind, n in self.requests.items() if not kind.endswith("/_stub"))
        told = {"total": total, "by": self.requests, "interrupted_at": self.interrupted_at}
        return web.json_response(told)

    async def create(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        created = {
            "sessionId": "11111111-2222-4333-8444-555555555555",
            "sessionName": wanted["name"],
            "status": "RUNNING",
            "servicePorts": [],
            "created": True,
        }
        return web.json_response(created, status=201)

    async def destroy(self, _: web.Request) -> web.Response:
        return web.json_response({"stats": {"status": "terminated"}})

    async def files(self, _: web.Request) -> web.Response:
        some = [{"mode": "lr-x------", "size": 0, "ctime": 0, "mtime": 0, "filename": "0"}]
        listing = {"files": json.dumps(some), "errors": "", "abspath": "/home/work"}
        return web.json_response(listing)

    async def slots(self, _: web.Request) -> web.Response:
        return web.json_response({"cpu": "count", "mem": "bytes"})

    async def graphql(self, _: web.Request) -> web.Response:
        session = {"id": "11111111-2222-4333-8444-555555555555", "status": "RUNNING"}
        page = {"items": [session], "total_count": 1}
        return web.json_response(
            {"data": {"compute_session": session, "compute_session_list": page}, "errors": None}
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await self.closing.wait()
        return response

    async def interrupt(self, _: web.Request) -> web.Response:
        self.interrupted_at = time.monotonic_ns()
        self.interrupted.set()
        return web.Response(status=204)

    async def execute(self, request: web.Request) -> web.Response:
        asked = await request.json()
        run_id = asked.get("run_id") or asked.get("runId")
        if asked["mode"] == "query":
            self.runs[run_id] = self.script(asked["code"])
        steps = self.runs[run_id]
        step = steps.pop(0)
        console = await step() if callable(step) else step
        return web.json_response(
            {
                "result": {
                    "status": "continued" if steps else "finished",
                    "runId": run_id,
                    "exitCode": None if steps else 0,
                    "options": None,
                    "files": [],
                    "console": console,
                }
            }
        )

    def script(self, code: str) -> list[Any]:
        """Return what the polls of a run are answered with, one after the other."""
        if match := NONCE.search(code):
            self.nonce = match[1]
            return [[self.envelope("hello", {"is_fresh": True, "mark": ""})]]
        if code.startswith("#%bai:"):  # what the kernel has to say of the cell
            code = code.partition("\n")[2]
        word, *numbers = code.partition("\n")[0].split() or [""]
        if word == "#flood":
            size, piece = map(int, numbers)
            line = "x" * 99 + "\n"
            text = (line * (size // len(line) + 1))[:size]
            return [[["stdout", text[at : at + piece]]] for at in range(0, size, piece)]
        if word == "#line":
            return [self.line, self.held]
        if word == "#spin":
            self.interrupted.clear()
            return [[["stdout", "go\n"]], self.spun]
        value = {"data": {"text/plain": "2"}, "metadata": {}, "execution_count": 1}
        return [[self.envelope("execute_result", value)]]

    async def line(self) -> Console:
        return [["stdout", f"{time.monotonic_ns()}\n"]]

    async def held(self) -> Console:
        await asyncio.sleep(HOLD)
        return []

    async def spun(self) -> Console:
        await self.interrupted.wait()
        error = {"ename": "KeyboardInterrupt", "evalue": "", "traceback": ["KeyboardInterrupt"]}
        return [self.envelope("error", error)]

    def envelope(self, kind: str, content: dict[str, Any]) -> list[Any]:
        """Return a console record as a session's taught interpreter sends it."""
        text = json.dumps([kind, content, {}, "", []]).replace(">", "\\u003e")
        checksum = zlib.crc32(text.encode())
        comment = f"<!--bai:{envelope.VERSION}:{self.nonce}:1:0:1:{checksum}:{text}-->"
        return ["media", ["image/svg+xml", comment]]


async def serve() -> None:
    stub = Stub()
    runner = web.AppRunner(stub.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    stub.closing.set()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
