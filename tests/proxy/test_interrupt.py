"""The stop button, whatever the kernel is busy with; it never costs the kernel."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from backendai_kernel.local.agent import Container, ContainerSpec
from backendai_kernel.local.manager import LocalManager

from .frontend import Notebook, environment_for, eventually, open_notebook

ASLEEP = "import time\ntime.sleep(600)"

# Takes no notice of interrupts until a file of that name is there.
DEAF = """
import os, signal, time
before = signal.signal(signal.SIGINT, signal.SIG_IGN)
while not os.path.exists('enough'):
    time.sleep(0.05)
signal.signal(signal.SIGINT, before)
"""


@pytest.fixture(params=["message", "signal"])
async def notebook(request, manager: LocalManager, folder) -> AsyncIterator[Notebook]:
    """A kernel that is interrupted by a message, and one that is by SIGINT."""
    async with open_notebook(
        folder, environment_for(manager, folder), interrupt_mode=request.param
    ) as notebook:
        yield notebook


@pytest.mark.alone
async def test_running_code_is_interrupted_in_half_a_second(notebook):
    latencies = []
    for _ in range(5):
        cell = await notebook.started(ASLEEP)
        began = time.monotonic()
        await notebook.interrupt()
        await cell.done()
        latencies.append(time.monotonic() - began)
        assert cell.error[0] == "KeyboardInterrupt"

    assert statistics.median(latencies) < 0.5
    assert (await notebook.run("'alive'")).result == "'alive'"


@pytest.mark.alone
async def test_a_cell_that_awaits_is_interrupted_in_half_a_second(notebook):
    """A plain ipykernel notices when its loop wakes for another reason."""
    latencies = []
    for _ in range(5):
        cell = await notebook.started("import asyncio; await asyncio.sleep(60)")
        began = time.monotonic()
        await notebook.interrupt()
        await cell.done()
        latencies.append(time.monotonic() - began)
        assert cell.error[0] == "CancelledError"

    assert statistics.median(latencies) < 0.5
    assert (await notebook.run("'alive'")).result == "'alive'"


async def test_an_interrupt_stops_run_all(notebook):
    cells = [await notebook.started(ASLEEP), notebook.send("print('next')")]
    await notebook.interrupt()
    for cell in cells:
        await cell.done()

    assert [cell.reply["status"] for cell in cells] == ["error", "aborted"]


async def test_an_interrupt_of_nothing_is_harmless(notebook):
    await notebook.run("x = 1")
    process = notebook.process
    await notebook.interrupt()
    cell = await notebook.run("x")

    assert cell.result == "1"
    assert notebook.process == process


async def test_an_interrupt_before_there_is_a_session_is_harmless(notebook):
    await notebook.interrupt_taken()

    assert (await notebook.run("1")).result == "1"


async def test_a_local_cell_is_interrupted_and_the_session_never_hears_of_it(notebook, manager):
    await notebook.run("0")
    before = len(manager.requests)
    # In short naps: Python misses a signal that comes just before it falls asleep.
    nap = "while True: time.sleep(0.05)"
    cell = notebook.send(f"%%local\nimport time\nprint('begun', flush=True)\n{nap}")
    await cell.until(lambda cell: cell.stdout)
    await notebook.interrupt()
    await cell.done()

    assert cell.error[0] == "KeyboardInterrupt"
    assert len(manager.requests) == before
    assert (await notebook.run("1")).result == "1"


async def test_code_that_ignores_an_interrupt_is_left_by_the_second(notebook, manager):
    cell = await notebook.started(DEAF)
    await notebook.interrupt()
    await cell.until(lambda cell: "takes no notice of interrupts" in cell.stderr)
    await notebook.interrupt()
    await cell.done()
    assert cell.error[0] == "KeyboardInterrupt"
    assert "Interrupt again" in cell.stderr
    assert "interrupt that one, and it offers a fresh interpreter" in cell.stderr

    # The session is busy with it until it ends; a cell that waits can be given up as well.
    waiting = notebook.send("'never'")
    await waiting.until(lambda cell: "this cell waits for its end" in cell.stderr)
    await notebook.interrupt()
    await waiting.until(lambda cell: cell.questions)
    notebook.answer("")
    await waiting.done()
    assert waiting.error[0] == "KeyboardInterrupt"

    [record] = manager.registry.alive()
    (manager.container(record.id).spec.work / "enough").touch()
    assert (await notebook.run("'free'")).result == "'free'"


BLOCKED = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
import ctypes
ctypes.CDLL(None).sleep(600)
"""


