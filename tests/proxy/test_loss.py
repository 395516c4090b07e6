"""How long a session lasts, why it ended, and the one step to go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backendai_kernel.local.auth import KeyPairPolicy
from backendai_kernel.local.manager import LocalManager

from ..conftest import ROOMY
from .frontend import environment_for, eventually, open_notebook
from .test_restart import session_of

# -- time -----------------------------------------------------------------------------------------


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[LocalManager]:
    """A manager that ends what nobody uses for some minutes."""
    policy = KeyPairPolicy(idle_timeout=240.0)
    async with LocalManager(tmp_path / "manager", slots=ROOMY, policy=policy) as manager:
        yield manager


LOOK = "%local k = get_ipython().kernel; print(k.portal.call(k._lane.upkeep.look()))"


async def test_time_left_is_shown_and_more_of_it_is_given(limited, folder):
    async with open_notebook(folder, environment_for(limited, folder)) as notebook:
        nothing = await notebook.run("%bai keepalive")
        first = await notebook.run("1")
        record = session_of(limited)
        record.remaining["network_timeout"] = 200.0  # it is checked anew after 15 s
        await notebook.run(LOOK)
        await first.until(lambda cell: "Ends in 3 min" in cell.cards[-1])
        where = await notebook.run("%bai")
        before = record.accessed
        kept = await notebook.run("%bai keepalive --for 2h")
        after = record.accessed
        stopped = await notebook.run("%bai keepalive --off")
        again = await notebook.run("%bai keepalive --off")
        wrong = await notebook.run("%bai keepalive --for ever")

    assert "no session yet" in nothing.error[1]
    assert "unless something runs in it" in first.cards[-1]
    assert "ends in 3 min unless something runs in it" in where.result
    assert "idle time begins anew" in kept.result and "2 h from now" in kept.result
    assert after > before
    assert "is kept alive no longer" in stopped.result
    assert "was not kept alive" in again.result
    assert "no time to keep a session for" in wrong.error[1]


# -- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("idle-timeout", "as long as its server lets a session be idle"),
    ],
)
async def test_a_session_that_ends_between_two_cells_says_why(notebook, manager, reason, words):
    await notebook.run("x = 1")
    record = session_of(manager)
    manager.end(record, reason)
    await record.over.wait()
    cell = await notebook.run("x")

    assert cell.error[0] == "RunLost"
    assert "since the last cell: " in cell.error[1]
    assert words in cell.error[1] and f"({reason})" in cell.error[1]
    assert "`%bai retry` runs this cell in a new session" in cell.error[1]
    assert "The last lines of its log:" in cell.cards[-1]
    assert "Kernel started at" in cell.cards[-1]


async def test_memory_that_ran_out_is_told_and_the_cell_runs_again_with_more(notebook, manager):
    await notebook.run("x = 1")
    first = session_of(manager)
    nothing = await notebook.run("%bai retry")
    sign = notebook.folder / "died-once"
    lost = notebook.send(
        f"import os, time; died = os.path.exists({str(sign)!r})\n"
        f"open({str(sign)!r}, 'w').close()\nif not died: time.sleep(600)\n'done'"
    )
    await eventually(sign.exists, "the code runs")
    await manager.faults.exhaust_memory(first.id)
    await lost.done()
    wrong = await notebook.run("%bai retry -r nothing")
    again = await notebook.run("%bai retry")
    second = session_of(manager)

    assert nothing.error[0] == wrong.error[0] == "ConfigError"
    assert "memory ran out" in lost.error[1] and "a new session with mem=" in lost.error[1]
    assert "Out-of-memory detected!" in lost.cards[-1]
    assert again.result == "'done'"
    assert second.id != first.id
    assert second.wanted.slots["mem"] == 2 * first.wanted.slots["mem"]


async def test_a_lost_cell_can_be_left_and_the_next_one_has_the_larger_session(notebook, manager):
    await notebook.run("x = 1")
    first = session_of(manager)
    lost = notebook.send("import os; os._exit(3)")
    await lost.done()
    said = await notebook.run("%bai retry --no-run -r mem=768m -r cpu=2")
    cell = await notebook.run("'x' in dir()")

    assert "killed, or compiled code crashed" in lost.error[1]
    assert "The next cell starts a new session" in said.result
    assert cell.result == "False"
    slots = session_of(manager).wanted.slots
    assert (slots["cpu"], slots["mem"]) == (2, 768 * 2**20)
    assert session_of(manager).id != first.id


async def test_a_cell_whose_session_ended_runs_again(notebook, manager):
    await notebook.run("1")
    record = session_of(manager)
    manager.end(record, "user-requested")
    await record.over.wait()
    await notebook.run("y = 6 * 7; y")
    again = await notebook.run("%bai retry")

    assert again.result == "42"
    assert "Session ready" in again.cards[-1]
    assert (await notebook.run("y")).result == "42"
