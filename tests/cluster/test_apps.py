"""Apps of sessions on a real cluster, at ports of this computer."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from backendai_kernel.apps import App, find_app, list_apps, proxied_link
from backendai_kernel.client import Client
from backendai_kernel.errors import NotFound, ServerError
from backendai_kernel.listing import find_session
from backendai_kernel.model import Session
from backendai_kernel.opened import OpenApp, close_app, list_open, open_app
from backendai_kernel.run import collect
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session
from backendai_kernel.tunnel import Bind, Tunnel
from tests.signed import until

pytestmark = pytest.mark.cluster

LIMIT = 180  # seconds
ECHO, LATE = 12345, 12346

SERVERS = f"""
import socket, threading, time

def echo(wire):
    while data := wire.recv(2**16):
        wire.sendall(data)
    wire.close()

def late(wire):
    wire.recv(5)
    for _ in range(5):
        time.sleep(0.1)
        wire.sendall(b"x" * 100_000)
    wire.close()

def serve(port, handle):
    listening = socket.create_server(("", port), backlog=64)
    while True:
        wire, _ = listening.accept()
        threading.Thread(target=handle, args=(wire,), daemon=True).start()

for port, handle in (({ECHO}, echo), ({LATE}, late)):
    threading.Thread(target=serve, args=(port, handle), daemon=True).start()
"""


@pytest.fixture(autouse=True)
async def in_time() -> AsyncIterator[None]:
    async with asyncio.timeout(LIMIT):
        yield


@pytest.fixture
async def served(client: Client) -> AsyncIterator[ComputeSession]:
    """A session in which an echo listens, and one that answers late."""
    request = Request("python", preopen_ports=(ECHO, LATE))
    session = await start_session(client, request, f"apps-{secrets.token_hex(4)}")
    try:
        await collect(session.run(SERVERS))
        yield session
    finally:
        await session.destroy()


async def opened(client: Client, session: Session, name: str, state: Path) -> OpenApp:
    app = App(await find_app(client, session, name))
    return await open_app(client, session, app, state=state, bind=Bind(port=0))


async def said(port: int, data: bytes, *, is_all: bool = False) -> bytes:
    """Send data and return as much of what comes, or all that comes after an end of ours."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**18)

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        if is_all:
            writer.write_eof()

    sending = asyncio.create_task(send())
    came = await (reader.read() if is_all else reader.readexactly(len(data)))
    await sending
    writer.close()
    return came


async def test_apps_are_listed_opened_and_closed_with_the_session(client, served, tmp_path):
    session = await find_session(client, served.id)
    apps = {app.name: app.protocol for app in await list_apps(client, session)}
    with pytest.raises(NotFound) as unknown:
        await find_app(client, session, "jupyterlb")
    with pytest.raises(ServerError) as no_proxy:
        await proxied_link(client, session, App(await find_app(client, session, "ttyd")))

    data = os.urandom(20_000_003)
    echo = await opened(client, session, str(ECHO), tmp_path)
    late = await opened(client, session, str(LATE), tmp_path)
    came = await said(echo.port, data)
    many = await asyncio.gather(*(said(echo.port, bytes([n]) * 50_000) for n in range(30)))
    rest = await said(late.port, b"hello", is_all=True)

    terminal = await opened(client, session, "ttyd", tmp_path)
    async with aiohttp.ClientSession() as http, http.get(terminal.url) as page:
        title, status = await page.text(), page.status
    sshd = await opened(client, session, "sshd", tmp_path)
    reader, writer = await asyncio.open_connection("127.0.0.1", sshd.port)
    greeting = await reader.readline()
    writer.close()
    there = len(list_open(tmp_path))
    closed = await close_app(sshd, state=tmp_path)

    notes: list[str] = []
    watched = App(await find_app(client, session, str(ECHO)), {"--other": None})
    await open_app(client, session, watched, state=tmp_path, on_note=notes.append)
    await served.destroy()
    await until(lambda: notes and not list_open(tmp_path), within=60)

    assert (apps["sshd"], apps["ttyd"], apps[str(ECHO)]) == ("tcp", "http", "preopen")
    assert "Did you mean jupyterlab?" in unknown.value.hint
    assert no_proxy.value.status == 503 and "coordinator" in str(no_proxy.value)
    assert hashlib.sha256(came).digest() == hashlib.sha256(data).digest()
    assert many == [bytes([n]) * 50_000 for n in range(30)]
    assert len(rest) == 500_000
    assert (status, "ttyd" in title) == (200, True)
    assert greeting.startswith(b"SSH-2.0-")
    assert (there, closed) == (4, True)
    assert notes[-1].startswith(f"The session {session.name} has ended")


async def test_an_app_whose_program_is_not_there_is_told(client, served):
    session = await find_session(client, served.id)
    notes: list[str] = []
    app = App(await find_app(client, session, "jupyterlab"))
    async with (
        Tunnel(client, session, app, bind=Bind(port=0), on_note=notes.append) as tunnel,
        aiohttp.ClientSession() as http,
        http.get(tunnel.url) as page,
    ):
        status, text = page.status, await page.text()

    assert status == 503 and len(notes) == 1
    assert notes[0].startswith("The app jupyterlab did not start: ")
    assert "did not start" in text
