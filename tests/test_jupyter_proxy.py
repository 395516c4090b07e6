"""Under a Jupyter server with jupyter-server-proxy, an app's link leads a browser to the app.

The server has the address that JupyterHub gives to a user's server. Where jupyter-server-proxy is
not installed, there is nothing to be tested here.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from jupyter_client.asynchronous import AsyncKernelClient

from tests.test_tunnel import free_port

pytest.importorskip("jupyter_server", reason="there is no Jupyter server")
pytest.importorskip("jupyter_server_proxy", reason="jupyter-server-proxy is not installed")

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


@pytest.fixture
async def jupyter(tmp_path, manager) -> AsyncIterator[Jupyter]:
    token, port, runtime = secrets.token_hex(16), free_port(), tmp_path / "runtime"
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("BACKEND", "JUPYTER"))}
    environ |= {
        "HOME": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTERHUB_SERVICE_PREFIX": BASE,
        "JUPYTER_TOKEN": token,
        "BACKEND_ENDPOINT": manager.url,
        "BACKEND_ACCESS_KEY": manager.access_key,
        "BACKEND_SECRET_KEY": manager.secret_key,
        "BACKENDAI_KERNEL_STATE": str(tmp_path / "state"),
    }
    with (tmp_path / "jupyter.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "jupyter_server",
                f"--port={port}",
                f"--ServerApp.base_url={BASE}",
            ),
            *("--ServerApp.open_browser=False", "--ServerApp.allow_root=True"),
            cwd=tmp_path,
            env=environ,
            stdout=log,
            stderr=log,
        )
    try:
        found = Jupyter(f"http://127.0.0.1:{port}", token, runtime)
        async with asyncio.timeout(LIMIT):
            while True:
                assert process.returncode is None, (tmp_path / "jupyter.log").read_text()
                try:
                    await found.ask("GET", f"{BASE}api")
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.1)
        yield found
    finally:
        process.terminate()
        await process.wait()


async def test_the_link_of_an_app_leads_a_browser_through_the_jupyter_server(jupyter, api):
    port = free_port()
    await api.start("train", config={"preopen_ports": [port]})
    await api.run("train", PAGE.format(port))
    said = await jupyter.run(
        f"%load_ext bai\nfound = %bai app train {port} -b 0\nprint('link', found['link'])"
    )
    (link,) = re.findall(r"link (/\S+)", said) or [said]
    status, page = await jupyter.ask("GET", f"{link}a/page?q=1")
    stranger, _ = await jupyter.ask("GET", f"{link}a/page?q=1", token=False)

    assert re.fullmatch(rf"{BASE}proxy/\d+/", link), said
    assert (status, page) == (200, "train /a/page?q=1")
    assert stranger in (302, 403)  # to the login
