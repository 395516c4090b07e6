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

from .proxy.frontend import eventually
from .test_session import session_of, texts

LIMIT = 120  # seconds that nothing here takes
# Each writes a file when it heeds interrupts no more; {} is its path.
IGNORE = (
    "import ctypes, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "open('{0}', 'x').close()\n"
)
IGNORES = f"{IGNORE}while True: time.sleep(0.05)"
BLOCKS = f"{IGNORE}ctypes.CDLL(None).sleep(600)"
HOLDS = (  # with the lock that threads need, until there is another file
    "import ctypes\nwait = ctypes.PyDLL(None).system\n"
    f"{IGNORE}_ = wait(b\"trap '' INT; until [ -e '{{0}}-enough' ]; do sleep 0.1; done\")"
)


async def left_running(session, code: str, sign: Path) -> None:
    """Begin code, and leave it when it heeds interrupts no more."""
    head = {"origin": "o", "count": 2, "options": {}}
    async with session.cell(code.format(sign), head) as run:
        reading = asyncio.ensure_future(anext(run))
        await eventually(sign.exists, "the code has begun")
        reading.cancel()


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
        await left_running(session, code, tmp_path / "begun")
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
        await left_running(session, HOLDS, tmp_path / "begun")
        with pytest.raises(RunLost, match="lets nothing else run"):
            await replace_interpreter(session)
        (tmp_path / "begun-enough").touch()

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
