"""Lists of sessions: which, how many requests, and what a word means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import Conflict, NotFound
from backendai_kernel.listing import Query, Which, find_session, list_sessions, owner_of
from backendai_kernel.local.auth import new_keypair
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from backendai_kernel.local.sessions import SessionRecord
from tests.conftest import ROOMY
from tests.signed import Signed, signed


def client_for(manager: LocalManager, keypair=None) -> Client:
    keypair = keypair or manager.keypair
    return Client(
        Config(endpoint=manager.url, access_key=keypair.access_key, secret_key=keypair.secret_key)
    )


@pytest.fixture
async def client(manager: LocalManager) -> AsyncIterator[Client]:
    async with client_for(manager) as client:
        await client.version()
        yield client


async def queue(api: Signed, count: int, prefix: str = "wait") -> None:
    """Make sessions that stay in the queue: each asks for all there is."""
    body = {"image": "python", "enqueueOnly": True, "config": {"resources": {"cpu": 8}}}
    registry = api.manager.registry
    for number in range(min(count, 3)):
        reply = await api("POST", "/session", body | {"name": f"{prefix}-{number:04}"})
        assert reply.status == 201
    pattern = registry.get(reply.body["sessionId"])
    for number in range(3, count):  # as many requests would take the scheduler minutes
        moment = pattern.created_at + timedelta(milliseconds=number)
        wanted = replace(pattern.wanted, name=f"{prefix}-{number:04}")
        registry.add(SessionRecord(wanted=wanted, created_at=moment, status_changed=moment))


@pytest.mark.parametrize(
    ("limit", "count", "requests", "listed"),
    [(20, 30, 1, 20), (10, 5, 1, 5), (100, 30, 1, 30), (None, 30, 1, 30), (None, 1000, 10, 1000)],
)
async def test_a_list_takes_as_few_requests_as_it_can(
    client, api, manager, limit, count, requests, listed
):
    await queue(api, count)
    before = client.requests
    found = await list_sessions(client, Query(limit=limit))

    assert (len(found.items), found.total) == (listed, count)
    assert client.requests - before == requests
    assert len({session.id for session in found.items}) == listed


async def test_the_pages_of_a_limit_are_cut_to_it(client, api):
    await queue(api, 250)
    found = await list_sessions(client, Query(limit=130, offset=110))

    assert len(found.items) == 130
    assert found.total == 250


async def test_newest_change_of_status_comes_first(client, api, manager):
    await api.start("older")
    await api.start("newer")
    await api("DELETE", f"/session/{manager.session('older').id}")
    found = await list_sessions(client, Query(Which.ALL))

    assert [session.name for session in found.items] == ["older", "newer"]


async def test_a_session_that_moves_between_pages_is_listed_once_and_not_lost(client, api, manager):
    await queue(api, 150)
    seen = []
    send = client.send

    async def and_move(call):
        answer = await send(call)
        if len(seen) == 0:  # after the first page, the oldest session becomes the newest
            seen.append(call)
            await api("DELETE", "/session/wait-0000")
        return answer

    client.send = and_move
    found = await list_sessions(client, Query(Which.ALL, limit=None))

    names = [session.name for session in found.items]
    assert sorted(names) == [f"wait-{n:04}" for n in range(150)]


@pytest.mark.parametrize("release", RELEASES)
async def test_every_choice_is_understood_by_every_release(tmp_path, release):
    async with LocalManager(tmp_path, slots=ROOMY, release=RELEASES[release]) as manager:
        async with signed(manager) as api, client_for(manager) as client:
            await api.start("runs")
            await queue(api, 1)
            gone = await api.start("gone")
            await api("DELETE", f"/session/{gone}")
            found = {
                which: {s.name for s in (await list_sessions(client, Query(which))).items}
                for which in Which
            }

    assert found[Which.RUNNING] == {"runs"}
    assert found[Which.LIVE] - {"gone"} == {"runs", "wait-0000"}  # one may still be ending
    assert found[Which.ALL] == {"runs", "wait-0000", "gone"}


async def test_a_status_that_we_do_not_know_is_listed(client, api, manager, monkeypatch):
    await queue(api, 1)
    record = manager.session("wait-0000")

    class Rescheduling:
        value, is_over = "RESCHEDULING", False

    monkeypatch.setattr(record, "status", Rescheduling)
    found = await list_sessions(client, Query())

    assert [session.status_name for session in found.items] == ["RESCHEDULING"]


async def test_own_sessions_are_listed_and_others_on_request(tmp_path):
    user = new_keypair(user_id="user@localhost", is_admin=False)
    async with LocalManager(tmp_path, slots=ROOMY, others=[user]) as manager:
        async with signed(manager) as api, signed(manager, user) as theirs:
            await queue(api, 1, "mine")
            await queue(theirs, 1, "theirs")
            async with client_for(manager) as admin, client_for(manager, user) as plain:
                own = await list_sessions(admin, Query())
                other = await list_sessions(admin, Query(access_key=user.access_key))
                everybody = await list_sessions(admin, Query(access_key="*"))
                users = await list_sessions(plain, Query())
                found = await find_session(admin, "theirs-0000", owner=user.access_key)
                owner = await owner_of(admin, found)

    assert [s.name for s in own.items] == ["mine-0000"]
    assert [s.name for s in other.items] == [s.name for s in users.items] == ["theirs-0000"]
    assert len(everybody.items) == 2
    assert owner == user.access_key


async def test_a_session_is_found_by_name_id_and_beginning(client, api, manager):
    session_id = await api.start("found")

    for word in ("found", session_id, session_id.upper(), session_id[:8]):
        assert (await find_session(client, word)).id == session_id


async def test_a_live_session_wins_over_dead_ones_of_its_name(client, api, manager):
    old = await api.start("twice")
    await api("DELETE", f"/session/{old}")
    await manager.registry.get(old).over.wait()
    with pytest.raises(NotFound, match="has ended"):
        await find_session(client, "twice")
    assert (await find_session(client, "twice", dead=True)).id == old
    new = await api.start("twice")

    assert (await find_session(client, "twice", dead=True)).id == new
    assert (await find_session(client, old[:8], dead=True)).id == old


async def test_what_cannot_be_found_is_said_with_a_close_name(client, api):
    await queue(api, 2)

    with pytest.raises(NotFound, match="Did you mean wait-000"):
        await find_session(client, "wait-00")
    with pytest.raises(NotFound, match="%bai ps"):
        await find_session(client, 'quo"te\\')
    with pytest.raises(NotFound):
        await find_session(client, "00000000-0000-0000-0000-000000000000")


async def test_an_ambiguous_beginning_is_refused(client, api, manager):
    await queue(api, 40)
    first = [record.id[0] for record in manager.registry]
    letter = next(c for c in first if first.count(c) > 1)
    together = [r.id for r in manager.registry if r.id[0] == letter]
    for record in manager.registry:
        if record.id in together[:2]:
            manager.registry._sessions.pop(record.id)
            record.id = "abcd" + record.id[4:]
            manager.registry._sessions[record.id] = record

    with pytest.raises(Conflict, match="2 sessions"):
        await find_session(client, "abcd")
