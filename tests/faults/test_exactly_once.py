"""Output of cells whose answers were lost on the wire: all of it, once and in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import ConnectError
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.protocol.envelope import Message
from backendai_kernel.protocol.run import Finished, InputRequest, Text
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session
from tests.faults.dropping import DroppingProxy

LIMIT = 120  # seconds that nothing here takes
LINES = """
import time
from IPython.display import display, SVG
for number in range({count}):
    print("line", number)
    if number % 5 == 2:
        display({{"text/plain": f"shown {{number}}"}}, raw=True)
    time.sleep({pause})
print("end")
"""


def config_for(manager: LocalManager, endpoint: str) -> Config:
    return Config.from_env(
        {},
        with_profile=False,
        endpoint=endpoint,
        access_key=manager.access_key,
        secret_key=manager.secret_key,
    )


@pytest.fixture
async def session(manager: LocalManager) -> AsyncIterator[ComputeSession]:
    async with Client(config_for(manager, manager.url)) as client, asyncio.timeout(LIMIT):
        yield await start_session(client, Request("python"), "s1")


def path_of(session: ComputeSession) -> str:
    return f"/session/{session.id}"


def expected(count: int) -> str:
    lines = []
    for number in range(count):
        lines.append(f"line {number}\n")
        if number % 5 == 2:
            lines.append(f"<shown {number}>")
    return "".join([*lines, "end\n"])


def seen(events: list) -> str:
    """Return texts and displays in the order in which they came."""
    said = []
    for event in events:
        if isinstance(event, Text):
            said.append(event.text)
        elif isinstance(event, Message) and event.kind == "display_data":
            said.append(f"<{event.content['data']['text/plain']}>")
    return "".join(said)


async def cell(session: ComputeSession, code: str, answers: tuple[str, ...] = ()) -> list:
    lines, events = iter(answers), []
    async with session.cell(code, {"origin": "o", "count": 1, "options": {}}) as run:
        async for event in run:
            if isinstance(event, InputRequest):
                events.append(event)
                run.give_input(next(lines))
            else:
                events.append(event)
    return events


@pytest.mark.parametrize("trouble", ["drop", "drop_after", "cut", "502"])
async def test_a_short_cell_whose_answer_is_lost_runs_once_and_shows_all(session, manager, trouble):
    await cell(session, "runs = 0")
    if trouble == "502":
        fault = manager.faults.status(502, path=path_of(session))
    else:
        fault = getattr(manager.faults, trouble)(path=path_of(session))
    events = await cell(session, "runs += 1; print('runs', runs); runs * 100")

    assert fault.hits == 1
    assert seen(events) == "runs 1\n"
    assert [e.content["data"]["text/plain"] for e in events if _is(e, "execute_result")] == ["100"]
    assert events[-1] == Finished(0)
    assert seen(await cell(session, "print(runs)")) == "1\n"


def _is(event: object, kind: str) -> bool:
    return isinstance(event, Message) and event.kind == kind


@pytest.mark.parametrize("seed", [1, 2])
async def test_answers_lost_anywhere_in_a_cell_lose_and_double_nothing(session, manager, seed):
    luck = random.Random(seed)
    running = asyncio.create_task(cell(session, LINES.format(count=30, pause=0.1)))
    faults = []
    while not running.done() and len(faults) < 4:
        kind = luck.choice(["drop", "drop_after", "cut"])
        faults.append(getattr(manager.faults, kind)(path=path_of(session), method="POST"))
        await asyncio.wait([running], timeout=luck.uniform(0.1, 1.0))
    events = await running

    assert sum(fault.hits for fault in faults) >= 1
    assert seen(events) == expected(30)


@pytest.mark.parametrize("trouble", ["drop", "drop_after"])
async def test_a_question_or_its_answer_that_is_lost_is_asked_again(session, manager, trouble):
    fault = None
    events = []
    code = "print('before')\nname = input('name? ')\nprint('hi', name)\nmore = input()\nprint(more)"
    async with session.cell(code, {"origin": "o", "count": 1, "options": {}}) as run:
        async for event in run:
            events.append(event)
            if isinstance(event, InputRequest):
                if fault is None:
                    fault = getattr(manager.faults, trouble)(path=path_of(session), method="POST")
                run.give_input("Ada" if event.prompt else "more")

    assert fault is not None and fault.hits == 1
    assert seen(events) == "before\nhi Ada\nmore\n"
    assert events[-1] == Finished(0)


async def test_an_error_whose_answer_is_lost_is_told(session, manager):
    manager.faults.drop_after(path=path_of(session))
    events = await cell(session, "print('a')\n1/0")

    assert [e.content["ename"] for e in events if _is(e, "error")] == ["ZeroDivisionError"]
    assert seen(events) == "a\n"


async def test_code_that_ends_while_a_broken_connections_poll_is_held_is_told(manager):
    """That poll takes what comes meanwhile with it: a question of the bootstrap, or the end."""
    async with (
        DroppingProxy(manager.url) as proxy,
        Client(config_for(manager, proxy.url)) as client,
        asyncio.timeout(LIMIT),
    ):
        session = await start_session(client, Request("python"), "s1")
        code = "import time\nprint('a')\ntime.sleep({})\nprint('b')\n1/0"
        for seconds, before in ((0.5, 0.05), (0.7, 0.4), (1.2, 0.2)):
            running = asyncio.create_task(cell(session, code.format(seconds)))
            await asyncio.sleep(before)
            proxy.cut()
            events = await running

            assert seen(events) == "a\nb\n"
            errors = [e.content["ename"] for e in events if _is(e, "error")]
            assert errors == ["ZeroDivisionError"]


async def test_a_server_that_is_away_is_waited_for_and_loses_nothing(session, manager):
    contacts = []
    async with session.cell(
        LINES.format(count=20, pause=0.1), {"origin": "o", "count": 1, "options": {}}
    ) as run:
        run.on_contact = contacts.append
        fault = manager.faults.status(503, times=3, path=path_of(session), method="POST")
        events = []
        async for event in run:
            events.append(event)

    assert fault.hits == 3
    assert seen(events) == expected(20)
    assert contacts[0].reason and not contacts[-1].reason and contacts[-1].is_complete


async def test_code_that_cannot_arrive_has_not_run(session, manager):
    await cell(session, "ran = False")
    fault = manager.faults.drop(path=path_of(session), method="POST", times=None)
    running = asyncio.create_task(cell(session, "ran = True"))
    while fault.hits < 3:  # noqa: ASYNC110 -- nobody tells
        await asyncio.sleep(0.05)
    fault.times = 0
    try:
        await running
    except ConnectError as exc:
        assert "none of it ran" in str(exc)
        assert seen(await cell(session, "print(ran)")) == "False\n"
    else:
        assert seen(await cell(session, "print(ran)")) == "True\n"
