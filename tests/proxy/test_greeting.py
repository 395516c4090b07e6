"""What a kernel says of itself, before there is any session."""

from __future__ import annotations

import time

import pytest

from backendai_kernel.variables import keep_values

from .frontend import environment_for, open_notebook, spent


@pytest.mark.alone
async def test_kernel_info_needs_no_server(notebook, manager):
    began = time.monotonic()
    info = await notebook.ask("kernel_info")
    took = time.monotonic() - began

    assert took < 1
    assert info["implementation"] == "backendai-kernel"
    assert info["language_info"]["name"] == "python"
    assert info["language_info"]["file_extension"] == ".py"
    assert "compute session" in info["banner"]
    assert spent(manager) == []


async def test_no_debugger_is_offered_since_it_would_stop_in_the_wrong_process(notebook):
    info = await notebook.ask("kernel_info")

    assert info["debugger"] is False
    assert "debugger" not in info.get("supported_features", [])


async def test_silent_code_of_a_front_end_starts_no_session(notebook, manager):
    cell = await notebook.run("import sys; print('x')", silent=True)

    assert cell.is_ok
    assert cell.shown == []
    assert spent(manager) == []


async def test_local_cells_start_no_session(notebook, manager):
    cell = await notebook.run("%local 6 * 7")

    assert cell.result == "42"
    assert spent(manager) == []


async def test_is_complete_is_answered_without_a_session(notebook, manager):
    answers = []
    for code in ("1", "for i in x:", "x = = 1"):
        answers.append((await notebook.ask("is_complete", code))["status"])

    assert answers == ["complete", "incomplete", "invalid"]
    assert spent(manager) == []


async def test_the_first_cell_shows_the_start_and_who_runs_it(notebook, manager):
    cell = await notebook.run("1")
    [record] = manager.registry.alive()

    assert cell.cards[-1].startswith("✓ Session ready in")
    assert record.name in cell.cards[-1]
    assert manager.url.partition("//")[2] in cell.cards[-1]
    assert (await notebook.run("2")).cards == []


async def test_the_sessions_name_comes_from_the_connection_file(notebook, manager):
    await notebook.run("1")
    [record] = manager.registry.alive()

    assert record.name.startswith("nb-")
    assert record.name.removeprefix("nb-") in notebook.manager.connection_file


async def test_two_kernels_have_two_sessions(manager, notebook, tmp_path_factory):
    folder = tmp_path_factory.mktemp("k")
    async with open_notebook(folder, environment_for(manager, folder)) as other:
        await notebook.run("x = 1")
        cell = await other.run("'x' in dir()")

        assert cell.result == "False"
        assert len(manager.registry.alive()) == 2


async def test_a_kernels_sessions_have_its_folders_and_variables(manager, folder):
    environ = environment_for(manager, folder)
    token = keep_values(environ, "mine", {"GIVEN": "from a private file"})
    words = ("-m", "data", "-e", "GIVEN", "--values", token)
    async with open_notebook(folder, environ, *words) as notebook:
        made = await notebook.run("%bai vfolder create data")
        cell = await notebook.run("import os; os.environ['GIVEN'], os.path.isdir('data')")
        told = await notebook.run("%bai")

    assert made.is_ok, str(made)
    assert cell.result == "('from a private file', True)", str(cell)
    assert "GIVEN" in str(told.shown) and "private file" not in str(told.shown)


async def test_a_variable_without_a_value_is_told_in_the_first_cell(manager, folder):
    environ = environment_for(manager, folder)
    async with open_notebook(folder, environ, "-e", "NOWHERE") as notebook:
        cell = await notebook.run("1")

    assert "the variable NOWHERE" in str(cell.error)
    assert spent(manager) == []
