"""Execution over a websocket and the stream of events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yarl

from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from tests.signed import Signed, signed


@asynccontextmanager
async def websocket(api: Signed, session: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = yarl.URL(f"{api.manager.url}/stream/session/{session}/execute")
    async with api.http.ws_connect(url, headers=api.headers("GET", url, None)) as ws:
        yield ws


@asynccontextmanager
async def events(api: Signed, query: str) -> AsyncIterator[aiohttp.ClientResponse]:
    url = yarl.URL(f"{api.manager.url}/events/session?{query}", encoded=True)
    async with api.http.get(url, headers=api.headers("GET", url, None)) as response:
        yield response


async def told(stream: aiohttp.ClientResponse, until: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of a stream up to one of that name."""
    found: list[tuple[str, dict[str, Any]]] = []
    name = ""
    async for line in stream.content:
        key, _, value = line.decode().strip().partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            found.append((name, json.loads(value)))
            if name == until:
                return found
    raise AssertionError(f"the stream ended before {until}: {found}")


async def test_a_run_ends_with_its_last_frame_and_a_close(api: Signed) -> None:
    session = await api.start("frames")
    async with websocket(api, session) as ws:
        await ws.send_json({"mode": "query", "code": "print('hi')\n2+2", "options": {}})
        frames = [json.loads(message.data) async for message in ws]

    assert frames[-1]["status"] == "finished"
    assert list(frames[-1]) == ["status", "console", "exitCode", "options", "files"]
    assert [item for frame in frames for item in frame["console"]] == [["stdout", "hi\n4"]]
    assert ws.close_code == 1000


async def test_frames_come_while_the_code_is_silent(api: Signed) -> None:
    session = await api.start("silent")
    async with websocket(api, session) as ws:
        await ws.send_json({"mode": "query", "code": "import time; time.sleep(1)"})
        statuses = [json.loads(message.data)["status"] async for message in ws]

    assert statuses[-1] == "finished"
    assert statuses.count("continued") >= 3


async def test_input_is_one_raw_text_frame(api: Signed) -> None:
    session = await api.start("asks")
    async with websocket(api, session) as ws:
        await ws.send_json({"mode": "query", "code": "print('hi', input('name? '))"})
        text = ""
        async for message in ws:
            frame = json.loads(message.data)
            text += "".join(payload for _, payload in frame["console"])
            if frame["status"] == "waiting-input":
                assert frame["options"] == {"is_password": False}
                await ws.send_str("Ada")

    assert text == "name? hi Ada\n"


async def test_a_close_frame_changes_nothing_while_code_runs(api: Signed) -> None:
    session = await api.start("closed")
    async with websocket(api, session) as ws:
        await ws.send_json({"mode": "query", "code": "import time; time.sleep(1); done = 1"})
        await api.manager.running("closed")

    assert (await api.run(session, "print(done)", "run-2"))["console"] == [["stdout", "1\n"]]


async def test_a_first_frame_that_is_no_request_is_told_so(api: Signed) -> None:
    session = await api.start("wrong")
    async with websocket(api, session) as ws:
        await ws.send_str("not json")
        frame = await ws.receive_json()

    assert frame["status"] == "error"


async def test_a_life_is_told_as_it_happens(api: Signed) -> None:
    async with events(api, "sessionName=*&scope=*") as stream:
        created = await api("POST", "/session", {"name": "life", "image": "python"})
        session = created.body["sessionId"]
        await api("DELETE", f"/session/{session}")
        happened = await told(stream, "session_terminated")

    names = [name for name, _ in happened]
    assert names == [
        "session_enqueued",
        "session_scheduled",
        "session_preparing",
        "session_prepared",
        "kernel_preparing",
        "kernel_creating",
        "kernel_started",
        "session_creating",
        "session_started",
        "session_terminating",
        "kernel_terminated",
        "kernel_terminated",
        "session_terminated",
    ]
    assert {data["sessionId"] for _, data in happened} == {session}
    assert "kernelId" in happened[-2][1] and "kernelId" not in happened[-1][1]
    assert stream.headers["Content-Type"] == "text/event-stream"


async def test_a_stream_tells_of_the_session_that_it_names(api: Signed) -> None:
    session = await api.start("mine")
    async with events(api, f"sessionId={session}&scope=session") as stream:
        other = await api.start("other")
        await api("DELETE", f"/session/{other}")
        await api("DELETE", f"/session/{session}")
        happened = await told(stream, "session_terminated")

    assert [name for name, _ in happened] == ["session_terminating", "session_terminated"]


async def test_an_unknown_name_is_refused_by_newer_servers_only(tmp_path: Path) -> None:
    async with LocalManager(tmp_path / "new") as manager, signed(manager) as api:
        async with events(api, "sessionName=later&scope=*") as stream:
            assert stream.status == 404
    old = RELEASES["25.5"]
    async with LocalManager(tmp_path / "old", release=old) as manager, signed(manager) as api:
        async with events(api, "sessionName=later&scope=session") as stream:
            body = {"name": "later", "image": "python", "enqueueOnly": True}
            await api("POST", "/session", body)
            happened = await told(stream, "session_started")

    assert happened[0][1]["sessionName"] == "later"


async def test_an_open_stream_keeps_its_session_from_being_idle(tmp_path: Path) -> None:
    async with LocalManager(tmp_path, session_idle_limit=1.0) as manager, signed(manager) as api:
        session = await api.start("held")
        record = manager.session("held")
        async with events(api, f"sessionId={session}&scope=session"):
            body = {"mode": "query", "code": "import time; time.sleep(1.9)", "run_id": "r"}
            await api("POST", f"/session/{session}", body)
            assert record.busy == 1 and not record.over.is_set()
        await record.over.wait()

    assert record.status_info == "idle-timeout"


async def test_a_closing_manager_says_so_on_its_streams(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        async with LocalManager(tmp_path) as manager:
            api = Signed(manager, http)
            url = yarl.URL(f"{manager.url}/events/session?sessionName=*")
            stream = await http.get(url, headers=api.headers("GET", url, None))
        happened = await told(stream, "server_close")

    assert happened == [("server_close", {})]
