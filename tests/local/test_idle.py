"""What ends a session by itself in the embedded manager, as in the real one.

But for one test, nobody waits for a limit: the clock of the session is set back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.local import idle
from backendai_kernel.local.auth import KeyPairPolicy
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.sessions import SessionRecord
from backendai_kernel.protocol import calls
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, enqueue_session, start_session
from tests.conftest import ROOMY

LONG = 1000.0  # seconds that no test takes


@asynccontextmanager
async def limited(folder: Path, **limits: float) -> AsyncIterator[tuple[Client, LocalManager]]:
    """A manager whose keypair has limits, and a client of it."""
    policy = KeyPairPolicy(**limits)  # type: ignore[arg-type]
    async with LocalManager(folder, slots=ROOMY, policy=policy) as manager:
        environ = {
            "BACKEND_ENDPOINT": manager.url,
            "BACKEND_ACCESS_KEY": manager.access_key,
            "BACKEND_SECRET_KEY": manager.secret_key,
        }
        async with Client(Config.from_env(environ, with_profile=False)) as client:
            yield client, manager


async def checked(manager: LocalManager, record: SessionRecord) -> SessionRecord:
    await idle.check(manager._core.lifecycle, record)
    return record


async def told(session: ComputeSession) -> dict[str, float | None]:
    answer = await session.client.send(calls.get_session_detail(session.id))
    checks = json.loads(answer.items[0].idle_checks or "")
    return {name: each["remaining"] for name, each in checks.items()}


async def test_a_session_without_limits_tells_of_none(tmp_path):
    async with limited(tmp_path) as (client, _manager):
        session, _status = await enqueue_session(client, Request("python"), "idle")

        assert await told(session) == {"session_lifetime": None}


async def test_an_idle_session_is_ended_and_says_why(tmp_path):
    async with limited(tmp_path, idle_timeout=0.5) as (client, manager):
        session, _status = await enqueue_session(client, Request("python"), "idle")
        await manager.session("idle").over.wait()
        seen = await session.look()

    assert seen is not None
    assert (seen.status_name, seen.status_info) == ("TERMINATED", "idle-timeout")


async def test_what_is_left_is_told_as_it_was_last_checked(tmp_path):
    async with limited(tmp_path, idle_timeout=LONG) as (client, manager):
        session = await start_session(client, Request("python"), "idle")
        record = manager.session("idle")
        record.accessed -= 400.0
        await checked(manager, record)
        left = (await told(session))["network_timeout"]

    assert left is not None and 500.0 < left <= 600.0


async def test_code_that_runs_keeps_a_session_though_nobody_polls_it(tmp_path):
    async with limited(tmp_path, idle_timeout=LONG) as (client, manager):
        session = await start_session(client, Request("python"), "idle")
        record = manager.session("idle")
        first = calls.execute(session.id, "left-alone", "query", "import time; time.sleep(600)")
        polled = asyncio.create_task(client.send(first))
        await manager.running("idle")
        await polled  # it says that the code goes on; nobody asks again
        record.accessed -= 2 * LONG
        busy = (await checked(manager, record)).ending
        await session.take_over("left-alone")
        record.accessed -= 2 * LONG
        ended = (await checked(manager, record)).ending

    assert (busy, ended) == (None, "idle-timeout")


async def test_a_lifetime_ends_a_session_that_is_busy_too(tmp_path):
    async with limited(tmp_path, max_session_lifetime=LONG) as (client, manager):
        session = await start_session(client, Request("python"), "idle")
        record = manager.session("idle")
        left = (await checked(manager, record)).remaining["session_lifetime"]
        polled = asyncio.create_task(
            client.send(calls.execute(session.id, "busy", "query", "import time; time.sleep(600)"))
        )
        await manager.running("idle")
        record.began -= 2 * LONG
        await checked(manager, record)
        await polled

    assert 0 < left <= LONG
    assert record.ending == "idle-session-lifetime"