@pytest.mark.parametrize("code", [DEAF, BLOCKED], ids=["ignores", "blocked"])
async def test_the_third_interrupt_offers_a_fresh_interpreter(notebook, manager, code):
    await notebook.run("x = 1; open('kept.txt', 'w').close()")
    process, [record] = notebook.process, manager.registry.alive()
    cell = await notebook.started(code)
    await notebook.interrupt()
    await cell.until(lambda cell: "takes no notice of interrupts" in cell.stderr)
    await notebook.interrupt()
    await notebook.interrupt()
    await cell.until(lambda cell: cell.questions or cell.reply)
    if not cell.questions:  # two signals in one moment are one
        await cell.done()
        cell = notebook.send("'next'")
        await cell.until(lambda cell: "this cell waits" in cell.stderr or cell.reply)
        if cell.reply:  # aborted: ipykernel still clears what came behind the failed cell
            cell = notebook.send("'next'")
            await cell.until(lambda cell: "this cell waits" in cell.stderr)
        await notebook.interrupt()
        await cell.until(lambda cell: cell.questions)
    assert "Restart the interpreter?" in cell.questions[0]["prompt"]
    await cell.until(lambda cell: "files are kept, variables are lost" in cell.stderr)
    notebook.answer("y")
    await cell.done()
    assert cell.error[0] == "InterpreterRestarted"
    assert "run the cells that set them again" in cell.error[1]

    after = await notebook.run("import os; 'x' in dir(), os.path.exists('kept.txt')")
    assert after.result == "(False, True)"
    assert manager.registry.alive() == [record]
    assert notebook.process == process


async def test_a_fresh_interpreter_is_offered_by_the_next_cell_and_can_be_refused(
    notebook, manager
):
    cell = await notebook.started("x = 1\n" + DEAF)
    await notebook.interrupt()
    await cell.until(lambda cell: "takes no notice of interrupts" in cell.stderr)
    await notebook.interrupt()
    await cell.done()
    assert "interrupt that one" in cell.stderr
    if notebook.manager.kernel_spec.interrupt_mode == "message":
        await notebook.interrupt()  # there is no cell that could ask
        await cell.until(lambda cell: cell.stderr.count("interrupt that one") == 2)

    mute = notebook.send("'never'", allow_stdin=False)
    await mute.until(lambda cell: "this cell waits" in cell.stderr)
    await notebook.interrupt()
    await mute.done()
    assert mute.error[0] == "KeyboardInterrupt"
    assert "no input prompt to ask at: restart the kernel" in mute.stderr

    refused = notebook.send("'never'")
    await refused.until(lambda cell: "this cell waits" in cell.stderr)
    await notebook.interrupt()
    await refused.until(lambda cell: cell.questions)
    await notebook.interrupt()  # in place of an answer
    await refused.done()
    assert refused.error[0] == "KeyboardInterrupt"

    late = notebook.send("'never'")
    await late.until(lambda cell: "this cell waits" in cell.stderr)
    await notebook.interrupt()
    await late.until(lambda cell: cell.questions)
    [record] = manager.registry.alive()
    (manager.container(record.id).spec.work / "enough").touch()
    notebook.answer("yes")
    await late.done()
    assert late.error[0] in ("KeyboardInterrupt", "InterpreterRestarted")
    assert await notebook.is_alive()


async def test_the_interrupted_codes_own_words_are_shown(notebook):
    cell = await notebook.started(
        "import time\ntry:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    print('caught')"
    )
    await notebook.interrupt()
    await cell.done()

    assert cell.is_ok
    assert cell.stdout == "caught\n"


# -- the start of a session -----------------------------------------------------------------------


class Stuck:
    """Starts containers that never come up."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self, spec: ContainerSpec) -> Container:
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody ends the wait but a cancellation")


async def test_an_interrupted_start_leaves_nothing_behind(tmp_path, folder):
    stuck = Stuck()
    async with (
        LocalManager(tmp_path, start=stuck) as manager,
        open_notebook(folder, environment_for(manager, folder)) as notebook,
    ):
        cell = notebook.send("1")
        await stuck.begun.wait()
        await cell.until(lambda cell: cell.cards)
        await notebook.interrupt()
        await cell.done()
        await eventually(lambda: not manager.registry.alive(), "the session is gone")

        assert cell.error[0] == "KeyboardInterrupt"
        assert cell.cards[-1].startswith("■ Start cancelled")
        assert "Nothing was left running." in cell.cards[-1]


async def test_an_interrupted_wait_in_the_queue_leaves_nothing_behind(tmp_path, folder):
    one = {"cpu": Decimal(1), "mem": Decimal(2**33)}
    async with LocalManager(tmp_path, slots=one) as manager:
        environ = environment_for(manager, folder)
        async with open_notebook(folder, environ) as first, open_notebook(folder, environ) as two:
            await first.run("x = 1")
            cell = two.send("2")
            await cell.until(lambda cell: any("pending" in card for card in cell.cards))
            await two.interrupt()
            await cell.done()
            await eventually(lambda: len(manager.registry.alive()) == 1, "the second is gone")

            assert cell.error[0] == "KeyboardInterrupt"
            assert (await first.run("x")).result == "1"


async def test_a_cell_that_waits_in_the_queue_starts_when_there_is_room(tmp_path, folder):
    one = {"cpu": Decimal(1), "mem": Decimal(2**33)}
    async with LocalManager(tmp_path, slots=one) as manager:
        environ = environment_for(manager, folder)
        async with open_notebook(folder, environ) as two:
            async with open_notebook(folder, environ) as first:
                await first.run("1")
                cell = two.send("2")
                await cell.until(lambda cell: any("cluster is busy" in card for card in cell.cards))
            await cell.done()

            assert cell.result == "2"
            assert cell.cards[-1].startswith("✓ Session ready")
