"""A port of this computer that leads into a session: bytes, ends, troubles."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from backendai_kernel.accepted import TcpEnd
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import ConfigError, NotFound
from backendai_kernel.listing import find_session
from backendai_kernel.local.appproxy import AppProxy
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.stdio import StdioEnd, _Input
from backendai_kernel.tunnel import App, Bind, Tunnel, find_app, list_apps
from tests.conftest import ROOMY
from tests.signed import Signed, signed, until

LIMIT = 60.0
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
async def in_time() -> AsyncIterator[None]:
    async with asyncio.timeout(LIMIT):
        yield


@pytest.fixture
async def client(manager: LocalManager) -> AsyncIterator[Client]:
    config = Config(
        endpoint=manager.url, access_key=manager.access_key, secret_key=manager.secret_key
    )
    async with Client(config) as client:
        yield client


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@asynccontextmanager
async def app(
    api: Signed, client: Client, handler: Handler, **options: object
) -> AsyncIterator[Tunnel]:
    """A session whose pre-opened port is served by *handler*, and a tunnel to it."""
    port = free_port()
    server = await asyncio.start_server(handler, "127.0.0.1", port)
    await api.start("apps", config={"preopen_ports": [port]})
    session = await find_session(client, "apps")
    found = await find_app(client, session, str(port))
    async with server, Tunnel(client, session, App(found), bind=Bind(port=0), **options) as tunnel:
        yield tunnel


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_bytes_come_back_as_they_were_both_ways_at_once(api, client):
    data = os.urandom(20_000_003)
    async with app(api, client, echo) as tunnel:
        reader, writer = await asyncio.open_connection(*tunnel.address)

        async def send() -> None:
            writer.write(data)
            await writer.drain()

        sending = asyncio.create_task(send())
        came = await reader.readexactly(len(data))
        await sending
        writer.close()

    assert hashlib.sha256(came).digest() == hashlib.sha256(data).digest()


async def test_a_tunnel_opens_though_the_clocks_differ(api, client):
    async with app(api, client, echo) as tunnel:
        api.manager.faults.skew_clock(3600)
        reader, writer = await asyncio.open_connection(*tunnel.address)
        writer.write(b"word")
        came = await reader.readexactly(4)
        writer.close()

    assert came == b"word"
    assert client.clock.correction == pytest.approx(3600, abs=5)


async def test_small_words_up_are_not_hurt_by_a_flood_down(api, client):
    heard = bytearray()
    said, finished = os.urandom(400_000), asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def listen() -> None:
            while len(heard) < len(said):
                heard.extend(await reader.read(2**16))
            finished.set()

        listening = asyncio.create_task(listen())
        while not finished.is_set():
            writer.write(bytes(2**18))
            await writer.drain()
        await listening
        writer.close()

    async with app(api, client, flood) as tunnel:
        reader, writer = await asyncio.open_connection(*tunnel.address)

        async def drop() -> None:
            while await reader.read(2**18):
                pass

        dropping = asyncio.create_task(drop())
        for at in range(0, len(said), 97):
            writer.write(said[at : at + 97])
            await writer.drain()
            await asyncio.sleep(0)
        await dropping
        writer.close()

    assert bytes(heard) == said


async def test_fifty_connections_at_once_do_not_mix(api, client):
    async def talk(tunnel: Tunnel, number: int) -> bool:
        reader, writer = await asyncio.open_connection(*tunnel.address)
        data = bytes([number]) * 30_000
        writer.write(data)
        came = await reader.readexactly(len(data))
        writer.close()
        return came == data

    async with app(api, client, echo) as tunnel:
        answers = await asyncio.gather(*(talk(tunnel, number) for number in range(50)))

    assert answers == [True] * 50


async def test_what_the_app_says_after_our_last_word_arrives(api, client):
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        for _ in range(5):
            await asyncio.sleep(0.1)
            writer.write(b"x" * 100_000)
        writer.close()

    async with app(api, client, slow) as tunnel:
        reader, writer = await asyncio.open_connection(*tunnel.address)
        writer.write(b"hello")
        writer.write_eof()
        came = await reader.read()
        writer.close()

    assert len(came) == 500_000


async def test_a_connection_ends_when_the_app_ends_it(api, client):
    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"goodbye")
        writer.close()

    async with app(api, client, short) as tunnel:
        reader, writer = await asyncio.open_connection(*tunnel.address)
        came = await reader.read()
        writer.close()

    assert came == b"goodbye"


async def test_the_app_sees_the_end_when_we_have_gone(api, client):
    come, gone = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        come.set()
        while await reader.read(2**16):
            pass
        gone.set()
        writer.close()

    async with app(api, client, listen) as tunnel:
        _, writer = await asyncio.open_connection(*tunnel.address)
        writer.write(b"x")
        await writer.drain()
        await come.wait()
        writer.close()
        await gone.wait()

    assert tunnel.connections == 0


@pytest.mark.parametrize("who", ["the app", "we"])
async def test_memory_stays_flat_when_one_side_does_not_read(api, client, who):
    import psutil

    size = 100_000_000 // 2**18 * 2**18
    reading, whole = asyncio.Event(), asyncio.Event()
    taken = 0

    async def app_side(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        if who == "we":
            await pour(writer)
        else:
            await reading.wait()
            while data := await reader.read(2**18):
                taken += len(data)
                if taken == size:
                    whole.set()
            writer.close()

    async def pour(writer: asyncio.StreamWriter) -> None:
        piece = bytes(2**18)
        for _ in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()
        writer.close()

    async with app(api, client, app_side) as tunnel:
        before = psutil.Process().memory_info().rss
        reader, writer = await asyncio.open_connection(*tunnel.address, limit=2**18)
        pouring = asyncio.create_task(pour(writer)) if who == "the app" else None
        peak = 0
        for _ in range(20):
            await asyncio.sleep(0.05)
            peak = max(peak, psutil.Process().memory_info().rss - before)
        reading.set()
        if who == "we":
            while data := await reader.read(2**18):
                taken += len(data)
            writer.close()
        else:
            await pouring
            await whole.wait()

    assert taken == size
    assert peak < 40e6


async def test_a_lost_websocket_ends_its_connection_alone(api, client, manager):
    notes: list[str] = []
    async with app(api, client, echo, on_note=notes.append) as tunnel:
        lost, writer = await asyncio.open_connection(*tunnel.address)
        writer.write(b"1")
        await lost.readexactly(1)
        manager.faults.close_websocket()
        writer.write(b"2")
        with pytest.raises(ConnectionError):
            await lost.readexactly(1)
        writer.close()
        reader, writer = await asyncio.open_connection(*tunnel.address)
        writer.write(b"3")
        came = await reader.readexactly(1)
        writer.close()

    assert came == b"3"
    assert "lost" in notes[0]


class Wire:
    """What lies between this computer and the server: it counts, and can go dead."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent = 0  # bytes to the server
        self.is_dead = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_them = await asyncio.open_connection("127.0.0.1", self._port)

        async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter, up: int) -> None:
            while data := await source.read(2**16):
                self.sent += up * len(data)
                if not self.is_dead:
                    to.write(data)
            to.close()

        await asyncio.gather(pump(reader, to_them, 1), pump(theirs, writer, 0))


