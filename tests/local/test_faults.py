"""Trouble on demand: each kind does what it says, as often as it says, where it says."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
import yarl

from tests.signed import Signed, until

CODE = """
import time
try:
    time.sleep(600)
except KeyboardInterrupt:
    open("interrupted", "w").close()
    raise
"""


async def test_a_dropped_request_never_reaches_the_server(api: Signed) -> None:
    fault = api.manager.faults.drop(method="POST", path="/session")
    with pytest.raises(aiohttp.ClientConnectionError):
        await api("POST", "/session", {"name": "lost", "image": "python", "enqueueOnly": True})

    assert fault.hits == 1
    assert api.manager.registry.alive() == []
    assert (await api("GET", "/auth")).status == 200


async def test_an_answer_dropped_later_was_acted_on(api: Signed) -> None:
    fault = api.manager.faults.drop_after(path="/session")
    with pytest.raises(aiohttp.ClientConnectionError):
        await api("POST", "/session", {"name": "kept", "image": "python", "enqueueOnly": True})

    assert fault.hits == 1
    assert [record.name for record in api.manager.registry.alive()] == ["kept"]


async def test_a_status_is_given_as_often_as_asked(api: Signed) -> None:
    fault = api.manager.faults.status(429, retry_after=2, times=2, path="/auth")
    replies = [await api("GET", "/auth") for _ in range(3)]

    assert [reply.status for reply in replies] == [429, 429, 200]
    assert (replies[0].headers["Retry-After"], replies[0].slug) == ("2", "rate-limit-exceeded")
    assert fault.hits == 2


@pytest.mark.parametrize("code", [500, 502, 503])
async def test_a_failing_server_answers_with_a_problem(api: Signed, code: int) -> None:
    api.manager.faults.status(code)
    reply = await api("GET", "/auth")

    assert reply.status == code
    assert reply.body["type"].startswith("https://api.backend.ai/probs/")


async def test_a_cut_answer_ends_in_its_middle(api: Signed) -> None:
    api.manager.faults.cut(path="/config/resource-slots")
    with pytest.raises(aiohttp.ClientPayloadError):
        await api("GET", "/config/resource-slots")

    assert (await api("GET", "/config/resource-slots")).body["cpu"] == "count"


async def test_a_delay_holds_the_request(api: Signed) -> None:
    api.manager.faults.delay(0.2, path="/auth")
    started = time.monotonic()
    await api("GET", "/auth")

    assert time.monotonic() - started >= 0.2


async def test_a_fault_strikes_where_it_is_told_only(api: Signed) -> None:
    fault = api.manager.faults.status(500, times=None, method="POST", path="/session/*")

    assert (await api("GET", "/session/none")).status == 404
    assert (await api("POST", "/session/none")).status == 500
    api.manager.faults.clear()
    assert (await api("POST", "/session/none", {"mode": "query"})).status == 404
    assert fault.hits == 1


async def test_a_broken_websocket_interrupts_the_code_and_wedges_the_session(
    api: Signed,
) -> None:
    session = await api.start("socket")
    fault = api.manager.faults.close_websocket(path="/stream/*")
    url = yarl.URL(f"{api.manager.url}/stream/session/{session}/execute")
    async with api.http.ws_connect(url, headers=api.headers("GET", url, None)) as ws:
        await ws.send_json({"mode": "query", "code": CODE})
        message = await ws.receive()

    assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert fault.hits == 1
    work = api.manager.container("socket").spec.work
    await until((work / "interrupted").exists)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await api.run(session, "print('free')", "another run")


async def test_broken_events_end_the_stream(api: Signed) -> None:
    api.manager.faults.close_events()
    url = yarl.URL(f"{api.manager.url}/events/session?sessionName=*")
    async with api.http.get(url, headers=api.headers("GET", url, None)) as stream:
        await api("POST", "/session", {"name": "told", "image": "python", "enqueueOnly": True})
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.read()


async def test_requests_are_written_down(api: Signed) -> None:
    api.manager.faults.drop(path="/auth")
    with pytest.raises(aiohttp.ClientConnectionError):
        await api("POST", "/auth", {})
    await api("GET", "/session/none")

    told = [(request.method, request.path, request.status) for request in api.manager.requests]
    assert told == [("POST", "/auth", 0), ("GET", "/session/none", 404)]
