"""Sessions come up, wait, are reused, refused, ended and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from backendai_kernel.local.auth import KeyPairPolicy, new_keypair
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from tests.signed import Signed, signed, until

TWO_CORES = {"cpu": Decimal(2), "mem": Decimal(8 * 2**30), "cuda.shares": Decimal(2)}


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Signed]:
    """A manager with two cores only."""
    async with LocalManager(tmp_path, slots=TWO_CORES) as manager, signed(manager) as api:
        yield api


async def ask(api: Signed, name: str, **resources: Any) -> Any:
    """Put a session in the queue and return the answer's body."""
    body = {
        "name": name,
        "image": "python",
        "enqueueOnly": True,
        "config": {"resources": resources},
    }
    reply = await api("POST", "/session", body)
    assert reply.status == 201, reply.body
    return reply.body


def lives(pid: int) -> bool:
    """A process runs; one that only waits for somebody to collect its status does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def status(api: Signed, name: str) -> str:
    reply = await api("GET", f"/session/{name}")
    return str(reply.body["status"])


async def test_a_session_passes_through_every_status(api: Signed) -> None:
    await api.start("life")
    history = (await api("GET", "/session/life/status-history")).body

    assert list(history) == [
        "PENDING",
        "SCHEDULED",
        "PREPARING",
        "PREPARED",
        "CREATING",
        "RUNNING",
    ]
    assert sorted(history.values()) == list(history.values())


async def test_a_session_waits_until_there_is_room(small: Signed) -> None:
    await small.start("first", config={"resources": {"cpu": 2}})
    asked = await ask(small, "second", cpu=1)
    waiting = await status(small, "second")
    await small("DELETE", "/session/first")
    await small.manager.session("second").settled.wait()

    assert (asked["status"], waiting) == ("PENDING", "PENDING")
    assert await status(small, "second") == "RUNNING"


async def test_a_small_session_passes_one_that_does_not_fit(small: Signed) -> None:
    await ask(small, "huge", cpu=64)
    await small.start("small")

    assert await status(small, "huge") == "PENDING"
    reply = await small("GET", "/session/huge")
    assert (reply.body["statusInfo"], reply.body["statusData"]) == ("None", None)


async def test_waiting_has_a_limit_and_the_session_lives_on(small: Signed) -> None:
    body = {"name": "late", "image": "python", "config": {"resources": {"cpu": 3}}}
    reply = await small("POST", "/session", body | {"maxWaitSeconds": 1})

    assert (reply.status, reply.body["status"]) == (201, "TIMEOUT")
    assert await status(small, "late") == "PENDING"


async def test_a_cancelled_session_ends_the_wait_for_it(small: Signed) -> None:
    body = {"name": "gone", "image": "python", "config": {"resources": {"cpu": 3}}}
    waiting = asyncio.create_task(small("POST", "/session", body))
    await until(small.manager.registry.alive)
    stats = (await small("DELETE", "/session/gone")).body
    created = (await waiting).body

    assert stats == {"stats": {"status": "cancelled"}}
    assert (created["status"], created["servicePorts"]) == ("CANCELLED", [])


async def test_the_same_name_is_the_same_session(api: Signed) -> None:
    first = await api.start("same")
    reply = await api("POST", "/session", {"name": "same", "image": "python"})
    refused = await api(
        "POST", "/session", {"name": "same", "image": "python", "reuseIfExists": False}
    )

    assert (reply.body["sessionId"], reply.body["created"]) == (first, False)
    assert {"service_ports", "servicePorts"} <= reply.body.keys()
    assert (refused.status, refused.slug) == (400, "session-already-exists")
    assert refused.body["data"] == {"existingSessionId": first}


async def test_a_dead_namesake_makes_a_name_ambiguous_for_delete_and_logs(api: Signed) -> None:
    dead = await api.start("twin")
    record = api.manager.session("twin")
    await api("DELETE", "/session/twin")
    await record.over.wait()
    alive = await api.start("twin")
    by_name = await api("DELETE", "/session/twin")

    assert (by_name.status, by_name.slug) == (404, "too-many-sessions-matched")
    assert [match["id"] for match in by_name.body["data"]["matches"]] == [alive, dead]
    assert (await api("GET", "/session/twin/logs")).status == 404
    assert (await api.run("twin", "print('live')"))["console"] == [["stdout", "live\n"]]
    assert (await api("DELETE", f"/session/{alive}")).status == 200


async def test_an_end_leaves_no_process_and_no_file(api: Signed) -> None:
    await api.start("clean")
    told = await api.run(
        "clean",
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(os.getpid(), child.pid)",
    )
    pids = [int(pid) for pid in told["console"][0][1].split()]
    record = api.manager.session("clean")
    work = api.manager.container("clean").spec.work
    await api("DELETE", "/session/clean")
    await record.over.wait()
    await until(lambda: not work.exists())

    assert not any(map(lives, pids))
    assert await api("DELETE", f"/session/{record.id}") is not None
    assert record.terminated_at is not None


async def test_a_runner_that_dies_ends_its_session(api: Signed) -> None:
    session = await api.start("dies")
    record = api.manager.session("dies")
    await api.manager.faults.kill_runner("dies")
    await record.over.wait()
    data = await api.query(
        "query($id: UUID!) { compute_session(id: $id) { status status_info } }", id=session
    )

    assert data["compute_session"] == {"status": "TERMINATED", "status_info": None}
    assert (await api("POST", "/session/dies", {"mode": "query", "run_id": "r"})).status == 404


async def test_too_small_a_share_stays_creating(api: Signed) -> None:
    await ask(api, "crumb", **{"cuda.shares": "0.05"})
    record = api.manager.session("crumb")
    await until(lambda: record.status.value == "CREATING")

    assert not record.settled.is_set()
    reply = await api("DELETE", "/session/crumb")
    assert reply.body == {"stats": {"status": "terminated"}}


async def test_one_session_more_than_the_policy_allows_is_refused(tmp_path: Path) -> None:
    policy = KeyPairPolicy(max_concurrent_sessions=1)
    async with LocalManager(tmp_path, policy=policy) as manager, signed(manager) as api:
        await ask(api, "one-")
        reply = await api("POST", "/session", {"name": "two-", "image": "python"})

    assert (reply.status, reply.slug) == (400, "quota-exceeded")
    assert reply.body["msg"].startswith("Keypair already has 1 active sessions")


async def test_another_users_session_is_not_there_for_a_plain_user(tmp_path: Path) -> None:
    other = new_keypair(user_id="user@example.com", is_admin=False)
    async with (
        LocalManager(tmp_path, others=[other]) as manager,
        signed(manager) as admin,
        signed(manager, other) as user,
    ):
        await ask(admin, "mine")
        seen = await user("GET", "/session/mine")
        forced = await user("GET", f"/session/mine?owner_access_key={manager.keypair.access_key}")
        theirs = await ask(user, "theirs")
        lent = await admin("GET", f"/session/theirs?owner_access_key={other.access_key}")

    assert (seen.status, seen.slug) == (404, "object-not-found")
    assert forced.status == 403
    assert lent.status == 200, theirs


async def test_an_idle_session_is_ended_and_a_held_one_is_not(tmp_path: Path) -> None:
    async with (
        LocalManager(tmp_path, slots=TWO_CORES, session_idle_limit=1.0) as manager,
        signed(manager) as api,
    ):
        held = await api.start("held")
        record = manager.session("held")
        running = asyncio.create_task(api.run(held, "import time; time.sleep(60)", "run"))
        await manager.running("held")
        await api.start("idle")
        idle = manager.session("idle")
        await idle.over.wait()

        assert idle.status_info == "idle-timeout"
        assert not record.over.is_set()
        await api("POST", f"/session/{held}/interrupt")
        await running


async def test_code_that_nobody_polls_keeps_its_session(tmp_path: Path) -> None:
    async with (
        LocalManager(tmp_path, slots=TWO_CORES, session_idle_limit=0.3) as manager,
        signed(manager) as api,
    ):
        session = await api.start("alone")
        record = manager.session("alone")
        code = "import time; time.sleep(3); open('slept', 'w').close(); time.sleep(600)"
        await api.run(session, code, "run")
        work = manager.container("alone").spec.work
        await until((work / "slept").exists)

        assert not record.over.is_set()
        await manager.container("alone").interrupt()
        await record.over.wait()
        assert record.status_info == "idle-timeout"


async def test_a_restart_gives_a_fresh_interpreter_where_the_release_has_it(
    tmp_path: Path,
) -> None:
    old = RELEASES["23.09"]
    async with LocalManager(tmp_path, release=old) as manager, signed(manager) as api:
        session = await api.start("again")
        await api.run(session, "x = 1\nopen('kept', 'w').close()", "r1")
        reply = await api("PATCH", f"/session/{session}")
        told = await api.run(session, "import os; print('x' in dir(), os.listdir())", "r2")

        assert reply.status == 204
        text = told["console"][0][1]
        assert text.startswith("False") and "kept" in text
        assert await status(api, session) == "RUNNING"


async def test_leaving_the_manager_ends_all_sessions(tmp_path: Path) -> None:
    async with LocalManager(tmp_path, slots=TWO_CORES) as manager, signed(manager) as api:
        await api.start("left")
        await ask(api, "queued", cpu=64)
        pid = int((await api.run("left", "import os; print(os.getpid())"))["console"][0][1])
        records = list(manager.registry)

    assert not lives(pid)
    assert [record.status.value for record in records] == ["TERMINATED", "CANCELLED"]


@pytest.mark.parametrize(("command", "result"), [("echo done", "SUCCESS"), ("exit 3", "FAILURE")])
async def test_a_batch_session_ends_with_its_command(
    api: Signed, command: str, result: str
) -> None:
    body = {"name": "batch", "image": "python", "type": "batch", "enqueueOnly": True}
    refused = await api("POST", "/session", body)
    created = await api("POST", "/session", body | {"startupCommand": command})
    record = api.manager.session("batch")
    await record.over.wait()
    data = await api.query(
        "query($id: UUID!) { compute_session(id: $id) { type result status_info } }",
        id=created.body["sessionId"],
    )

    assert refused.status == 400
    assert data["compute_session"] == {
        "type": "BATCH",
        "result": result,
        "status_info": "task-finished",
    }
