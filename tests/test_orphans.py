"""What killed kernels leave behind is found and ended, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backendai_kernel import leases, orphans
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.leases import Lease, Terms
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.outcomes import orphan_table
from backendai_kernel.start import Request, enqueue_session

from .proxy.frontend import eventually

NAME, OTHER = "nb-00000000000000aa", "nb-00000000000000bb"


@pytest.fixture
def environ(manager: LocalManager, tmp_path: Path) -> dict[str, str]:
    return {
        "BACKEND_ENDPOINT": manager.url,
        "BACKEND_ACCESS_KEY": manager.access_key,
        "BACKEND_SECRET_KEY": manager.secret_key,
        "BACKENDAI_KERNEL_STATE": str(tmp_path / "state"),
        "BACKENDAI_KERNEL_CONFIG": str(tmp_path / "config"),
    }


@pytest.fixture
async def client(environ: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(Config.from_env(environ)) as client:
        yield client


def leave(environ: dict[str, str], name: str, **terms: object) -> Lease:
    """Write a lease as a kernel does, and let go of it as its death would."""
    lease = Lease(environ, name)
    assert lease.hold()
    facts = {
        "host": socket.gethostname(),
        "endpoint": environ["BACKEND_ENDPOINT"],
        "access_key": environ["BACKEND_ACCESS_KEY"],
        **terms,
    }
    lease.write(Terms(name=name, **facts))  # type: ignore[arg-type]
    lease.release()
    return lease


async def session(client: Client, name: str) -> str:
    """Ask for a session; whether it runs yet is all the same to who ends it."""
    found, _ = await enqueue_session(client, Request("python"), name)
    return found.id


def outcome(found: tuple[orphans.Orphan, ...], name: str) -> tuple[str, str]:
    [each] = [each for each in found if each.name == name]
    return each.outcome, each.note


async def test_what_nobody_answers_for_is_ended_and_its_lease_removed(environ, client, manager):
    leave(environ, NAME, session_id=await session(client, NAME), notebook="train.ipynb")
    dry = await orphans.collect(environ, is_dry=True)
    found = await orphans.collect(environ)
    again = await orphans.collect(environ)
    record = next(iter(manager.registry))
    await record.over.wait()

    assert outcome(dry, NAME)[0] == orphans.KEPT
    assert "Nothing was ended" in repr(orphan_table(dry, is_dry=True))
    assert outcome(found, NAME) == (orphans.ENDED, "")
    assert "train.ipynb" in repr(orphan_table(found))
    assert again == () and leases.survey(environ) == []
    assert "Nothing was left behind" in repr(orphan_table(again))


async def test_a_session_whose_id_was_never_told_is_found_by_its_name(environ, client, manager):
    await session(client, NAME)
    leave(environ, NAME)
    found = await orphans.collect(environ)

    assert outcome(found, NAME)[0] == orphans.ENDED
    await next(iter(manager.registry)).over.wait()


async def test_a_session_that_is_over_or_never_was_leaves_no_lease(environ, client, manager):
    leave(environ, NAME)
    leave(environ, OTHER, session_id="00000000-0000-0000-0000-000000000000")
    found = await orphans.collect(environ)

    assert [each.outcome for each in found] == [orphans.GONE, orphans.GONE]
    assert leases.survey(environ) == []


async def test_what_somebody_holds_or_may_come_back_for_is_left_alone(
    environ, client, manager, tmp_path
):
    held = leave(environ, NAME, session_id=await session(client, NAME))
    held.hold()
    wanted = tmp_path / "kernel.json"
    wanted.touch()
    leave(
        environ,
        OTHER,
        session_id=await session(client, OTHER),
        server_pid=os.getpid(),
        connection_file=str(wanted),
    )
    found = await orphans.collect(environ)
    everything = await orphans.collect(environ, is_all=True)
    held.release()

    assert "its kernel runs" in outcome(found, NAME)[1]
    assert "may come back" in outcome(found, OTHER)[1]
    assert outcome(everything, NAME)[0] == orphans.KEPT
    assert outcome(everything, OTHER)[0] == orphans.ENDED
    assert "1 more belong to kernels that run" in repr(orphan_table(found))


async def test_another_servers_and_another_keypairs_sessions_are_told_of(environ, client):
    leave(environ, NAME, endpoint="https://elsewhere.example.com")
    leave(environ, OTHER, access_key="AKIAOTHERKEYPAIR0000")
    found = await orphans.collect(environ)

    assert "https://elsewhere.example.com" in outcome(found, NAME)[1]
    assert "another keypair, AKIAOTHE…" in outcome(found, OTHER)[1]
    assert len(leases.survey(environ)) == 2


async def test_a_session_of_a_notebook_that_no_lease_knows_is_told_of_and_left(
    environ, client, manager
):
    await session(client, NAME)
    await session(client, "train")
    found = await orphans.collect(environ, is_all=True)

    assert [each.name for each in found] == [NAME]
    assert f"`%bai rm {NAME}` ends it" in found[0].note
    assert len(manager.registry.alive()) == 2


async def test_an_end_that_fails_is_told_and_can_be_tried_again(environ, client, manager):
    session_id = await session(client, NAME)
    leave(environ, NAME, session_id=session_id)
    fault = manager.faults.status(500, method="DELETE", path=f"/session/{session_id}", times=None)
    failed = await orphans.collect(environ)
    fault.times = 0
    found = await orphans.collect(environ)

    assert outcome(failed, NAME)[0] == orphans.FAILED
    assert "failed on the server" in outcome(failed, NAME)[1]
    assert outcome(found, NAME)[0] == orphans.ENDED


async def test_sessions_of_a_manager_that_is_gone_are_gone_with_it(environ, tmp_path):
    leave(environ, NAME, is_local=True, session_id="00000000-0000-0000-0000-000000000000")
    found = await orphans.collect(environ)

    assert outcome(found, NAME)[0] == orphans.GONE
    assert not (tmp_path / "state" / "local").exists()  # none was started to be asked


async def test_no_secret_is_in_a_lease(environ, client, tmp_path):
    leave(environ, NAME, session_id=await session(client, NAME))
    texts = [p.read_bytes() for p in (tmp_path / "state").rglob("*") if p.is_file()]

    assert texts
    assert not any(environ["BACKEND_SECRET_KEY"].encode() in text for text in texts)


# -- the finisher ---------------------------------------------------------------------------------


async def test_a_finisher_ends_a_session_when_the_server_answers_again(environ, client, manager):
    session_id = await session(client, NAME)
    leave(environ, NAME, session_id=session_id)
    manager.faults.drop(times=2, method="DELETE")

    assert await orphans.finish(NAME, environ)
    await next(iter(manager.registry)).over.wait()
    assert leases.survey(environ) == []


async def test_a_finisher_leaves_alone_what_a_kernel_has_taken_up(
    environ, client, manager, monkeypatch
):
    monkeypatch.setattr(orphans, "_OWNER_LEAVES", 0.3)
    lease = leave(environ, NAME, session_id=await session(client, NAME))
    lease.hold()

    assert not await orphans.finish(NAME, environ)
    assert len(manager.registry.alive()) == 1
    lease.release()


async def test_a_finisher_that_cannot_end_a_session_leaves_its_lease(
    environ, client, manager, monkeypatch
):
    monkeypatch.setattr(orphans, "_PATIENCE", 0.5)
    leave(environ, NAME, session_id=await session(client, NAME))
    manager.faults.drop(times=None, method="DELETE")

    assert not await orphans.finish(NAME, environ)
    assert [found.standing for found in leases.survey(environ)] == [leases.Standing.LEFT]


async def test_a_finisher_waits_for_a_session_that_was_asked_for_and_is_not_there_yet(
    environ, client, manager
):
    leave(environ, NAME)
    finishing = asyncio.create_task(orphans.finish(NAME, environ))
    while not manager.requests:  # noqa: ASYNC110 -- nobody tells
        await asyncio.sleep(0.02)
    await session(client, NAME)

    assert await finishing
    await next(iter(manager.registry)).over.wait()


async def test_a_handed_over_session_is_ended_by_a_process_whose_words_have_no_secret(
    environ, client, manager, tmp_path
):
    session_id = await session(client, NAME)
    leave(environ, NAME, session_id=session_id)
    process = leases.hand_over(NAME, {**os.environ, **environ})
    await manager.session(session_id).over.wait()

    assert process.args == [sys.executable, "-m", "backendai_kernel.finish", NAME]
    assert await asyncio.to_thread(process.wait) == 0
    await eventually(lambda: not leases.survey(environ), "its lease is gone")
