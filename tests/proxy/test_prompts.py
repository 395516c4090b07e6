"""Cells that ask: the debugger at its prompt, and the ways out of a kernel."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backendai_kernel.local.manager import LocalManager

from ..conftest import ROOMY
from .frontend import Cell, Notebook, environment_for, open_notebook

ANSI = re.compile(r"\x1b\[[0-9;]*m")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def manager(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalManager]:
    async with LocalManager(tmp_path_factory.mktemp("m"), slots=ROOMY) as manager:
        yield manager


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def notebook(
    manager: LocalManager, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Notebook]:
    folder = tmp_path_factory.mktemp("k")
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        yield notebook


async def type_in(notebook: Notebook, cell: Cell, *lines: str) -> None:
    """Type each line once it has been asked for, and wait for the end of the cell."""
    for number, line in enumerate(lines, start=1):
        await cell.until(lambda cell, number=number: len(cell.questions) == number)
        notebook.answer(line)
    await cell.done()


async def test_breakpoint_stops_in_the_cell_and_shows_its_variables(notebook):
    cell = notebook.send("def f(n):\n    breakpoint()\n    return n * 2\nf(21)")
    await type_in(notebook, cell, "p n + 100", "!n = 4", "c")

    assert "121\n" in cell.stdout
    assert cell.result == "8"
    assert [q["password"] for q in cell.questions] == [False] * 3
    assert all("db>" in q["prompt"] for q in cell.questions)


async def test_debug_looks_into_the_last_error(notebook):
    await notebook.run("def g(d):\n    return 1 / d\n")
    await notebook.run("g(0)")
    cell = notebook.send("%debug")
    await type_in(notebook, cell, "p d", "up", "q")

    assert "\n0\n" in cell.stdout
    assert "1 / d" in ANSI.sub("", cell.stdout)
    assert cell.is_ok


async def test_quit_may_leave_the_kernel_alone(notebook):
    await notebook.run("still = 'here'")
    cell = await notebook.run("quit(keep_kernel=True)")

    assert cell.is_ok
    assert [p["keepkernel"] for p in cell.reply["payload"]] == [True]
    assert (await notebook.run("still")).result == "'here'"


async def left_with(notebook: Notebook, code: str) -> Cell:
    """Run code that ends the kernel; return once its process is gone."""
    cell = await notebook.run(code)
    async with asyncio.timeout(30):
        await notebook.manager.provisioner.wait()
    return cell


async def test_exit_ends_the_kernel_and_its_session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("k")
    async with (
        LocalManager(folder / "manager", slots=ROOMY) as manager,
        open_notebook(folder, environment_for(manager, folder)) as notebook,
    ):
        await notebook.run("1")
        [record] = manager.registry.alive()
        cell = await left_with(notebook, "exit")
        async with asyncio.timeout(30):
            await record.over.wait()

    assert cell.is_ok
    assert [p["source"] for p in cell.reply["payload"]] == ["ask_exit"]


async def test_exit_keeps_the_session_where_the_kernel_is_started_again(tmp_path_factory):
    folder = tmp_path_factory.mktemp("k")
    async with LocalManager(folder / "manager", slots=ROOMY) as manager:
        environ = {**environment_for(manager, folder), "JPY_SESSION_NAME": "notebook.ipynb"}
        async with open_notebook(folder, environ) as notebook:
            await notebook.run("open('kept.txt', 'w').close(); x = 1")
            [before] = manager.registry.alive()
            await left_with(notebook, "exit()")
            await notebook.restart()  # as the server does
            cell = await notebook.run("import os; os.path.exists('kept.txt'), 'x' in dir()")
            [after] = manager.registry.alive()

    assert cell.result == "(True, False)"
    assert before.id == after.id
