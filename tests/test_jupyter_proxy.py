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

import aiohttp
import pytest

from tests.jupyter import BASE, LIMIT, PAGE, Jupyter
from tests.test_tunnel import free_port

pytest.importorskip("jupyter_server", reason="there is no Jupyter server")
pytest.importorskip("jupyter_server_proxy", reason="jupyter-server-proxy is not installed")


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
