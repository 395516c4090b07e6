"""Runs in real sessions of an embedded manager, on good days and on bad ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backendai_kernel import run as run_module
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import ConnectError, RunLost
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.protocol.envelope import Message
from backendai_kernel.protocol.run import Finished, InputRequest, Text
from backendai_kernel.run import Run, collect
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session

LIMIT = 60  # seconds that nothing here takes


@pytest.fixture
async def session(manager: LocalManager) -> AsyncIterator[ComputeSession]:
    config = Config.from_env(
        {},
        with_profile=False,
        endpoint=manager.url,
        access_key=manager.access_key,
        secret_key=manager.secret_key,
    )
    async with Client(config) as client, asyncio.timeout(LIMIT):
        yield await start_session(client, Request("python"), "s1")


async def texts(session: ComputeSession, code: str) -> str:
    """Run code and return all that it printed."""
    return printed(await collect(session.run(code)))


def printed(events: list) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def kinds(events: list) -> list[str]:
    return [e.kind if isinstance(e, Message) else type(e).__name__ for e in events]


async def first_text(run: Run) -> str:
    """Poll until the code has printed something, which proves that it runs."""
    async for event in run:
        if isinstance(event, Text):
            return event.text
    raise AssertionError("the run printed nothing")


ENDLESS = "print('running', flush=True)\nimport time\nwhile True: time.sleep(0.05)"


# -- ordinary runs ----------------------------------------------------------------------------


async def test_a_run_ends_with_its_exit_code(session):
    events = await collect(session.run("print('a')\nprint('b')"))

    assert printed(events) == "a\nb\n"
    assert events[-1] == Finished(0)


async def test_a_value_and_an_error_are_messages(session):
    value = await collect(session.run("6 * 7"))
    error = await collect(session.run("1/0"))

    assert kinds(value) == ["execute_result", "Finished"]
    assert value[0].content["data"] == {"text/plain": "42"}
    assert kinds(error) == ["error", "Finished"]
    assert error[0].content["ename"] == "ZeroDivisionError"


async def test_variables_stay(session):
    await collect(session.run("x = 20"))

    assert await texts(session, "print(x + 1)") == "21\n"


async def test_one_request_is_enough_for_a_short_run(session):
    before = session.client.requests
    await collect(session.run("1 + 1"))

    assert session.client.requests == before + 1


async def test_output_comes_while_the_code_runs(session):
    async with session.run(ENDLESS) as run:
        assert await first_text(run) == "running\n"
        assert not run.is_over


async def test_what_is_asked_for_is_given(session):
    async with session.run("name = input('name? ')\nprint('hi', name)") as run:
        request = await anext(run)
        run.give_input("Ada\n")
        rest = [event async for event in run]

    assert request == InputRequest("name? ", is_password=False)
    assert printed(rest) == "hi Ada\n"


async def test_a_password_is_asked_for_as_one(session):
    async with session.run("import getpass; print(len(getpass.getpass('pw: ')))") as run:
        request = await anext(run)
        run.give_input("four")
        rest = [event async for event in run]

    assert request == InputRequest("pw: ", is_password=True)
    assert printed(rest) == "4\n"


async def test_a_run_that_waits_for_input_is_not_polled_by_mistake(session):
    async with session.run("input()") as run:
        await anext(run)
        with pytest.raises(RuntimeError, match="give_input"):
            await anext(run)
        run.give_input("")
        async for _ in run:
            pass


async def test_runs_take_turns(session):
    slow = asyncio.create_task(collect(session.run("import time; time.sleep(0.3); print('first')")))
    await asyncio.sleep(0)  # the first one is in
    quick = asyncio.create_task(collect(session.run("print('second')")))
    done = [printed(await task) for task in (slow, quick)]

    assert done == ["first\n", "second\n"]


# -- interrupts and goodbyes ------------------------------------------------------------------


async def test_an_interrupt_ends_the_code_with_its_own_error(session):
    async with session.run(ENDLESS) as run:
        await first_text(run)
        await run.interrupt()
        rest = [event async for event in run]

    assert kinds(rest) == ["error", "Finished"]
    assert rest[0].content["ename"] == "KeyboardInterrupt"
    assert await texts(session, "print('ready')") == "ready\n"


async def test_an_interrupt_while_the_code_waits_for_input(session):
    async with session.run("input('? ')") as run:
        assert isinstance(await anext(run), InputRequest)
        await run.interrupt()
        rest = [event async for event in run]

    assert kinds(rest) == ["error", "Finished"]
    assert await texts(session, "print('ready')") == "ready\n"


async def test_code_that_catches_the_interrupt_and_asks_again_is_not_stuck(session):
    code = "try: input('a? ')\nexcept KeyboardInterrupt: print('caught'); input('b? ')"
    async with session.run(code) as run:
        await anext(run)
        await run.interrupt()
        rest = [event async for event in run]

    assert "caught" in printed(rest)
    assert run.is_over
    assert await texts(session, "print('ready')") == "ready\n"


async def test_leaving_early_ends_the_code(session):
    async with session.run(ENDLESS) as run:
        await first_text(run)

    assert run.is_over
    assert await texts(session, "print('ready')") == "ready\n"


async def test_a_cancelled_run_leaves_the_session_ready(session, manager):
    task = asyncio.create_task(collect(session.run("import time; time.sleep(60)")))
    await manager.running("s1")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await texts(session, "print('ready')") == "ready\n"


async def test_an_answer_under_way_is_not_lost_by_a_cancelled_look(session):
    async with session.run("import time; time.sleep(0.5); print('kept')") as run:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(run)
        rest = [event async for event in run]

    assert printed(rest) == "kept\n"


async def test_a_run_cancelled_while_it_waits_its_turn_runs_nothing(session):
    async with session.run(ENDLESS) as run:
        await first_text(run)
        waiting = asyncio.create_task(collect(session.run("never = True")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert await texts(session, "print('never' in dir())") == "False\n"


async def test_code_that_ignores_the_interrupt_keeps_the_turn_until_it_ends(
    session, monkeypatch, tmp_path
):
    monkeypatch.setattr(run_module, "_DRAIN", 0.2)
    code = (
        "import os, signal, time\n"
        "before = signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.02)\n"
        "signal.signal(signal.SIGINT, before)\n"
        "done = True"
    )
    async with session.run(code) as run:
        await first_text(run)
    left_to_itself = not run.is_over
    (tmp_path / "go").touch()

    assert left_to_itself
    assert await texts(session, "print(done)") == "True\n"


# -- bad days ---------------------------------------------------------------------------------


def path_of(session: ComputeSession) -> str:
    return f"/session/{session.id}"


async def test_html_from_before_our_time_does_not_wedge_the_session(session):
    raw = (
        "bai = get_ipython()._bai; html = {'data': {'text/html': '<b>x</b>'}, 'metadata': {}}\n"
        "bai.send_raw(bai.kernel.iopub_socket, 'display_data', html, parent=bai.parent)\n"
        "wedged = True"
    )
    seen = []
    with pytest.raises(ConnectError, match=r"how the code ended was lost \(HTTP 500\)"):
        async with session.run(raw) as run:
            async for event in run:
                seen.append(event)

    assert "The answer of the server was lost (HTTP 500)" in printed(seen)
    assert await texts(session, "print(wedged)") == "True\n"


@pytest.mark.parametrize(("trouble", "runs"), [("drop", 0), ("drop_after", 1)])
async def test_a_lost_answer_runs_nothing_twice_and_is_no_success(session, manager, trouble, runs):
    # whether the code was run cannot be told, so the cells after it must not go on
    await collect(session.run("runs = 0"))
    fault = getattr(manager.faults, trouble)(path=path_of(session))
    with pytest.raises(ConnectError) as caught:
        await collect(session.run("runs += 1"))

    assert fault.hits == 1
    assert caught.value.message == (
        "The answer that told how the code ended was lost (the connection broke): it may have run "
        "to its end, in part, or not at all."
    )
    assert caught.value.sent
    assert await texts(session, "print(runs)") == f"{runs}\n"


async def test_a_lost_answer_to_code_that_still_runs_is_taken_up(session, manager):
    fault = manager.faults.drop_after(path=path_of(session))
    events = await collect(session.run("import time; time.sleep(5); print('last')"))

    assert fault.hits == 1
    assert printed(events).endswith("last\n")
    assert events[-1] == Finished(0)


async def lose_a_poll(session, manager, seconds: int) -> list:
    """Lose the second answer of a run that lasts so long; return the events after the first."""
    code = f"print('first', flush=True); import time; time.sleep({seconds}); print('last')"
    async with session.run(code) as run:
        await first_text(run)
        fault = manager.faults.drop_after(path=path_of(session))
        rest = []
        try:
            async for event in run:
                rest.append(event)
        finally:
            assert fault.hits == 1
            assert "The answer of the server was lost" in printed(rest)
    return rest


async def test_a_poll_whose_answer_is_lost_goes_on(session, manager):
    rest = await lose_a_poll(session, manager, seconds=7)

    assert printed(rest).endswith("last\n")
    assert rest[-1] == Finished(0)
    assert await texts(session, "print('ready')") == "ready\n"


async def test_a_poll_whose_answer_told_the_end_is_no_success(session, manager):
    with pytest.raises(ConnectError, match="how the code ended was lost"):
        await lose_a_poll(session, manager, seconds=3)

    assert await texts(session, "print('ready')") == "ready\n"


async def test_the_servers_own_failure_in_a_poll_is_survived(session, manager):
    async with session.run(ENDLESS) as run:
        await first_text(run)
        fault = manager.faults.status(502, times=2, path=path_of(session))
        poll = asyncio.create_task(anext(run))
        lost = await poll
        await run.interrupt()
        rest = [event async for event in run]

    assert fault.hits == 2
    assert "HTTP 502" in lost.text
    assert run.is_over
    assert "KeyboardInterrupt" in str(rest)
    assert await texts(session, "print('ready')") == "ready\n"


async def test_code_that_never_left_says_so(session, manager):
    url = session.client.config.endpoint
    await manager._runner.cleanup()  # nothing listens any more
    with pytest.raises(ConnectError, match=f"Nothing answers at {url}") as caught:
        await collect(session.run("1"))

    assert not caught.value.sent


async def test_a_run_that_was_left_is_given_up_when_its_server_stays_away(
    session, manager, monkeypatch
):
    """One that somebody waits for goes on as long as its session lives."""
    monkeypatch.setattr(run_module, "_REACH_AGAIN", 0.3)
    async with session.run(ENDLESS) as run:
        await first_text(run)
        manager.faults.drop(times=None, path="*")
    async with asyncio.timeout(60):
        await asyncio.gather(*session.endings)
    manager.faults.clear()

    assert not session.turn.locked()


async def test_a_session_that_ends_under_the_code_says_why(session, manager):
    async with session.run(ENDLESS) as run:
        await first_text(run)
        manager.end(manager.session("s1"), "idle-timeout")
        with pytest.raises(RunLost, match="The session has ended while the code ran") as caught:
            async for _ in run:
                pass

    assert "Run the cell again for a new session." in caught.value.hint


async def test_a_container_that_dies_under_the_code_is_noticed(session, manager):
    async with session.run(ENDLESS) as run:
        await first_text(run)
        await manager.faults.kill_runner("s1")
        with pytest.raises(RunLost):
            async for _ in run:
                pass


async def test_a_session_that_has_ended_refuses_the_next_run(session):
    await session.destroy()
    with pytest.raises(RunLost, match="The session has ended"):
        while True:  # it is TERMINATING for a moment, and still answers
            await collect(session.run("1"))


async def test_an_interpreter_that_dies_under_the_code_is_noticed(session, manager):
    # recording 28: the server answers "continued" for ever
    async with session.run(ENDLESS) as run:
        await first_text(run)
        await manager.faults.kill_interpreter("s1")
        with pytest.raises(RunLost, match="interpreter has died"):
            async for _ in run:
                pass

    assert run.is_over


async def test_code_that_is_silent_for_long_is_not_taken_for_dead(session):
    events = await collect(session.run("import time; time.sleep(6); print('alive')"))

    assert printed(events) == "alive\n"
