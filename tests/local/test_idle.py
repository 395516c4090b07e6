"""What ends a session by itself in the embedded manager, as in the real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.local.auth import KeyPairPolicy
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.protocol import calls
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session
from tests.conftest import ROOMY

from ..proxy.frontend import eventually


@asynccontextmanager
async def session(
    folder: Path, **limits: float
) -> AsyncIterator[tuple[ComputeSession, LocalManager]]:
    """A session whose keypair has limits."""
    policy = KeyPairPolicy(**limits)  # type: ignore[arg-type]
    async with LocalManager(folder, slots=ROOMY, policy=policy) as manager:
        environ = {
            "BACKEND_ENDPOINT": manager.url,
            "BACKEND_ACCESS_KEY": manager.access_key,
            "BACKEND_SECRET_KEY": manager.secret_key,
        }
        async with Client(Config.from_env(environ, with_profile=False)) as client:
            yield await start_session(client, Request("python"), "idle"), manager


async def checks(session: ComputeSession) -> dict[str, dict[str, float | None]]:
    answer = await session.client.send(calls.get_session_detail(session.id))
    return dict(json.loads(answer.items[0].idle_checks or ""))


async def test_a_session_without_limits_tells_of_none(tmp_path):
    async with session(tmp_path) as (used, _):
        told = await checks(used)

    assert {name: each["remaining"] for name, each in told.items()} == {"session_lifetime": None}


async def test_an_idle_session_is_ended_and_says_why(tmp_path):
    async with session(tmp_path, idle_timeout=2.0) as (idle, manager):
        record = manager.session("idle")
        await eventually(lambda: record.remaining, "it was checked")
        left = (await checks(idle))["network_timeout"]["remaining"]
        await record.over.wait()
        seen = await idle.look()

    assert left is not None and 0 < left <= 2.0
    assert seen is not None and (seen.status_name, seen.status_info) == (
        "TERMINATED",
        "idle-timeout",
    )


async def test_code_that_runs_keeps_a_session_though_nobody_polls_it(tmp_path):
    async with session(tmp_path, idle_timeout=2.0) as (busy, manager):
        record = manager.session("idle")
        async with asyncio.timeout(60):
            async with busy.run("import time; time.sleep(4.5)") as run:
                async for _ in run:
                    pass
        still = record.status.is_running
        await record.over.wait()

    assert still
    assert record.status_info == "idle-timeout"


async def test_a_lifetime_ends_a_session_that_is_busy_too(tmp_path):
    async with session(tmp_path, max_session_lifetime=2.0) as (busy, manager):
        record = manager.session("idle")
        running = asyncio.create_task(_run(busy))
        await record.over.wait()
        running.cancel()
        await asyncio.wait([running])

    assert record.status_info == "idle-session-lifetime"


async def _run(session: ComputeSession) -> None:
    async with session.run("import time; time.sleep(600)") as run:
        async for _ in run:
            pass
