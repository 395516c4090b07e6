"""A server on a real socket that does not stop talking: a sentence, in time, and no memory."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from backendai_kernel import answers
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import APIError, BackendError, ConnectError, ProtocolError
from backendai_kernel.protocol import calls
from backendai_kernel.relay import Scratch, open_websocket

LIMIT = 60.0
VERSION = b'{"version": "v9.20250722", "manager": "26.4.16"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BLOCK = 2**16


@pytest.fixture(autouse=True)
async def in_time(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(answers, "LARGEST", 8 * 2**20)
    async with asyncio.timeout(LIMIT):
        yield


@asynccontextmanager
async def talking(head: bytes, again: bytes, *, is_version: bool = False) -> AsyncIterator[Client]:
    """A client of a server that tells its version, and to all else *head*, then *again* for ever."""
    sent = 0
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await talk(reader, writer)
        finally:
            writer.transport.abort()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                if asked.startswith(b"GET / ") and not is_version:
                    length = b"Content-Length: %d\r\n\r\n" % len(VERSION)
                    writer.write(OK + length + VERSION)
                    continue
                writer.write(head)
                while again:
                    writer.write(again)
                    sent += len(again)
                    await writer.drain()
                await asyncio.sleep(LIMIT)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with Client(Config(endpoint=url, access_key="A", secret_key="S")) as client:
            yield client
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
    assert sent < 64 * 2**20


def is_a_sentence(error: BackendError) -> bool:
    return 10 < len(error.message) < 1000


@pytest.mark.parametrize("again", [b"[" * BLOCK, b" " * BLOCK, b'{"a":' * 9999, b"9" * BLOCK])
async def test_json_that_has_no_end(again):
    async with talking(OK + b"\r\n", again) as client:
        with pytest.raises(ProtocolError, match="larger than 8 MiB") as caught:
            await client.send(calls.execute("s", "r", "query", ""))

    assert caught.value.message.startswith(calls.execute("s", "r", "query", "").what)


async def test_a_version_that_has_no_end():
    async with talking(OK + b"\r\n", b'{"version": "' + b"9" * BLOCK, is_version=True) as client:
        with pytest.raises(ProtocolError, match="larger than 8 MiB"):
            await client.version()


async def test_an_answer_that_grows_when_it_is_unpacked():
    packed = gzip.compress(bytes(40 * 2**20))
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with talking(head + packed, b"") as client:
        with pytest.raises(ProtocolError, match="larger than 8 MiB"):
            await client.send(calls.execute("s", "r", "query", ""))


async def test_a_file_that_has_no_end():
    async with talking(OK + b"\r\n", bytes(BLOCK)) as client:
        with pytest.raises(ProtocolError, match="larger than 8 MiB"):
            await client.fetch(calls.download_files("s", ["a"]))


async def test_a_refusal_that_has_no_end():
    head = b"HTTP/1.1 403 Forbidden\r\n\r\n"
    async with talking(head, b'{"title": "' + b"no" * BLOCK) as client:
        with pytest.raises(APIError) as caught:
            await client.send(calls.get_keypair())

    assert caught.value.status == 403
    assert is_a_sentence(caught.value)


async def test_an_answer_that_nobody_reads_has_no_end():
    async with talking(OK + b"\r\n", bytes(BLOCK)) as client:
        assert await client.send(calls.interrupt("s")) is None


@pytest.mark.parametrize("again", [b"x" * BLOCK, b"data: " + b"x" * 999 + b"\n"])
async def test_an_event_that_has_no_end(again):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: e\ndata: "
    async with talking(head, again * 50) as client:
        with pytest.raises(ProtocolError, match="no end"):
            async with client.events("s", "") as events:
                async for _ in events:
                    pass


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 ", OK + b"X-A: ", b""])
async def test_a_head_that_has_no_end(head):
    async with talking(head, b"x" * BLOCK) as client:
        with pytest.raises((ProtocolError, ConnectError)) as caught:
            await client.send(calls.interrupt("s"))

    assert is_a_sentence(caught.value)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 ",
        b"HTTP/1.1 \xb2\xb2\xb2 Odd\r\n\r\n",
        b"HTTP/1.1 500 Error\r\nContent-Length: \xb2\r\n\r\n",
        b"HTTP/1.1 500 Error\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 500 Error\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
)
async def test_what_is_no_websocket(head):
    async with talking(head, b"x" * BLOCK) as client:
        with pytest.raises((ProtocolError, ConnectError, APIError)) as caught:
            await open_websocket(client, calls.open_app("s", "jupyter"), Scratch())

    assert is_a_sentence(caught.value)
