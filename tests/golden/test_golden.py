"""The recorded scenarios, replayed against the embedded manager with real containers.

All selected scenarios are replayed side by side first, a few at a time; then each is one test.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from backendai_kernel.local.auth import KeyPair
from backendai_kernel.local.creation import DEFAULT_SHMEM
from backendai_kernel.local.images import default_images
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.sessions import SessionRecord, Wanted
from tests.golden.exceptions import EXCEPTIONS, NOT_REPLAYED, SKIPPED, SOMETIMES
from tests.golden.replay import ADMIN, SAMPLES, TIGHT, USER, Recording, Replay, Replayed, fold
from tests.golden.same import Answer, differences

AT_ONCE = 6
PATIENCE = 60.0  # seconds for one scenario
RECORDED_IMAGE = "127.0.0.1:5000/stable/python:3.11-debian12"

Extra = Callable[[LocalManager], Awaitable[None]]


async def _kill_runner(manager: LocalManager) -> None:
    await manager.running("golden37-2b248")
    await asyncio.sleep(1)
    await manager.faults.kill_runner("golden37-2b248")


@dataclass(frozen=True)
class Scenario:
    """What must be there before a recording can be replayed.

    Attributes:
        live: Name → recorded id of a session that runs already.
        dead: Names of sessions that have ended.
        before: Code that ran before.
        extras: ``n`` → what happens besides the requests.
        give_up: ``n`` → seconds after which the recorded client gave up.
        pauses: ``n`` → seconds of idle time before it that matter.
    """

    live: dict[str, str] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)
    before: str = ""
    extras: dict[int, Extra] = field(default_factory=dict)
    give_up: dict[int, float] = field(default_factory=dict)
    pauses: dict[int, float] = field(default_factory=dict)


GOLDEN1 = {"golden1": "bc6abaa7-ab59-4d66-b912-5d2361a462ca"}
LIVE = Scenario(live=GOLDEN1)

SCENARIOS: dict[str, Scenario] = {
    "00": Scenario(),
    "01": Scenario(),
    "02": LIVE,
    "03": LIVE,
    "04": Scenario(),
    "05": Scenario(),
    "10": LIVE,
    "11": Scenario(live=GOLDEN1, before="x = 1"),
    # Loading matplotlib may take longer than a poll is held.
    "12": Scenario(live=GOLDEN1, before="import matplotlib.pyplot"),
    "13": LIVE,
    "14": LIVE,
    "14a": LIVE,
    "15": LIVE,
    "16": LIVE,
    "17": LIVE,
    "18": LIVE,
    "19": Scenario(),
    "20": LIVE,
    "21": LIVE,
    "22": LIVE,
    "23": LIVE,
    "24": LIVE,
    "25": Scenario(dead={"golden25": ""}, give_up={4: 0.5, 10: 0.3}),
    "26": Scenario(give_up={4: 0.4}),
    "27": Scenario(give_up={4: 0.4, 9: 0.4}),
    "28": Scenario(),
    "29": Scenario(pauses={6: 2.5}),
    "29a": Scenario(pauses={6: 2.5}),
    "30": Scenario(live=GOLDEN1, before="_ = open('id_container', 'w').write('key')"),
    "31": LIVE,
    "33": LIVE,
    "34": Scenario(),
    "35": Scenario(),
    "36": Scenario(),
    "37": Scenario(extras={6: _kill_runner}),
    "38": Scenario(pauses={9: 0.5}),  # the recorded server took longer to answer
    "39": Scenario(),
    "42": LIVE,
    "50": Scenario(),
    "60": Scenario(),
    "61": Scenario(),
    "62": LIVE,
    "63": Scenario(),
    "64": LIVE,
    "65": Scenario(live={"golden1": "", "bad name!": ""}),
    "66": LIVE,
    "67": Scenario(),
    "68": Scenario(),
    "80": Scenario(live=GOLDEN1, before="x = 1"),
    "90": Scenario(live=GOLDEN1 | {"bad name!": ""}),
    "91": Scenario(dead=GOLDEN1),
    "92": Scenario(dead=GOLDEN1),
    "95": Scenario(),
}


async def _replay(number: str, scenario: Scenario, root: Path) -> list[Replayed]:
    slots = {"cpu": Decimal(2), "mem": Decimal(24 * 2**30), "cuda.shares": Decimal(4)}
    async with (
        LocalManager(
            root,
            slots=slots,
            keypair=ADMIN,
            others=[USER, TIGHT],
        ) as manager,
        aiohttp.ClientSession() as http,
    ):
        words = {RECORDED_IMAGE: next(iter(default_images(sys.executable))).reference}
        for name, recorded_id in scenario.dead.items():
            record = await _session(manager, name, ADMIN)
            manager.end(record)
            await record.over.wait()
            words |= {recorded_id: record.id} if recorded_id else {}
        for name, recorded_id in scenario.live.items():
            record = await _session(manager, name, ADMIN)
            words |= {recorded_id: record.id} if recorded_id else {}
            if scenario.before:
                container = manager.container(name)
                await container.execute("query", scenario.before, "before", None, flush=PATIENCE)
        replay = Replay(
            manager,
            http,
            extras=scenario.extras,
            give_up=scenario.give_up,
            pauses=scenario.pauses,
            words=words,
        )
        return fold(await replay.run(Recording.read(number)))


async def _session(manager: LocalManager, name: str, owner: KeyPair) -> SessionRecord:
    wanted = Wanted(
        name=name,
        image=next(iter(default_images(sys.executable))),
        owner=owner,
        slots={"cpu": Decimal(1), "mem": Decimal(2**30 if name == "golden1" else 320 * 2**20)},
        shmem=DEFAULT_SHMEM,
    )
    record = manager.enqueue(wanted)
    await record.settled.wait()
    return record


async def _replay_all(numbers: list[str], root: Path) -> dict[str, list[Replayed] | Exception]:
    at_once = asyncio.Semaphore(AT_ONCE)
    results: dict[str, list[Replayed] | Exception] = {}

    async def one(number: str) -> None:
        async with at_once:
            try:
                async with asyncio.timeout(PATIENCE):
                    replayed = await _replay(number, SCENARIOS[number], root / number)
                results[number] = replayed
            except Exception as exc:  # belongs to one scenario: its own test raises it
                results[number] = exc

    await asyncio.gather(*map(one, numbers))
    return results


@pytest.fixture(scope="module")
def replayed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Replayed] | Exception]:
    """Replay every selected scenario, the longest first."""
    selected = {
        item.callspec.params["number"]
        for item in request.session.items
        if getattr(item, "callspec", None) and "number" in item.callspec.params
    }
    numbers = sorted(selected, key=lambda number: -Recording.read(number).length)
    return asyncio.run(_replay_all(numbers, tmp_path_factory.mktemp("golden")))


@pytest.mark.parametrize("number", SCENARIOS)
def test_the_embedded_manager_answers_as_recorded(
    number: str, replayed: dict[str, list[Replayed] | Exception]
) -> None:
    if number == "12":
        pytest.importorskip("matplotlib", reason="the recorded cell draws with it")
    result = replayed[number]
    if isinstance(result, Exception):
        raise result
    excused = {key: reason for key, reason in EXCEPTIONS.items() if key[0] in ("*", number)}
    found: list[str] = []
    used = set()
    for done in result:
        n = done.exchange["n"]
        if (number, n) in SKIPPED:
            continue
        for difference in _differences(done):
            keys = [key for key in excused if key[1] in (None, n) and difference.startswith(key[2])]
            used.update(keys)
            if not keys:
                found.append(
                    f"{n} {done.exchange['method']} {done.exchange['target']} {difference}"
                )

    assert not found, "\n".join(found)
    stale = {key for key in excused.keys() - used if key[0] != "*" and key not in SOMETIMES}
    assert not stale, "exceptions that excuse nothing any more"


def test_every_recording_is_replayed_or_said_why_not() -> None:
    kept = {path.name.partition("-")[0] for path in SAMPLES.glob("*.ndjson")}

    assert kept == SCENARIOS.keys() | NOT_REPLAYED.keys()


def _differences(done: Replayed) -> list[str]:
    recorded = done.exchange["answer"]
    if recorded is None or done.answer is None:
        hung, hangs = recorded is None, done.answer is None
        return [] if hung == hangs else [f"answer: recorded {recorded!r}, now {done.answer!r}"]
    if "ws" in done.exchange:
        return _frames(done)
    if "sse" in done.exchange:
        return _events(done)
    return list(differences(recorded, done.answer))


def _frames(done: Replayed) -> list[str]:
    recorded = [f["json"] for f in done.exchange["ws"] if f["from"] == "server" and "json" in f]
    was = {"status": 101, "kind": None, "limited": False, "json": _together(recorded)}
    shapes = [
        f"ws {difference}"
        for difference in differences(was, Answer(101, None, False, _together(done.frames)))
    ]
    closes = [f["code"] for f in done.exchange["ws"] if f["from"] == "server" and "code" in f]
    assert done.answer is not None
    now = done.answer.body["close"]
    return shapes if closes == [now] else [*shapes, f"close: recorded {closes}, now {now}"]


def _together(frames: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the last frame with the console of all: how many there are is a matter of time."""
    return frames[-1] | {"console": [item for frame in frames for item in frame["console"]]}


def _events(done: Replayed) -> list[str]:
    """Compare the names, reasons and keys of events in their order, one repeated counts once.

    What happened before the stream was open is not told again: here that may be more, because a
    session comes up in less time than the recorded client took to connect.
    """
    assert done.answer is not None
    was, now = _told("".join(done.exchange["sse"])), _told(done.answer.body)
    found = [] if done.answer.kind == "text/event-stream" else [f"kind: {done.answer.kind}"]
    return (
        found if now and was[-len(now) :] == now else [*found, f"events: recorded {was}, now {now}"]
    )


def _told(text: str) -> list[tuple[str, str, tuple[str, ...]]]:
    told: list[tuple[str, str, tuple[str, ...]]] = []
    for frame in text.split("\r\n\r\n"):
        lines = dict(line.split(": ", 1) for line in frame.split("\r\n") if ": " in line)
        if "event" in lines:
            data = json.loads(lines["data"])
            told.append((lines["event"], data["reason"], tuple(data)))
    return [event for i, event in enumerate(told) if i == 0 or event != told[i - 1]]
