from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from backendai_kernel.portal import Portal

LIMIT = 30  # seconds that nothing here takes


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close()


async def name_of_thread() -> str:
    return threading.current_thread().name


def test_work_is_done_on_a_thread_of_its_own(portal):
    assert portal.call(name_of_thread()) == "backendai-portal"


def test_no_thread_is_started_before_it_is_needed():
    before = threading.active_count()
    portal = Portal()
    portal.close()

    assert threading.active_count() == before


def test_many_threads_share_one_loop(portal):
    async def loop_of() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    loops: list[asyncio.AbstractEventLoop] = []
    threads = [
        threading.Thread(target=lambda: loops.append(portal.call(loop_of()))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)

    assert len(loops) == 8
    assert len(set(map(id, loops))) == 1


def test_an_error_comes_back_to_the_caller(portal):
    async def fail() -> None:
        raise ValueError("told")

    with pytest.raises(ValueError, match="told"):
        portal.call(fail())


async def test_work_is_awaited_from_another_loop(portal):
    assert await portal.run(name_of_thread()) == "backendai-portal"


class Work:
    """Waits for ever, and keeps what became of it; ``tidied`` is set after its clean-up."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.tidied = threading.Event()

    async def __call__(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.tidied.set()


def test_cancelling_the_future_cancels_the_work(portal):
    work = Work()
    future = portal.start(work())
    assert work.began.wait(LIMIT)
    future.cancel()

    assert work.tidied.wait(LIMIT)


async def test_cancelling_a_task_that_awaits_reaches_the_work(portal):
    work = Work()
    task = asyncio.create_task(portal.run(work()))
    await asyncio.to_thread(work.began.wait, LIMIT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await asyncio.to_thread(work.tidied.wait, LIMIT)


def test_closing_cancels_what_is_under_way_and_lets_it_tidy_up(portal):
    work = Work()
    future = portal.start(work())
    assert work.began.wait(LIMIT)
    portal.close()

    assert work.tidied.is_set()
    with pytest.raises(CancelledError):
        future.result(LIMIT)


def test_a_closed_portal_starts_again_when_it_is_needed(portal):
    first = portal.call(name_of_thread())
    portal.close()

    assert portal.call(name_of_thread()) == first


def test_an_interrupt_cancels_the_work_and_waits_for_its_clean_up(portal):
    work = Work()
    threading.Thread(
        target=lambda: work.began.wait(LIMIT) and os.kill(os.getpid(), signal.SIGINT)
    ).start()
    with pytest.raises(KeyboardInterrupt):
        portal.call(work())

    assert work.tidied.is_set()


class Interrupted(Portal):
    """Is interrupted while it hands its first work over: just before, or just after."""

    def __init__(self, before: bool) -> None:
        super().__init__()
        self.before: bool | None = before

    def start(self, work):
        before, self.before = self.before, None
        if before:
            raise KeyboardInterrupt
        future = super().start(work)
        if before is not None:
            raise KeyboardInterrupt
        return future


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_an_interrupt_as_the_work_is_handed_over_leaves_nothing_behind(before):
    portal, work = Interrupted(before), Work()
    with pytest.raises(KeyboardInterrupt):
        portal.call(work())
    portal.close()

    assert work.began.is_set() == work.tidied.is_set() == (not before)


def test_a_program_ends_while_work_is_under_way():
    program = """
import asyncio
from backendai_kernel.portal import Portal

async def work():
    try:
        await asyncio.sleep(3600)
    finally:
        print("tidied", flush=True)

async def begun():
    asyncio.current_task()

portal = Portal()
portal.start(work())
portal.call(begun())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "tidied\n", "")
