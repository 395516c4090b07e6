"""A Jupyter server to be asked, and a page that code of a session serves."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
from jupyter_client.asynchronous import AsyncKernelClient

LIMIT = 60  # seconds
BASE = "/user/jo/"
PAGE = (
    "import http.server, os, threading\n"
    "class Page(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        body = (os.environ['BACKENDAI_SESSION_NAME'] + ' ' + self.path).encode()\n"
    "        self.send_response(200)\n"
    "        self.send_header('Content-Length', str(len(body)))\n"
    "        self.end_headers()\n"
    "        self.wfile.write(body)\n"
    "    def log_message(self, *words): pass\n"
    "served = http.server.ThreadingHTTPServer(('0.0.0.0', {}), Page)\n"
    "threading.Thread(target=served.serve_forever, daemon=True).start()\n"
)


class Jupyter:
    """A Jupyter server's address, its token, and where its kernels' connection files are."""

    def __init__(self, root: str, token: str, runtime: Path) -> None:
        self.root = root
        self.token = token
        self.runtime = runtime

    async def ask(self, method: str, path: str, *, token: bool = True) -> tuple[int, str]:
        headers = {"Authorization": f"token {self.token}"} if token else {}
        async with (
            asyncio.timeout(LIMIT),
            aiohttp.ClientSession() as http,
            http.request(
                method, self.root + path, headers=headers, allow_redirects=False
            ) as answer,
        ):
            return answer.status, await answer.text()

    async def run(self, code: str) -> str:
        """Run code in a kernel that the server starts; return what it prints."""
        status, said = await self.ask("POST", f"{BASE}api/kernels")
        assert status == 201, said
        (found,) = re.findall(r'"id": ?"([^"]+)"', said)
        client = AsyncKernelClient(connection_file=str(self.runtime / f"kernel-{found}.json"))
        client.load_connection_file()
        client.start_channels()
        printed: list[str] = []

        def hear(message: dict) -> None:
            content = message["content"]
            printed.append(content.get("text") or "\n".join(content.get("traceback", ())))

        try:
            await client.wait_for_ready(timeout=LIMIT)
            await client.execute_interactive(code, output_hook=hear, timeout=LIMIT)
        finally:
            client.stop_channels()
        return "".join(printed)
