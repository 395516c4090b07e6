"""Apps at ports of this computer: their processes, their records, their ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from backendai_kernel.apps import App, find_app
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import ConfigError
from backendai_kernel.listing import find_session
from backendai_kernel.model import Session
from backendai_kernel.opened import OpenApp, close_app, list_open, open_app
from backendai_kernel.tunnel import Bind
from tests.signed import until
from tests.test_tunnel import echo, free_port

LIMIT = 60.0


@pytest.fixture(autouse=True)
async def in_time() -> AsyncIterator[None]:
    async with asyncio.timeout(LIMIT):
        yield


@pytest.fixture
async def client(manager) -> AsyncIterator[Client]:
    config = Config(
        endpoint=manager.url, access_key=manager.access_key, secret_key=manager.secret_key
    )
    async with Client(config) as client:
        yield client


@pytest.fixture
async def session(api, client) -> AsyncIterator[Session]:
    """A session in which an echo listens on a pre-opened port."""
    port = free_port()
    async with await asyncio.start_server(echo, "127.0.0.1", port):
        await api.start("train", config={"preopen_ports": [port]})
        yield await find_session(client, "train")


@pytest.fixture
async def app(client, session) -> App:
    from backendai_kernel.apps import list_apps

    *_, port = await list_apps(client, session)
    return App(await find_app(client, session, port.name), envs={"TOKEN": "not-to-be-seen"})


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[Path]:
    """A state folder; what is open in it in the end is closed."""
    yield tmp_path / "state"
    for left in list_open(tmp_path / "state"):
        await close_app(left, state=tmp_path / "state")


async def says(opened: OpenApp, word: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(opened.host, opened.port)
    writer.write(word)
    came = await reader.readexactly(len(word))
    writer.close()
    return came


async def test_it_is_open_by_another_process_until_it_is_closed(client, session, app, state):
    opened = await open_app(client, session, app, state=state)
    came = await says(opened, b"hello")
    listed = list_open(state)
    closed = await close_app(opened, state=state)

    assert came == b"hello"
    assert listed == (opened,)
    assert opened.pid != os.getpid() and opened.parent == os.getpid()
    assert closed and list_open(state) == ()
    assert not psutil.pid_exists(opened.pid)
    with pytest.raises(ConnectionError):
        await says(opened, b"x")


async def test_the_same_wish_opens_no_second_port(client, session, app, state):
    first = await open_app(client, session, app, state=state)
    again = await open_app(client, session, app, state=state)
    other = await open_app(client, session, app, state=state, bind=Bind(port=first.port))

    assert again == first
    assert (other.was_taken, other.port != first.port) == (first.port, True)


async def test_no_secret_is_seen_by_others(client, session, app, state):
    opened = await open_app(client, session, app, state=state)
    record = state / "apps" / f"{opened.pid}.json"
    process = psutil.Process(opened.pid)
    seen = " ".join([*process.cmdline(), record.read_text(), repr(opened), repr(app)])
    environ = " ".join(process.environ().values())

    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    assert client.config.secret_key not in seen + environ
    assert "not-to-be-seen" not in seen + environ


async def test_the_sessions_end_closes_it_and_says_so(client, session, app, state, api):
    notes: list[str] = []
    opened = await open_app(client, session, app, state=state, on_note=notes.append)
    await api("DELETE", "/session/train")
    await until(lambda: not list_open(state))
    await until(lambda: notes)

    assert notes[0].startswith("The session train has ended")
    with pytest.raises(ConnectionError):
        await says(opened, b"x")


async def test_another_process_can_close_it_and_its_owner_is_told(client, session, app, state):
    notes: list[str] = []
    opened = await open_app(client, session, app, state=state, on_note=notes.append)
    os.kill(opened.pid, signal.SIGTERM)
    await until(lambda: notes and not opened.is_ours)

    assert notes == ["The port is closed."]
    assert not await close_app(opened, state=state)


PARENT = """
import asyncio, os, sys, time
from pathlib import Path
from backendai_kernel.apps import App, find_app
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.listing import find_session
from backendai_kernel.opened import open_app
async def main():
    config = Config.from_env(os.environ, with_profile=False)
    async with Client(config) as client:
        session = await find_session(client, "train")
        app = App(await find_app(client, session, sys.argv[2]))
        opened = await open_app(client, session, app, state=Path(sys.argv[1]))
        if os.fork() == 0:  # as `multiprocessing` does: it inherits the pipe
            time.sleep(60)
            os._exit(0)
        print(opened.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_it_ends_with_a_parent_that_is_killed(client, session, app, state):
    environ = os.environ | {
        "BACKEND_ENDPOINT": client.config.endpoint,
        "BACKEND_ACCESS_KEY": client.config.access_key,
        "BACKEND_SECRET_KEY": client.config.secret_key,
    }
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(state), app.port.name),
        env=environ,
        stdout=subprocess.PIPE,
    )
    pid = int(await parent.stdout.readline())
    forked = psutil.Process(parent.pid).children()
    there = list_open(state)
    parent.kill()
    try:
        await until(lambda: not list_open(state))
    finally:
        for each in forked:
            each.kill()
        await parent.communicate()

    assert [each.pid for each in there] == [pid]


async def test_a_record_of_a_dead_process_is_no_open_port(client, session, app, state):
    opened = await open_app(client, session, app, state=state)
    record = state / "apps" / f"{opened.pid}.json"
    text = record.read_text()
    await close_app(opened, state=state)
    record.write_text(text)
    (state / "apps" / "7.json").write_text("{")

    assert list_open(state) == ()
    assert not record.exists()
    assert json.loads(text)["session"] == "train"


async def test_what_cannot_be_listened_on_is_told(client, session, app, state):
    with pytest.raises(ConfigError, match=r"Nothing can listen on 192\.0\.2\.1:80"):
        await open_app(client, session, app, state=state, bind=Bind("192.0.2.1", 8080))

    assert list_open(state) == ()


def test_words_mean_a_session_an_app_or_a_port():
    opened = OpenApp(
        *("train", "0123456789abcdef", "jupyterlab", "http", "http://x"),
        *("127.0.0.1", 8080, "http://127.0.0.1:8080/?a=b", 1, 2, 3.0),
    )

    assert opened.is_meant("train") and opened.is_meant("train", "jupyterlab")
    assert opened.is_meant("8080") and opened.is_meant("01234567")
    assert not opened.is_meant("train", "sshd") and not opened.is_meant("0123")
    assert opened.path == "/?a=b"
