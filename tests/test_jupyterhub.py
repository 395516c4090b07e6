"""Under a JupyterHub, an app's link leads a browser to the app.

The hub is a whole one: its proxy, the server of a user, a kernel there. ``make hub`` installs what
it takes; where that is missing, there is nothing to be tested here.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.jupyter import PAGE, Jupyter
from tests.test_tunnel import free_port

pytest.importorskip("jupyterhub", reason="there is no JupyterHub")
pytestmark = pytest.mark.skipif(
    not shutil.which("configurable-http-proxy"), reason="there is no proxy for JupyterHub"
)

LIMIT = 150  # seconds
SCOPES = ["admin:users", "admin:servers", "tokens", "access:servers"]
CONFIG = """
c = get_config()
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.auth_token = "{token}"
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.Spawner.environment = {environ!r}
c.Spawner.args = ["--allow-root"]
c.Spawner.notebook_dir = "{folder}"
c.Spawner.start_timeout = c.Spawner.http_timeout = 120
c.JupyterHub.services = [{{"name": "test-service", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [
    {{"name": "test-role", "scopes": {scopes!r}, "services": ["test-service"]}}
]
"""


@pytest.fixture
async def hub(tmp_path, manager) -> AsyncIterator[Jupyter]:
    """A hub on which the server of the user ``jo`` runs."""
    token, port = secrets.token_hex(16), free_port()
    environ = {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "BACKEND_ENDPOINT": manager.url,
        "BACKEND_ACCESS_KEY": manager.access_key,
        "BACKEND_SECRET_KEY": manager.secret_key,
        "BACKENDAI_KERNEL_STATE": str(tmp_path / "state"),
    }
    config = tmp_path / "hub.py"
    config.write_text(
        CONFIG.format(
            port=port,
            hub_port=free_port(),
            api_port=free_port(),
            token=token,
            folder=tmp_path,
            environ=environ,
            scopes=SCOPES,
        )
    )
    with (tmp_path / "hub.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "jupyterhub", "-f", str(config)),
            cwd=tmp_path,
            env=os.environ | {"PATH": environ["PATH"]},
            stdout=log,
            stderr=log,
        )
    found = Jupyter(f"http://127.0.0.1:{port}", token, tmp_path / "runtime")
    try:
        async with asyncio.timeout(LIMIT):
            while True:
                assert process.returncode is None, (tmp_path / "hub.log").read_text()
                try:
                    if (await found.ask("GET", "/hub/api/"))[0] == 200:
                        break
                except aiohttp.ClientConnectionError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.2)
            await found.ask("POST", "/hub/api/users/jo")
            await found.ask("POST", "/hub/api/users/jo/server")
            while True:
                _, said = await found.ask("GET", "/hub/api/users/jo")
                if json.loads(said)["servers"].get("", {}).get("ready"):
                    break
                await asyncio.sleep(0.2)
        yield found
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_the_link_of_an_app_leads_through_the_hub(hub, api):
    port = free_port()
    await api.start("train", config={"preopen_ports": [port]})
    await api.run("train", PAGE.format(port))
    said = await hub.run(
        f"%load_ext bai\nfound = %bai app train {port} -b 0\nprint('link', found['link'])"
    )
    (link,) = re.findall(r"link (/\S+)", said) or [said]
    status, page = await hub.ask("GET", f"{link}a/page?q=1")
    stranger, _ = await hub.ask("GET", f"{link}a/page?q=1", token=False)

    assert link.startswith("/user/jo/proxy/"), said
    assert (status, page) == (200, "train /a/page?q=1")
    assert stranger == 302  # to the login
