"""Restart keeps the container and its files; shutdown leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES

from ..conftest import ROOMY
from .frontend import Notebook, environment_for, eventually, open_notebook, spent
from .test_interrupt import ASLEEP, DEAF, Stuck


def session_of(manager):
    [record] = manager.registry.alive()
    return record


async def all_over(manager: LocalManager) -> None:
    """Return once every session that there was is over."""
    for record in list(manager.registry):
        async with asyncio.timeout(30):
            await record.over.wait()


# -- restart --------------------------------------------------------------------------------------


@pytest.fixture(params=["26.4", "23.09"])
async def old_and_new(request, tmp_path) -> AsyncIterator[LocalManager]:
    """A server that restarts a session, and one that leaves it to us."""
    release = RELEASES[request.param]
    async with LocalManager(tmp_path / "manager", release=release, slots=ROOMY) as manager:
        yield manager


async def test_a_restart_keeps_session_and_files_and_forgets_all_names(old_and_new, folder):
    async with open_notebook(folder, environment_for(old_and_new, folder)) as notebook:
        await notebook.run("x = 1; open('kept.txt', 'w').close()")
        first = session_of(old_and_new).id
        await notebook.restart()
        cell = await notebook.run("import os; 'x' in dir(), os.path.exists('kept.txt'), len(_ih)")

        assert cell.result == "(False, True, 2)"
        assert cell.reply["execution_count"] == 1
        assert session_of(old_and_new).id == first
        assert (await notebook.run("1/0")).error[0] == "ZeroDivisionError"


async def test_a_restart_that_a_front_end_has_no_patience_for_keeps_the_session(manager, folder):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.run("open('kept.txt', 'w').close()")
        first = session_of(manager).id
        slow = manager.faults.delay(1.5, path=f"/session/{first}")
        await notebook.manager.request_shutdown(restart=True)
        await eventually(lambda: slow.hits, "it asks for a fresh interpreter")
        notebook.process.terminate()
        await notebook.manager.provisioner.wait()
        await notebook.restart()
        cell = await notebook.run("import os; os.path.exists('kept.txt')")

        assert cell.result == "True"
        assert session_of(manager).id == first


async def test_a_restart_under_a_running_cell_ends_the_cell_and_keeps_the_session(
    old_and_new, folder
):
    async with open_notebook(folder, environment_for(old_and_new, folder)) as notebook:
        await notebook.run("x = 1")
        first = session_of(old_and_new).id
        await notebook.started(ASLEEP)
        await notebook.restart()
        cell = await notebook.run("'x' in dir()")

        assert cell.result == "False"
        assert session_of(old_and_new).id == first


async def test_a_run_that_a_kernel_could_not_bring_to_its_end_is_ended_by_the_next(
    notebook, manager
):
    await notebook.run("x = 1")
    first = session_of(manager).id
    await notebook.started(ASLEEP)
    fault = manager.faults.drop(path="*/interrupt", times=None)  # its code sleeps on
    await notebook.restart()
    fault.times = 0
    cell = await notebook.run("'x' in dir()")

    assert cell.result == "False"
    assert session_of(manager).id == first


@pytest.mark.parametrize("code", ["x = 1; print('done')", "input('who? ')"])
async def test_a_kernel_that_was_killed_goes_on_with_session_files_and_variables(
    notebook, manager, code
):
    await notebook.run("open('kept.txt', 'w').close(); x = 1")
    first = session_of(manager).id
    cell = notebook.send(code)
    await cell.until(lambda cell: cell.reply or cell.questions)
    notebook.process.kill()
    await notebook.manager.provisioner.wait()
    await notebook.restart()
    cell = await notebook.run("import os; os.path.exists('kept.txt'), x")

    assert cell.result == "(True, 1)"
    assert "has kept all variables" in cell.cards[-1]
    assert session_of(manager).id == first


async def test_a_kernel_that_was_killed_and_is_not_used_again_ends_its_session(manager, folder):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.started(ASLEEP)
        notebook.process.kill()
        await notebook.manager.provisioner.wait()
        await notebook.restart()
        assert len(manager.registry.alive()) == 1
    await all_over(manager)


async def test_several_restarts_follow_each_other(notebook, manager):
    await notebook.run("x = 1")
    first = session_of(manager).id
    for _ in range(3):
        await notebook.restart()
        assert (await notebook.run("'x' in dir()")).result == "False"
        await notebook.run("x = 1")

    assert session_of(manager).id == first


async def test_a_restart_before_the_first_cell_asks_the_server_nothing(notebook, manager):
    await notebook.restart()

    assert spent(manager) == []
    assert (await notebook.run("1")).result == "1"


async def test_a_restart_over_code_that_ignores_interrupts_ends_in_a_usable_kernel(
    notebook, manager
):
    await notebook.run("x = 1; open('kept.txt', 'w').close()")
    first = session_of(manager).id
    await notebook.started(DEAF)
    await notebook.restart()
    cell = await notebook.run("import os; 'x' in dir(), os.path.exists('kept.txt')")

    assert cell.result == "(False, True)"
    assert session_of(manager).id == first


# -- the end --------------------------------------------------------------------------------------


async def test_a_shutdown_ends_the_session(manager, folder):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.run("1")
        assert len(manager.registry.alive()) == 1
    await all_over(manager)

    assert [record.ending for record in manager.registry] == ["user-requested"]


async def test_a_shutdown_without_a_session_asks_the_server_nothing(manager, folder):
    async with open_notebook(folder, environment_for(manager, folder)):
        pass

    assert spent(manager) == []


@pytest.mark.parametrize("code", [ASLEEP, DEAF], ids=["asleep", "deaf"])
async def test_a_shutdown_under_a_running_cell_ends_the_session(manager, folder, code):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.run("1")
        await notebook.started(code)
    await all_over(manager)

    assert manager.registry.alive() == []


async def test_a_shutdown_in_the_middle_of_a_start_ends_the_session(tmp_path, folder):
    stuck = Stuck()
    async with LocalManager(tmp_path, start=stuck) as manager:
        async with open_notebook(folder, environment_for(manager, folder)) as notebook:
            notebook.send("1")
            await stuck.begun.wait()
        await all_over(manager)

        assert manager.registry.alive() == []


async def test_a_shutdown_right_after_a_restart_ends_the_session_all_the_same(manager, folder):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.run("1")
        await notebook.restart()
        await notebook.restart()
        assert len(manager.registry.alive()) == 1
    await all_over(manager)

    assert manager.registry.alive() == []


async def test_a_shutdown_while_the_session_of_before_is_taken_up_ends_it(manager, folder):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.run("1")
        await notebook.restart()
        fault = manager.faults.delay(600, method="POST", path=f"/session/{session_of(manager).id}")
        notebook.send("1")
        await eventually(lambda: fault.hits, "the first request to the session is held")
    await all_over(manager)

    assert manager.registry.alive() == []


async def test_a_restart_after_the_session_was_ended_gives_a_new_one(notebook, manager):
    await notebook.run("x = 1")
    record = session_of(manager)
    manager._core.lifecycle.end(record, "user-requested")
    await record.over.wait()
    await notebook.restart()

    assert (await notebook.run("'x' in dir()")).result == "False"
    assert session_of(manager).id != record.id


async def end_by(notebook: Notebook, number: int) -> None:
    """Send the kernel's process a signal and wait for its end."""
    process = notebook.process
    os.kill(process.pid, number)
    await eventually(lambda: not process.is_running() or process.status() == "zombie", "it ends")


@pytest.mark.parametrize("code", [None, ASLEEP, DEAF], ids=["idle", "asleep", "deaf"])
async def test_sigterm_ends_kernel_and_session(manager, folder, code):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.run("1")
        if code is not None:
            await notebook.started(code)
        await end_by(notebook, signal.SIGTERM)
        await all_over(manager)

        assert manager.registry.alive() == []


async def test_sigterm_in_the_middle_of_a_start_ends_kernel_and_session(tmp_path, folder):
    stuck = Stuck()
    async with LocalManager(tmp_path, start=stuck) as manager:
        async with open_notebook(folder, environment_for(manager, folder)) as notebook:
            notebook.send("1")
            await stuck.begun.wait()
            await end_by(notebook, signal.SIGTERM)
            await all_over(manager)

            assert manager.registry.alive() == []
