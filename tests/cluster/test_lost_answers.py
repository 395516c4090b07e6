"""A network that fails under a cell of a real cluster: all of its output comes, once and in order."""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import replace

import pytest

from backendai_kernel.client import Client
from backendai_kernel.protocol.envelope import Message
from backendai_kernel.protocol.run import Contact, Finished, InputRequest, Text
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session
from tests.faults.dropping import DroppingProxy

pytestmark = pytest.mark.cluster

AWAY = float(os.environ.get("BACKENDAI_TEST_AWAY", "120"))  # seconds
HEAD = {"origin": "o", "count": 1, "options": {}}
LINES = """
import time
for number in range({count}):
    print("line", number)
    if number % 10 == 5:
        display({{"text/plain": f"shown {{number}}"}}, raw=True)
    time.sleep(0.1)
"""


@pytest.fixture
async def proxy(client):
    async with DroppingProxy(client.config.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def session(client, proxy):
    through = replace(client.config, endpoint=proxy.url)
    async with Client(through) as shaky, asyncio.timeout(AWAY + 180):
        session = await start_session(shaky, Request("python"), f"test-{secrets.token_hex(4)}")
        try:
            yield session
        finally:
            await ComputeSession(client, session.id, session.name).destroy()


def seen(events: list) -> str:
    said = []
    for event in events:
        if isinstance(event, Text):
            said.append(event.text)
        elif isinstance(event, Message) and event.kind == "display_data":
            said.append(f"<{event.content['data']['text/plain']}>")
    return "".join(said)


def expected(count: int) -> str:
    return "".join(
        f"line {number}\n" + (f"<shown {number}>" if number % 10 == 5 else "")
        for number in range(count)
    )


async def test_a_network_that_is_gone_for_long_loses_nothing(session, proxy):
    count = int(AWAY * 10) + 150
    events: list = []
    contacts: list[Contact] = []
    gone = None
    async with session.cell(LINES.format(count=count), HEAD) as run:
        run.on_contact = contacts.append
        async for event in run:
            events.append(event)
            if gone is None and "line 20\n" in seen(events):
                gone = asyncio.create_task(proxy.down(AWAY))

    assert gone is not None and gone.done()
    assert seen(events) == expected(count)
    assert events[-1] == Finished(0)
    assert any(contact.reason for contact in contacts) and contacts[-1].is_complete


async def test_answers_that_are_lost_on_the_wire_come_again(session, proxy):
    events: list = []
    async with session.cell(LINES.format(count=100), HEAD) as run:
        async for event in run:
            events.append(event)
            if isinstance(event, Text) and len(events) % 4 == 2:
                proxy.drops_answers = 1

    assert seen(events) == expected(100)


async def test_a_question_whose_answer_is_lost_is_asked_again(session, proxy):
    events: list = []
    has_dropped = False
    async with session.cell("name = input('name? ')\nprint('hi', name)", HEAD) as run:
        async for event in run:
            if isinstance(event, InputRequest):
                if not has_dropped:
                    proxy.drops_answers, has_dropped = 1, True
                run.give_input("Ada")
            else:
                events.append(event)

    assert seen(events) == "hi Ada\n"


async def test_a_short_cell_whose_answer_is_lost_runs_once(session, proxy):
    async with session.cell("runs = 0", HEAD) as run:
        [_ async for _ in run]
    proxy.drops_answers = 1
    async with session.cell("runs += 1; print(runs)", HEAD) as run:
        events = [event async for event in run]

    assert seen(events) == "1\n"
