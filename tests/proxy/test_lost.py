"""Sessions and interpreters that go away under a notebook."""

from __future__ import annotations

import pytest

from .frontend import Notebook, eventually


def session_of(manager):
    [record] = manager.registry.alive()
    return record


async def end_from_outside(manager, notebook: Notebook) -> None:
    """End the session as another client would, and wait until it is gone."""
    record = session_of(manager)
    manager._core.lifecycle.end(record, "user-requested")
    await record.over.wait()


async def test_a_session_ended_between_two_cells_is_one_sentence_and_the_next_cell_has_a_new_one(
    notebook, manager
):
    await notebook.run("x = 1")
    first = session_of(manager).id
    await end_from_outside(manager, notebook)
    lost = await notebook.run("x")
    again = await notebook.run("'x' in dir()")

    name, value = lost.error
    assert name == "RunLost"
    assert "The session has ended" in value
    assert "somebody with your keypair" in value
    assert "`%bai retry` runs this cell in a new session" in value
    assert lost.reply["traceback"] == [f"{name}: {value}"]
    assert again.result == "False"
    assert session_of(manager).id != first


async def test_a_session_ended_under_a_cell_is_one_sentence_and_the_next_cell_has_a_new_one(
    notebook, manager
):
    cell = await notebook.started("import time; time.sleep(60)")
    await end_from_outside(manager, notebook)
    await cell.done()

    assert cell.error[0] == "RunLost"
    assert "while the code ran" in cell.error[1]
    assert (await notebook.run("1")).result == "1"


async def test_a_container_that_dies_under_a_cell_is_noticed(notebook, manager):
    cell = await notebook.started("import time; time.sleep(60)")
    await manager.faults.kill_runner(session_of(manager).id)
    await cell.done()

    assert cell.error[0] == "RunLost"
    assert (await notebook.run("1")).result == "1"


@pytest.mark.parametrize("death", ["os.kill(os.getpid(), 9)", "os._exit(3)"])
async def test_an_interpreter_that_dies_is_noticed_and_the_next_cell_has_a_new_one(
    notebook, manager, death
):
    await notebook.run("x = 1")
    first = session_of(manager).id
    cell = await notebook.run(f"import os; {death}")
    again = await notebook.run("'x' in dir()")

    assert cell.error[0] == "RunLost"
    assert "interpreter has died" in cell.error[1]
    assert again.result == "False"
    assert session_of(manager).id != first


async def test_an_interpreter_that_died_between_two_cells_is_noticed(notebook, manager):
    await notebook.run("x = 1")
    await manager.faults.kill_interpreter(session_of(manager).id)
    cell = await notebook.run("x")

    assert "interpreter has died" in cell.error[1]
    assert (await notebook.run("1")).result == "1"


async def test_a_long_silent_cell_is_left_alone(notebook, manager):
    await notebook.run("0")
    before = len(manager.requests)
    cell = notebook.send("import time; time.sleep(7); 'done'")
    looked = f"/session/{session_of(manager).id}/files"
    await eventually(
        lambda: any(r.path == looked for r in list(manager.requests)[before:]),
        "it was looked whether the interpreter lives",
    )
    await cell.done()

    assert cell.result == "'done'"


async def test_a_kernel_restarted_over_a_dead_interpreter_gets_a_new_session(notebook, manager):
    await notebook.run("x = 1")
    first = session_of(manager).id
    notebook.send("import os; os._exit(3)")
    await manager.running(first)
    await notebook.restart()
    cell = await notebook.run("'x' in dir()")

    assert cell.result == "False"
    assert session_of(manager).id != first