@pytest.fixture
async def wire(manager, monkeypatch) -> AsyncIterator[tuple[Wire, Client]]:
    """A wire to the manager, and a client that uses it; idle connections are looked at often."""
    monkeypatch.setattr("backendai_kernel.tunnel.PING_EVERY", 0.3)
    wire = Wire(int(manager.url.rpartition(":")[2]))
    async with await asyncio.start_server(wire, "127.0.0.1", 0) as server:
        config = Config(
            endpoint=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            access_key=manager.access_key,
            secret_key=manager.secret_key,
        )
        async with Client(config) as client:
            yield wire, client


async def test_an_idle_connection_is_kept_alive(api, wire):
    between, client = wire
    async with app(api, client, echo) as tunnel:
        reader, writer = await asyncio.open_connection(*tunnel.address)
        writer.write(b"1")
        await reader.readexactly(1)
        before = between.sent
        await until(lambda: between.sent >= before + 5 * 6)  # five empty pings of six bytes
        writer.write(b"2")
        came = await reader.readexactly(1)
        writer.close()

    assert came == b"2"


async def test_a_server_that_does_not_answer_any_more_ends_the_connection(api, wire):
    notes: list[str] = []
    between, client = wire
    async with app(api, client, echo, on_note=notes.append) as tunnel:
        reader, writer = await asyncio.open_connection(*tunnel.address)
        writer.write(b"1")
        await reader.readexactly(1)
        between.is_dead = True
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        between.is_dead = False
        writer.close()
        reader, writer = await asyncio.open_connection(*tunnel.address)
        writer.write(b"2")
        came = await reader.readexactly(1)
        writer.close()

    assert notes == ["The server does not answer any more."]
    assert came == b"2"


async def test_the_sessions_end_is_told(api, client, manager):
    async with app(api, client, echo) as tunnel:
        ended = asyncio.create_task(tunnel.ended())
        reader, writer = await asyncio.open_connection(*tunnel.address)
        writer.write(b"1")
        await reader.readexactly(1)
        await api("DELETE", "/session/apps")
        said = await ended
        writer.close()

    assert said.startswith("The session apps has ended")


