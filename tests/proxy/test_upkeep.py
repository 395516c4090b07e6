"""The time that a session has: looked at, warned of once, put off; with a server that is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.expiry import (
    LIFETIME,
    NETWORK,
    UTILIZATION,
    Deadline,
    read_deadlines,
    warning,
)
from backendai_kernel.local.auth import KeyPairPolicy
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.sessions import SessionRecord
from backendai_kernel.proxy import upkeep
from backendai_kernel.proxy.upkeep import Upkeep
from backendai_kernel.start import Request, enqueue_session

from ..conftest import ROOMY
from .frontend import eventually

LONG = 10_000.0  # the manager's own check comes every 15 s; till then a number set here stands


class Watched(Upkeep):
    """An upkeep in a hurry, and what it said."""

    def __init__(self) -> None:
        self.is_busy = False
        self.touches = 0
        self.signs = 0
        self.warnings: list[str] = []
        super().__init__(self._sign, lambda: self.is_busy, self._run)
        self.on_warning = lambda deadline: self.warnings.append(deadline.check)
        self.first_look = self.look_soon = self.again = 0.05

    def _sign(self) -> None:
        self.signs += 1

    async def _run(self) -> None:
        self.touches += 1


@pytest.fixture
async def record(tmp_path: Path) -> AsyncIterator[tuple[SessionRecord, Client, LocalManager]]:
    policy = KeyPairPolicy(idle_timeout=LONG, max_session_lifetime=LONG)
    async with LocalManager(tmp_path / "manager", slots=ROOMY, policy=policy) as manager:
        environ = {
            "BACKEND_ENDPOINT": manager.url,
            "BACKEND_ACCESS_KEY": manager.access_key,
            "BACKEND_SECRET_KEY": manager.secret_key,
        }
        async with Client(Config.from_env(environ, with_profile=False)) as client:
            session, _ = await enqueue_session(client, Request("python"), "timed")
            yield manager.session(session.id), client, manager


async def counting(record: SessionRecord, check: str, begin: float) -> None:
    """Have a check's number fall, as it does at a server."""
    while True:
        record.remaining[check] = begin
        begin -= 1.0
        await asyncio.sleep(0.02)


@pytest.fixture
async def watched(record) -> AsyncIterator[Watched]:
    watched = Watched()
    watched.begin(record[1], record[0].id)
    yield watched
    watched.stop()


async def test_an_end_that_comes_near_is_told_once(record, watched):
    falling = asyncio.create_task(counting(record[0], NETWORK, 500.0))
    await eventually(lambda: watched.warnings, "it was told")
    looked = len(record[2].requests)
    await eventually(lambda: len(record[2].requests) > looked + 3, "it was looked again")
    falling.cancel()

    assert watched.warnings == [NETWORK]
    assert watched.signs == 1


async def test_an_end_that_was_put_off_is_told_again_when_it_comes_near_again(record, watched):
    falling = asyncio.create_task(counting(record[0], NETWORK, 500.0))
    await eventually(lambda: watched.warnings, "it was told")
    falling.cancel()
    await asyncio.wait([falling])
    record[0].remaining[NETWORK] = LONG
    watched.stop()  # the next look would come after minutes
    watched.warnings.clear()
    watched.begin(record[1], record[0].id)
    falling = asyncio.create_task(counting(record[0], NETWORK, 500.0))
    await eventually(lambda: watched.warnings, "it was told again")
    falling.cancel()

    assert watched.warnings == [NETWORK]


async def test_a_number_that_rests_is_no_warning(record, watched):
    record[0].remaining[NETWORK] = 100.0
    await eventually(lambda: len(record[2].requests) > 8, "it was looked several times")

    assert watched.warnings == []


async def test_idleness_is_no_danger_while_code_runs_and_a_lifetime_is(record, watched):
    watched.is_busy = True
    falling = [
        asyncio.create_task(counting(record[0], check, 500.0)) for check in (NETWORK, LIFETIME)
    ]
    await eventually(lambda: watched.warnings, "it was told")
    for each in falling:
        each.cancel()

    assert watched.warnings == [LIFETIME]
    assert [each.check for each in watched.deadlines] == [LIFETIME]


async def test_more_time_is_taken_again_and_again_until_it_is_let_go(record, watched, monkeypatch):
    monkeypatch.setattr(upkeep, "_MOST_OFTEN", 0.02)
    monkeypatch.setattr(upkeep, "_LEAST_OFTEN", 0.05)
    record[0].remaining[NETWORK] = 100.0
    before = await watched.keep_alive(60.0)
    await eventually(lambda: watched.touches > 2, "it was used")
    was_kept = await watched.forget_keeping()
    touches = watched.touches
    await asyncio.sleep(0.2)

    assert [(each.check, each.seconds) for each in before] == [(NETWORK, 100.0)]
    assert was_kept and watched.touches == touches
    assert not await watched.forget_keeping()


async def test_time_that_is_given_is_counted_anew(record, watched):
    record[0].remaining[NETWORK] = 3000.0
    await watched.look()
    record[0].remaining[NETWORK] = 700.0
    await watched.keep_alive(0.0)
    [left] = await watched.time_left()

    assert 2990.0 < left.seconds <= 3000.0
    assert watched.touches == 1


async def test_a_server_that_cannot_be_asked_is_asked_later(record, watched):
    fault = record[2].faults.status(500, path="/admin/gql", times=None)
    await eventually(lambda: fault.hits, "it was asked")

    assert watched.warnings == [] and watched.deadlines == ()


def test_what_ends_a_session_is_read_and_what_does_not_is_left_out():
    told = (
        '{"network_timeout": {"remaining": 300.5}, "session_lifetime": {"remaining": -1},'
        ' "utilization": {"remaining": null}, "odd": 3, "worse": {"remaining": true}}'
    )
    found = read_deadlines(told)

    assert [(each.check, each.seconds) for each in found] == [(LIFETIME, 0.0), (NETWORK, 300.5)]
    assert [read_deadlines(text) for text in (None, "", "[]", "{", "3")] == [()] * 5


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (20, "less than a minute"),
        (539, "8 min"),
        (4000, "1 h"),
        (9000, "2 h 30 min"),
        (1e5, "27 h"),
    ],
)
def test_a_time_is_said_as_exactly_as_it_matters(seconds, words):
    assert f"ends in {words} " in str(Deadline(NETWORK, seconds))


def test_a_warning_names_what_can_be_done():
    assert "`%bai keepalive`" in warning("s", Deadline(NETWORK, 540))
    assert "save what you need" in warning("s", Deadline(LIFETIME, 540))
    assert "more use of its resources" in warning("s", Deadline(UTILIZATION, 540))
