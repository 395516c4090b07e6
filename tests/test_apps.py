"""What an app is, what becomes of refusals, and where a browser finds what is open."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from backendai_kernel.apps import App, explained, is_closed_way
from backendai_kernel.doors import link_of, offered_table, open_facts, open_table
from backendai_kernel.errors import BackendError, ConnectError, ProtocolError, from_problem
from backendai_kernel.links import JupyterServer, find_server
from backendai_kernel.model import ServicePort, Session
from backendai_kernel.opened import OpenApp

OPENED = OpenApp(
    *("train", "0123456789abcdef", "jupyterlab", "http", "http://x"),
    *("127.0.0.1", 8080, "http://127.0.0.1:8080/lab?a=b&c", 1, 2, 3.0),
)
HUB = JupyterServer("/user/jo/", is_remote=True, has_proxy=True)


# -- apps -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "address"),
    [
        (ServicePort("jupyter", "http"), "http://127.0.0.1:80"),
        (ServicePort("sshd", "tcp"), "tcp://127.0.0.1:80"),
        (ServicePort("1234", "preopen"), "http://127.0.0.1:80"),
        (
            ServicePort("lab", "http", (), "{protocol}://{host}:{port}/?token=x"),
            "http://127.0.0.1:80/?token=x",
        ),
        # Only what stands behind the port is taken over, so it can lead nowhere else.
        (
            ServicePort("x", "http", (), "https://elsewhere.example/{port}evil"),
            "http://127.0.0.1:80",
        ),
        (
            ServicePort("x", "http", (), "{protocol}://{host}:{port}@elsewhere"),
            "http://127.0.0.1:80",
        ),
    ],
)
def test_an_app_has_an_address_at_a_port(port, address):
    assert port.address("127.0.0.1", 80) == address


def test_an_address_of_ipv6_is_put_in_brackets():
    assert ServicePort("x", "http").address("::1", 80) == "http://[::1]:80"


@pytest.mark.parametrize(
    ("error", "is_closed"),
    [
        (from_problem(502, {"title": "HTTP 502 Bad Gateway"}), True),
        (from_problem(400, {"title": "HTTP 400 Bad Request"}), True),
        (from_problem(404, {"type": "https://api.backend.ai/probs/url-not-found"}), True),
        (from_problem(404, {"type": "https://api.backend.ai/probs/object-not-found"}), False),
        (from_problem(500, {"title": "HTTP 500"}), False),
        (from_problem(401, {"title": "HTTP 401"}), False),
        (ProtocolError("What answered is no websocket."), True),
        (ConnectError("Nothing answers."), False),
    ],
)
def test_a_closed_way_is_told_from_an_app_that_is_not_there(error, is_closed):
    assert is_closed_way(error) is is_closed


def test_the_reason_why_an_app_does_not_start_is_the_servers():
    problem = {
        "type": "https://api.backend.ai/probs/internal-server-error",
        "msg": "Failed to launch the app service",
        "data": "argument --port is not allowed",
    }
    port = ServicePort("lab", "http", allowed_arguments=("--dir",))
    told = explained(from_problem(500, problem), App(port, {"--port": "1"}))

    assert told.message == "The app lab did not start: argument --port is not allowed."
    assert "It may be started with --dir." in told.hint
    assert explained(BackendError("other"), App(port)).message == "other"


# -- where a browser is -----------------------------------------------------------------------


@asynccontextmanager
async def jupyter(status: int, base: str = "/") -> AsyncIterator[int]:
    """A server that answers as Jupyter does with jupyter-server-proxy (302) or without (404)."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    assert asked == [f"GET {base}server-proxy/servers-info HTTP/1.1".encode()]


@pytest.mark.parametrize(
    ("status", "host", "hub", "expected"),
    [
        (302, "localhost", "", (False, True)),
        (404, "localhost", "", (False, False)),
        (403, "0.0.0.0", "", (True, True)),
        (200, "127.0.0.1", "/user/jo", (True, True)),
        (404, "127.0.0.1", "/user/jo/", (True, False)),
    ],
)
async def test_the_jupyter_server_is_asked_whether_it_leads_browsers_on(
    tmp_path, monkeypatch, status, host, hub, expected
):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    async with jupyter(status, "/user/jo/") as port:
        told = {
            "base_url": "/user/jo/",
            "hostname": host,
            "url": f"http://127.0.0.1:{port}/user/jo/",
            "token": "not-to-be-sent",
        }
        (tmp_path / f"jpserver-{os.getpid()}.json").write_text(json.dumps(told))
        environ = {"JPY_PARENT_PID": str(os.getpid()), "JUPYTERHUB_SERVICE_PREFIX": hub}
        server = await find_server(environ)

    assert server is not None
    assert (server.is_remote, server.has_proxy) == expected
    assert server.link(8080, "/lab?a=b") == "/user/jo/proxy/8080/lab?a=b"
    assert "not-to-be-sent" not in repr(server)


async def test_without_a_jupyter_server_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))

    assert await find_server({}) is None
    assert await find_server({"JPY_PARENT_PID": "1"}) is None


async def test_a_hubs_server_that_says_nothing_of_itself_is_known_by_its_prefix(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    server = await find_server({"JUPYTERHUB_SERVICE_PREFIX": "/user/jo/"})

    assert server is not None and server.is_remote and server.base == "/user/jo/"


def test_the_link_is_one_that_the_browser_reaches():
    here = JupyterServer("/", has_proxy=True)
    closed = replace(HUB, has_proxy=False)

    assert link_of(OPENED, None) == link_of(OPENED, here) == OPENED.url
    assert link_of(OPENED, HUB) == "/user/jo/proxy/8080/lab?a=b&c"
    assert link_of(OPENED, closed) == ""
    assert link_of(replace(OPENED, url="tcp://127.0.0.1:8080"), HUB) == ""


def test_an_open_port_is_told_with_its_links():
    at_home = open_facts(OPENED, None)
    at_hub = open_facts(replace(OPENED, was_taken=80), HUB, is_shared=True)
    stranded = open_facts(OPENED, replace(HUB, has_proxy=False))

    assert 'href="http://127.0.0.1:8080/lab?a=b&amp;c" target="_blank"' in at_home._repr_html_()
    assert at_hub._repr_html_().count("<a ") == 1
    assert 'href="/user/jo/proxy/8080/lab?a=b&amp;c"' in at_hub._repr_html_()
    assert "Port 80 is taken" in at_hub.note and "Everybody" in at_hub.note
    assert at_hub["link"] == "/user/jo/proxy/8080/lab?a=b&c"
    assert "<a " not in stranded._repr_html_() and stranded["link"] is None
    assert "Install jupyter-server-proxy" in stranded.note


def test_what_is_offered_says_what_of_it_is_open():
    ports = [ServicePort("jupyterlab", "http", (8080,)), ServicePort("sshd", "tcp", (2200,))]
    session = Session(id=OPENED.session_id, name="train")
    table = offered_table(session, ports, [OPENED])
    listed = open_table([OPENED], HUB)

    assert [row["url"] for row in table.to_dict()["items"]] == [OPENED.url, None]
    assert table._repr_html_().count("<a ") == listed._repr_html_().count("<a ") == 1
    assert "/user/jo/proxy/8080" in listed._repr_html_()
    assert "no apps" in repr(offered_table(session, [], []))