async def test_nothing_that_listens_is_told(api, client):
    notes: list[str] = []
    await api.start("empty", config={"preopen_ports": [free_port()]})
    session = await find_session(client, "empty")
    *_, port = await list_apps(client, session)
    async with Tunnel(client, session, App(port), on_note=notes.append) as tunnel:
        reader, writer = await asyncio.open_connection(*tunnel.address)
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        writer.close()

    assert tunnel.address[1] not in port.ports
    assert notes == ["Nothing listens on that port in the session."]


async def test_an_unknown_app_is_told_with_what_there_is(api, client):
    await api.start("offers", config={"preopen_ports": [12345]})
    with pytest.raises(NotFound) as caught:
        await find_app(client, await find_session(client, "offers"), "1234")

    assert caught.value.message == "The session offers has no app '1234'."
    assert "Did you mean 12345?" in caught.value.hint
    assert "12345 (preopen)" in caught.value.hint


async def test_a_port_that_is_taken_is_replaced_and_told(api, client):
    async with app(api, client, echo) as first:
        again = Tunnel(client, first._session, first._app, bind=Bind(port=first.address[1]))
        async with again:
            taken, own = again.was_taken, again.address

    assert taken == first.address[1]
    assert own[1] != taken
    assert own[0] == "127.0.0.1"


@pytest.mark.parametrize("is_old", [False, True])
async def test_where_no_websockets_pass_a_browser_is_led_to_the_app_proxy(tmp_path, is_old):
    notes: list[str] = []

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        writer.close()

    proxy = AppProxy(is_old=is_old)
    async with LocalManager(tmp_path / "with-proxy", slots=ROOMY, app_proxy=proxy) as manager:
        config = Config(
            endpoint=manager.url, access_key=manager.access_key, secret_key=manager.secret_key
        )
        async with (
            Client(config) as client,
            signed(manager) as api,
            aiohttp.ClientSession() as http,
        ):
            async with app(api, client, page, on_note=notes.append) as tunnel:
                async with http.get(tunnel.url) as before:
                    directly = await before.text()
                manager.faults.refuse_websockets()
                async with http.get(tunnel.url) as after:
                    led, to = await after.text(), after.url

    assert (directly, led) == ("hello", "hello")
    assert tunnel.address[1] != to.port and proxy.opened == 1
    assert notes == ["Websockets do not pass: browsers are led to the cluster's app proxy."]


async def test_where_no_websockets_pass_and_there_is_no_app_proxy_that_is_told(
    api, client, manager
):
    notes: list[str] = []
    manager.faults.refuse_websockets()
    async with app(api, client, echo, on_note=notes.append) as tunnel:
        reader, writer = await asyncio.open_connection(*tunnel.address)
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        writer.close()

    assert len(notes) == 1 and notes[0].startswith("Connecting to the app")


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("8080", Bind("127.0.0.1", 8080)),
        ("0.0.0.0:1", Bind("0.0.0.0", 1)),
        ("[::1]:80", Bind("::1", 80)),
        (":0", Bind("127.0.0.1", 0)),
    ],
)
def test_a_place_to_listen_is_read(text, bind):
    assert Bind.parse(text) == bind


@pytest.mark.parametrize("text", ["", "x", "localhost", "1:99999", "1:-1"])
def test_what_is_no_place_to_listen_is_refused(text):
    with pytest.raises(ConfigError, match="no port to listen on"):
        Bind.parse(text)


async def test_what_is_read_before_the_websocket_is_there_arrives_first(api, client, monkeypatch):
    made = TcpEnd.connection_made

    def eager(end: TcpEnd, transport: asyncio.Transport) -> None:
        made(end, transport)
        transport.resume_reading()  # before Python 3.11.4 it reads whatever it was told

    monkeypatch.setattr(TcpEnd, "connection_made", eager)
    data = os.urandom(2**20)
    async with app(api, client, echo) as tunnel:
        reader, writer = await asyncio.open_connection(*tunnel.address[:2])
        writer.write(data)
        came = await reader.readexactly(len(data))
        writer.close()

    assert came == data


class Sent:
    """Stands for the websocket, and keeps what is sent there."""

    def __init__(self) -> None:
        self.data = b""

    def send(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        """Nothing is open."""


async def test_what_standard_input_has_before_the_websocket_is_there_arrives_first():
    end, sent = StdioEnd(), Sent()
    source, sink = os.pipe()
    with os.fdopen(source, "rb") as file:
        await asyncio.get_running_loop().connect_read_pipe(lambda: _Input(end), file)
        end.source.resume_reading()  # before Python 3.11.4 it reads whatever it was told
        os.write(sink, b"first, ")
        await until(lambda: bool(end.early))
        os.write(sink, b"second")
        for _ in range(5):
            await asyncio.sleep(0)
        held = bytes(end.early)
        end.begin(sent)
        await until(lambda: sent.data.endswith(b"second"))
        os.close(sink)
        end.source.close()

    assert held == b"first, "
    assert sent.data == b"first, second"
