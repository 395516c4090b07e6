"""From a wish to a running session, also when the wish cannot be fulfilled."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from backendai_kernel import start as start_module
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import (
    BackendError,
    ConfigError,
    ConnectError,
    NotFound,
    QuotaExceeded,
    SessionFailed,
)
from backendai_kernel.local.auth import KeyPairPolicy
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.model import session_name
from backendai_kernel.protocol.run import Text
from backendai_kernel.run import collect
from backendai_kernel.slots import parse_words
from backendai_kernel.start import Progress, Request, start_session

LIMIT = 60  # seconds that nothing here takes
SMALL = {"cpu": Decimal(1), "mem": Decimal(2 * 2**30)}
PYTHON = Request("python")


@pytest.fixture
async def client(manager: LocalManager) -> AsyncIterator[Client]:
    async with Client(config_for(manager)) as client, asyncio.timeout(LIMIT):
        yield client


def config_for(manager: LocalManager) -> Config:
    return Config.from_env(
        {},
        with_profile=False,
        endpoint=manager.url,
        access_key=manager.access_key,
        secret_key=manager.secret_key,
    )


async def texts(session, code: str) -> str:
    events = await collect(session.run(code))
    return "".join(event.text for event in events if isinstance(event, Text))


async def nothing_lives(manager: LocalManager) -> bool:
    """Wait until the sessions that are about to end have ended."""
    for record in manager.registry.alive():
        await record.over.wait()
    return manager.registry.alive() == []


# -- what is asked for is had -----------------------------------------------------------------


async def test_a_session_is_started_and_its_steps_are_told(client, manager):
    steps: list[Progress] = []
    session = await start_session(client, PYTHON, "train", on_progress=steps.append)

    assert await texts(session, "print('ready')") == "ready\n"
    assert (session.name, session.is_new, session.is_fresh) == ("train", True, True)
    assert steps[0].status_name == "PENDING"
    assert [step.status_name for step in steps[-2:]] == ["RUNNING", "STARTING PYTHON"]
    assert {step.session_id for step in steps} == {session.id}


async def test_resources_and_environment_reach_the_session(client, manager):
    wanted = parse_words(["cpu=2", "mem=1g", "gpu=0.5"])
    session = await start_session(client, Request("python", wanted, {"COLOUR": "red"}), "train")
    record = manager.session("train")

    assert {name: Decimal(amount) for name, amount in record.allocated.items()} == {
        "cpu": 2,
        "mem": 2**30,
        "cuda.shares": Decimal("0.5"),
    }
    assert await texts(session, "import os; print(os.environ['COLOUR'])") == "red\n"


async def test_a_live_session_of_that_name_is_taken(client):
    first = await start_session(client, PYTHON, "train")
    await collect(first.run("x = 1"))
    second = await start_session(client, PYTHON, "train")

    assert (second.id, second.is_new, second.is_fresh) == (first.id, False, False)
    assert await texts(second, "print(x)") == "1\n"


async def test_a_cancelled_taking_leaves_the_session_of_others_alone(client, manager):
    await start_session(client, PYTHON, "train")
    again = asyncio.create_task(
        start_session(client, PYTHON, "train", on_progress=lambda step: again.cancel())
    )
    with pytest.raises(asyncio.CancelledError):
        await again

    assert [record.name for record in manager.registry.alive()] == ["train"]
    assert (await client.send(start_module.calls.get_session(manager.session("train").id))).status


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("train", "train"),
        ("nb-1.2_x", "nb-1.2_x"),
        ("my notebook.ipynb", "my-notebook.ipynb"),
        ("Übung 1", "bung-1"),
        ("-x-", "session-x"),
        ("", "session"),
        ("日本語", "session"),
        ("a" * 80, "a" * 64),
        ("a" * 63 + "-b", "a" * 63),
    ],
)
def test_a_name_is_made_one_that_servers_take(text, name):
    assert session_name(text) == name
    assert re.fullmatch(r"(?=.{4,64}$)\w[\w.-]*\w", session_name(text), re.ASCII)


# -- what cannot be had -----------------------------------------------------------------------


async def test_an_unknown_image_is_told_with_close_ones(client, manager):
    with pytest.raises(NotFound) as caught:
        await start_session(client, Request("pyhton"), "train")

    assert caught.value.message == "There is no image 'pyhton' on this server."
    assert caught.value.hint.startswith("Did you mean ")
    assert "python" in caught.value.hint
    assert manager.registry.alive() == []


async def test_an_image_like_no_other_is_told_with_what_there_is(client):
    with pytest.raises(NotFound) as caught:
        await start_session(client, Request("zzzz"), "train")

    assert caught.value.hint.startswith("There is ")
    assert "python" in caught.value.hint


async def test_a_resource_that_the_server_does_not_have_asks_for_nothing(tmp_path: Path):
    async with LocalManager(tmp_path / "manager", slots=SMALL) as manager:
        async with Client(config_for(manager)) as client:
            with pytest.raises(ConfigError, match="This server has no GPU"):
                await start_session(client, Request("python", parse_words(["gpu=1"])), "train")

        assert not any(r.path == "/session" for r in manager.requests)


async def test_more_than_there_is_can_never_start(client, manager, monkeypatch):
    monkeypatch.setattr(start_module, "_EXPLAIN_AFTER", 0.1)
    with pytest.raises(QuotaExceeded) as caught:
        await start_session(client, Request("python", parse_words(["cpu=64"])), "train")

    assert caught.value.message == (
        "A session with cpu=64 mem=320m can never start: this cluster has cpu=8."
    )
    assert await nothing_lives(manager)


async def test_less_than_an_agent_gives_out_can_never_start(client, manager, monkeypatch):
    monkeypatch.setattr(start_module, "_MADE_WITHIN", 0.1)
    with pytest.raises(QuotaExceeded) as caught:
        await start_session(client, Request("python", parse_words(["gpu=0.05"])), "train")

    assert caught.value.message == (
        "A session with cpu=1 mem=320m cuda.shares=0.05 can never start: "
        "cuda.shares is given out by the tenth."
    )
    assert caught.value.hint.startswith("Ask for more with -r")
    assert await nothing_lives(manager)


async def test_more_than_the_keypair_may_have_can_never_start(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(start_module, "_EXPLAIN_AFTER", 0.1)
    policy = KeyPairPolicy(total_resource_slots={"cpu": Decimal(1), "mem": Decimal(2**30)})
    async with LocalManager(tmp_path / "manager", policy=policy) as manager:
        async with Client(config_for(manager)) as client:
            with pytest.raises(QuotaExceeded) as caught:
                await start_session(client, Request("python", parse_words(["mem=4g"])), "train")

        assert await nothing_lives(manager)
    assert caught.value.message == (
        "A session with cpu=1 mem=4g can never start: you may have mem=1g at the most."
    )


async def test_one_session_too_many_is_refused_at_once(tmp_path: Path):
    policy = KeyPairPolicy(max_concurrent_sessions=1)
    async with LocalManager(tmp_path / "manager", policy=policy) as manager:
        async with Client(config_for(manager)) as client:
            await start_session(client, PYTHON, "first")
            with pytest.raises(QuotaExceeded, match="concurrent-session limit of 1"):
                await start_session(client, PYTHON, "second")

        assert [record.name for record in manager.registry.alive()] == ["first"]


# -- the queue --------------------------------------------------------------------------------


async def in_the_queue(manager: LocalManager, client: Client, steps: list[Progress]):
    """Fill the manager, and begin to wait for a session; return the first one and the wait."""
    first = await start_session(client, PYTHON, "first")
    explained = asyncio.Event()

    def told(step: Progress) -> None:
        steps.append(step)
        if step.note:
            explained.set()

    waiting = asyncio.create_task(start_session(client, PYTHON, "second", on_progress=told))
    await asyncio.wait(
        [waiting, asyncio.create_task(explained.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    return first, waiting


@pytest.fixture
async def full(tmp_path: Path, monkeypatch) -> AsyncIterator[tuple[LocalManager, Client]]:
    """A manager with room for one session, and a client of it."""
    monkeypatch.setattr(start_module, "_EXPLAIN_AFTER", 0.1)
    async with LocalManager(tmp_path / "manager", slots=SMALL) as manager:
        async with Client(config_for(manager)) as client, asyncio.timeout(LIMIT):
            yield manager, client


async def test_a_session_waits_in_the_queue_and_is_told_for_what(full):
    manager, client = full
    steps: list[Progress] = []
    first, waiting = await in_the_queue(manager, client, steps)
    await first.destroy()
    second = await waiting

    assert {step.note for step in steps if step.note} == {
        "The cluster is busy: the session starts when resources are free."
    }
    assert steps[-1].note == ""
    assert await texts(second, "print('ready')") == "ready\n"


async def test_cancelling_in_the_queue_leaves_nothing(full):
    manager, client = full
    _, waiting = await in_the_queue(manager, client, [])
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert [record.name for record in manager.registry.alive()] == ["first"]


# -- trouble ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["drop", "drop_after", "cut"])
async def test_a_creation_whose_answer_was_lost_makes_one_session(client, manager, method):
    await client.version()
    fault = getattr(manager.faults, method)(path="/session", method="POST")
    session = await start_session(client, PYTHON, "train")

    assert fault.hits == 1
    assert session.is_new
    assert [str(record.id) for record in manager.registry.alive()] == [session.id]


async def test_a_server_that_never_answers_a_creation_is_told_and_nothing_is_left(client, manager):
    await client.version()
    fault = manager.faults.drop(path="/session", method="POST", times=None)
    with pytest.raises(ConnectError, match="was lost"):
        await start_session(client, PYTHON, "train")

    assert fault.hits == 3
    assert await nothing_lives(manager)


async def test_a_creation_that_nobody_can_tell_about_is_told(client, manager):
    await client.version()
    manager.faults.drop_after(path="/session", method="POST")
    manager.faults.drop(path="/admin/gql", times=None)
    with pytest.raises(ConnectError, match="may be there all the same") as caught:
        await start_session(client, PYTHON, "train")

    assert "\n" not in caught.value.message


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("method", ["drop", "drop_after"])
async def test_a_session_from_before_outlives_a_lost_answer(
    client, manager, monkeypatch, reuse, method
):
    monkeypatch.setattr("backendai_kernel.creation._SAME_TIME", 0.0)
    before = await start_session(client, PYTHON, "train")
    manager.session("train").created_at -= timedelta(seconds=60)
    getattr(manager.faults, method)(path="/session", method="POST")
    if reuse:
        after = await start_session(client, PYTHON, "train", reuse=True)
        assert (after.id, after.is_new) == (before.id, False)
    else:
        with pytest.raises(BackendError):
            await start_session(client, PYTHON, "train", reuse=False)

    assert [str(record.id) for record in manager.registry.alive()] == [before.id]


async def test_a_session_that_is_ended_while_it_starts_is_told(full):
    manager, client = full
    _, waiting = await in_the_queue(manager, client, [])
    manager.end(manager.session("second"), "user-requested")
    with pytest.raises(SessionFailed, match="The session did not start: "):
        await waiting


async def test_a_session_without_an_interpreter_is_replaced_and_then_given_up(
    client, manager, tmp_path: Path
):
    # surprise 11: every run of such a session ends at once, with exit code 127 and no output
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit('broken')")
    steps: list[Progress] = []
    request = Request("python", environ={"PYTHONPATH": str(tmp_path)})
    with pytest.raises(SessionFailed) as caught:
        await start_session(client, request, "train", on_progress=steps.append)
    created = sum((r.method, r.path) == ("POST", "/session") for r in manager.requests)

    assert caught.value.message == "No interpreter comes up in sessions of the image 'python'."
    assert created == 2
    assert [step.status_name for step in steps].count("REPLACING") == 2
    assert await nothing_lives(manager)


async def test_a_session_whose_interpreter_missed_its_start_is_replaced_by_one_that_works(
    client, manager, tmp_path: Path
):
    (tmp_path / "ipykernel_launcher.py").write_text(
        "import pathlib\n"
        f"was_here = pathlib.Path({str(tmp_path / 'was-here')!r})\n"
        "if not was_here.exists():\n"
        "    was_here.touch()\n"
        "    raise SystemExit('not this time')\n"
        "from ipykernel import kernelapp\n"
        "kernelapp.launch_new_instance()\n"
    )
    steps: list[Progress] = []
    request = Request("python", environ={"PYTHONPATH": str(tmp_path)})
    session = await start_session(client, request, "train", on_progress=steps.append)

    assert await texts(session, "print('ready')") == "ready\n"
    assert [step.status_name for step in steps].count("REPLACING") == 1
    assert [record.id for record in manager.registry.alive()] == [session.id]
