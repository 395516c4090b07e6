"""How a cell ends, as the front end is told: status, number, and the idle of every request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backendai_kernel.local.manager import LocalManager

from ..conftest import ROOMY
from .frontend import Notebook, environment_for, open_notebook

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def notebook(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    folder = tmp_path_factory.mktemp("k")
    async with (
        LocalManager(tmp_path_factory.mktemp("m"), slots=ROOMY) as manager,
        open_notebook(folder, environment_for(manager, folder)) as notebook,
    ):
        await notebook.run("shell = get_ipython()")
        yield notebook


async def test_an_error_that_is_only_shown_does_not_fail_its_cell(notebook):
    cell = await notebook.run("shell.run_cell('1 / 0'); print('goes on')")

    assert cell.kinds == ["error", "stdout"]
    assert cell.is_ok


async def test_a_cell_that_fails_without_an_error_message_fails(notebook):
    cell = await notebook.run("%no_such_magic")

    assert cell.kinds == ["stderr"]
    assert (cell.reply["status"], cell.reply["ename"]) == ("error", "UsageError")


async def test_the_number_in_a_reply_is_that_of_the_last_counted_cell(notebook):
    counted = (await notebook.run("1")).reply["execution_count"]
    replies = [
        (await notebook.run("2", silent=True)).reply,
        (await notebook.run("3", store_history=False)).reply,
        (await notebook.run(" ")).reply,
        (await notebook.run("4")).reply,
    ]

    numbers = [reply["execution_count"] - counted for reply in replies]
    assert numbers == [0, 0, 0, 1]


async def test_cells_that_a_cell_runs_are_counted(notebook):
    first = await notebook.run("done = shell.run_cell('5', store_history=True)")
    after = await notebook.run("len(In) - 1")

    assert after.reply["execution_count"] == first.reply["execution_count"] + 1
    assert after.result == str(after.reply["execution_count"])


async def test_a_front_end_without_stdin_is_told_where_the_code_asked(notebook):
    cell = await notebook.run("def ask():\n    return input('who? ')\n\n\nask()", allow_stdin=False)

    assert cell.error[0] == "StdinNotImplementedError"
    assert any("ask()" in line for line in cell.reply["traceback"])


async def test_code_finds_the_request_of_the_front_end(notebook):
    code = "shell.kernel.get_parent('shell')['content']['code'] == In[-1]"

    assert (await notebook.run(code)).result == "True"


async def test_of_every_comm_message_and_every_cell_the_idle_comes(notebook):
    opened = await notebook.run(
        "from comm import create_comm\n"
        "comm = create_comm(target_name='t')\n"
        "comm.on_msg(lambda message: print('got', message['content']['data']['n']))"
    )
    [content] = opened.of("comm_open")
    told = [
        notebook.tell("comm_msg", {"comm_id": content["comm_id"], "data": {"n": n}})
        for n in range(6)
    ]
    *cells, last = await asyncio.gather(*told, notebook.run("'a cell'"))

    assert [cell.stdout for cell in cells] == [f"got {n}\n" for n in range(6)]
    assert last.result == "'a cell'"


async def test_a_comm_message_while_a_cell_runs_is_ended_after_it(notebook):
    await notebook.run("import time")
    running = await notebook.started("time.sleep(0.3)")
    comm_id = (await notebook.ask("comm_info"))["comms"].popitem()[0]
    told = await notebook.tell("comm_msg", {"comm_id": comm_id, "data": {"n": 9}})

    assert told.stdout == "got 9\n"
    assert (await running.done()).is_ok
