"""The life of a session: prepared, restarted, looked at, ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import RunLost, ServerError
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from backendai_kernel.model import SessionStatus
from backendai_kernel.protocol.run import Text
from backendai_kernel.run import collect
from backendai_kernel.session import ComputeSession, destroy
from backendai_kernel.start import Request, start_session

LIMIT = 60  # seconds that nothing here takes


@asynccontextmanager
async def session_of(manager: LocalManager, name: str = "s1") -> AsyncIterator[ComputeSession]:
    async with Client(config_for(manager)) as client, asyncio.timeout(LIMIT):
        yield await start_session(client, Request("python"), name)


def config_for(manager: LocalManager) -> Config:
    return Config.from_env(
        {},
        with_profile=False,
        endpoint=manager.url,
        access_key=manager.access_key,
        secret_key=manager.secret_key,
    )


@pytest.fixture
async def session(manager: LocalManager) -> AsyncIterator[ComputeSession]:
    async with session_of(manager) as session:
        yield session


async def texts(session: ComputeSession, code: str) -> str:
    events = await collect(session.run(code))
    return "".join(event.text for event in events if isinstance(event, Text))


# -- prepared ---------------------------------------------------------------------------------


async def test_a_new_session_is_fresh_and_tells_what_it_runs(session):
    assert session.is_new
    assert session.is_fresh
    assert session.hello["python"].startswith("3.")


async def test_a_session_that_somebody_used_is_not_fresh(session):
    await collect(session.run("x = 1"))
    other = ComputeSession(session.client, session.id, session.name, is_new=False)
    await other.prepare()

    assert not other.is_fresh
    assert await texts(other, "print(x)") == "1\n"


@pytest.mark.parametrize("trouble", ["drop", "drop_after"])
async def test_a_preparation_whose_answer_is_lost_is_done_again(session, manager, trouble):
    fault = getattr(manager.faults, trouble)(path=f"/session/{session.id}")
    await session.prepare()
    (value, _) = await collect(session.run("6 * 7"))

    assert fault.hits == 1
    assert value.content["data"] == {"text/plain": "42"}


async def test_the_first_cell_is_the_first_of_the_interpreter_too(session):
    (value, _) = await collect(session.run("len(In)"))

    assert value.content["data"] == {"text/plain": "2"}
    assert value.content["execution_count"] == 1


# -- restarted --------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
async def test_a_restart_gives_a_fresh_interpreter_and_keeps_the_files(release, tmp_path: Path):
    async with LocalManager(tmp_path / "manager", release=RELEASES[release]) as manager:
        async with session_of(manager) as session:
            await collect(session.run("x = 1; open('kept', 'w').close()"))
            before = session.hello["pid"]
            await session.restart()

            left = await texts(session, "import os; print('x' in dir(), os.path.exists('kept'))")
            (value, _) = await collect(session.run("6 * 7"))

    assert left == "False True\n"
    assert value.content["data"] == {"text/plain": "42"}
    assert session.is_fresh
    if not RELEASES[release].restart:  # executed anew in place, as the same process
        assert session.hello["pid"] == before


async def test_a_restart_in_place_can_be_done_again_and_be_interrupted_after(session, manager):
    await session.restart()
    await session.restart()
    task = asyncio.create_task(collect(session.run("import time; time.sleep(60)")))
    await manager.running("s1")
    await session.interrupt()
    events = await task

    assert events[0].content["ename"] == "KeyboardInterrupt"


async def test_a_restart_that_the_server_refuses_is_told(session, manager):
    manager.faults.status(500, path=f"/session/{session.id}", method="PATCH")
    with pytest.raises(ServerError):
        await session.restart()


# -- looked at, ended -------------------------------------------------------------------------


async def test_a_session_is_looked_at_even_when_it_is_over(session, manager):
    alive = await session.look()
    record = manager.session("s1")
    await session.destroy()
    await record.over.wait()
    over = await session.look()

    assert alive.status is SessionStatus.RUNNING
    assert over.status is SessionStatus.TERMINATED


async def test_a_session_that_runs_is_alive(session):
    await session.check_alive()


async def test_a_session_that_has_ended_is_not_alive(session, manager):
    record = manager.session("s1")
    manager.end(record, "idle-timeout")
    await record.over.wait()
    with pytest.raises(RunLost, match=r"ended while the code ran: terminated \(idle-timeout\)"):
        await session.check_alive()


async def test_a_dead_interpreter_is_not_alive(session, manager):
    await manager.faults.kill_interpreter("s1")
    with pytest.raises(RunLost, match="interpreter has died"):
        async with asyncio.timeout(20):
            while True:  # a killed process is gone a moment later
                await session.check_alive()


async def test_a_session_that_nobody_knows_is_gone(session):
    unknown = ComputeSession(session.client, "00000000-0000-0000-0000-000000000000", "nobody")
    with pytest.raises(RunLost, match="The session is gone"):
        await unknown.check_alive()


async def test_the_end_may_be_asked_for_twice(session, manager):
    record = manager.session("s1")
    await session.destroy()
    await session.destroy()
    await record.over.wait()
    await session.destroy()

    assert manager.registry.alive() == []


async def test_an_end_whose_answer_was_lost_is_asked_for_again(session, manager):
    fault = manager.faults.drop_after(method="DELETE")
    record = manager.session("s1")
    await session.destroy()
    await record.over.wait()

    assert fault.hits == 1


async def test_a_session_that_nobody_knows_needs_no_end(session):
    await destroy(session.client, "00000000-0000-0000-0000-000000000000")


async def test_a_session_does_not_show_its_client(session, manager):
    assert manager.secret_key not in repr(session)
    assert repr(session) == f"<ComputeSession s1 {session.id}>"
