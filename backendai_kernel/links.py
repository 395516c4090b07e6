"""Where a user's browser reaches what listens on the computer of the Jupyter server.

A notebook's browser may be on another computer than its kernel: under JupyterHub, or before a
Jupyter server elsewhere. `jupyter-server-proxy`, where it is installed, leads such a browser on,
at an address below that of the server.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_ANSWERS_WITHIN = 2.0
_HERE = ("localhost", "127.0.0.1", "::1", "")


@dataclass(frozen=True, slots=True)
class JupyterServer:
    """The Jupyter server that this kernel was started by.

    Attributes:
        base: Path that its addresses begin with, such as ``/user/jo/``.
        url: Where this computer reaches it; ``""`` when that is not known.
        is_remote: Browsers come from other computers.
        has_proxy: It leads them on to ports of its own computer.
    """

    base: str
    url: str = ""
    is_remote: bool = False
    has_proxy: bool = False

    def link(self, port: int, path: str = "") -> str:
        """Return the link to a port, relative to the page that shows the notebook."""
        return f"{self.base}proxy/{port}{path or '/'}"


async def find_server(environ: Mapping[str, str]) -> JupyterServer | None:
    """Return the Jupyter server of this kernel; ``None`` where there is none, as in a terminal."""
    return await asyncio.to_thread(_find, dict(environ))


def _find(environ: Mapping[str, str]) -> JupyterServer | None:
    told = _told(environ.get("JPY_PARENT_PID", ""))
    prefix = environ.get("JUPYTERHUB_SERVICE_PREFIX", "")
    if not told and not prefix:
        return None
    base = prefix or str(told.get("base_url") or "/")
    base = f"/{base.strip('/')}/" if base.strip("/") else "/"
    url = str(told.get("url") or "")
    host = str(told.get("hostname") or "")
    return JupyterServer(
        base,
        url,
        is_remote=bool(prefix) or host not in _HERE,
        has_proxy=_has_proxy(url),
    )


def _told(pid: str) -> dict[str, Any]:
    """Return what a server says of itself in its runtime file."""
    from jupyter_core.paths import jupyter_runtime_dir

    if not pid.isdigit():
        return {}
    try:
        found = json.loads((Path(jupyter_runtime_dir()) / f"jpserver-{pid}.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _has_proxy(url: str) -> bool:
    """Ask the server for a page that only `jupyter-server-proxy` has.

    No login is needed to be told that there is none. Where the server cannot be asked, what is
    installed beside this kernel has to do.
    """
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname:
        try:
            return _status(parts.scheme, parts.hostname, parts.port, parts.path) != 404
        except (OSError, http.client.HTTPException):
            pass
    return importlib.util.find_spec("jupyter_server_proxy") is not None


def _status(scheme: str, host: str, port: int | None, base: str) -> int:
    connection: http.client.HTTPConnection
    if scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False  # nothing is told to it, and it is on this computer
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            host, port, timeout=_ANSWERS_WITHIN, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=_ANSWERS_WITHIN)
    try:
        connection.request("GET", f"{base.rstrip('/')}/server-proxy/servers-info")
        return connection.getresponse().status
    finally:
        connection.close()
