"""A fresh interpreter where the old one takes notice of nothing any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backendai_kernel.anew import replace_interpreter
from backendai_kernel.errors import RunLost
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from backendai_kernel.model import RunStatus
from backendai_kernel.protocol import calls
from backendai_kernel.run import collect

from .test_session import session_of, texts

LIMIT = 120  # seconds that nothing here takes
BEGUN = "print('begun', flush=True)\n"
IGNORES = (
    "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    f"{BEGUN}while True: time.sleep(0.05)"
)
BLOCKS = (
    "import ctypes, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
    f"{BEGUN}ctypes.CDLL(None).sleep(600)"
)
HOLDS = BLOCKS.replace("CDLL", "PyDLL").replace("600", "12")  # with the lock that threads need


async def left_running(session, code: str) -> None:
    """Begin code that says when it heeds interrupts no more, and leave it then."""
    head = {"origin": "o", "count": 2, "options": {}}
    async with session.cell(code, head) as run:
        async for _ in run:
            break


@pytest.mark.parametrize(
    ("release", "code"),
    [("23.09", IGNORES), ("26.4", IGNORES), ("26.4", BLOCKS)],
    ids=["in place", "ignores", "blocks"],
)
async def test_code_that_heeds_no_interrupt_is_replaced_in_its_container(
    release, code, tmp_path: Path
):
    async with (
        asyncio.timeout(LIMIT),
        LocalManager(tmp_path / "manager", release=RELEASES[release]) as manager,
        session_of(manager) as session,
    ):
        await collect(session.run("x = 1; open('kept', 'w').close()"))
        await left_running(session, code)
        assert session.endings
        await replace_interpreter(session)

        left = await texts(session, "import os; print('x' in dir(), os.path.exists('kept'))")
        assert left == "False True\n"
        assert not session.endings
        assert await texts(session, "print(os.path.exists('.backendai-restart'))") == "False\n"


async def test_code_that_lets_nothing_else_run_is_told_and_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("backendai_kernel.anew._LEAVING", 2.5)
    monkeypatch.setattr("backendai_kernel.run._DRAIN", 0.1)
    async with (
        asyncio.timeout(LIMIT),
        LocalManager(tmp_path / "manager") as manager,
        session_of(manager) as session,
    ):
        await collect(session.run("x = 1"))
        await left_running(session, HOLDS)
        with pytest.raises(RunLost, match="lets nothing else run"):
            await replace_interpreter(session)

        assert await texts(session, "print(x)") == "1\n"


async def test_an_interpreter_that_is_idle_is_replaced_as_ever(tmp_path):
    async with LocalManager(tmp_path / "manager") as manager, session_of(manager) as session:
        await collect(session.run("x = 1"))
        await replace_interpreter(session)

        assert await texts(session, "print('x' in dir())") == "False\n"


async def test_a_run_whose_question_went_to_a_dead_client_is_brought_to_its_end(tmp_path):
    async with LocalManager(tmp_path / "manager") as manager, session_of(manager) as session:
        call = calls.execute(session.id, "left", "query", "x = 1\ninput('who? ')")
        while (await session.client.send(call)).status is not RunStatus.WAITING_INPUT:
            call = calls.execute(session.id, "left", "continue")

        assert await session.take_over("left", asks=False)  # nobody knows that it asks
        assert await texts(session, "print(x)") == "1\n"
