"""A real cluster that loses a container or its manager under a cell.

Two commands for the shell break it. What is left out is skipped::

    BACKENDAI_TEST_KILL_CONTAINER   kills the container of the session with the id $SESSION
    BACKENDAI_TEST_RESTART_MANAGER  kills the manager, and returns when it serves again
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.listing import Query, list_sessions

from ..proxy.frontend import Notebook, open_notebook
from .test_kernel import MODEST, environment

pytestmark = pytest.mark.cluster

PATIENCE = 180.0  # seconds for a cluster to get over it
COUNT = 600
LINES = f"import time\nfor number in range({COUNT}): print('line', number); time.sleep(0.1)"


@pytest.fixture
async def notebook(tmp_path: Path) -> AsyncIterator[Notebook]:
    async with open_notebook(tmp_path, environment(tmp_path), *MODEST) as notebook:
        yield notebook


async def broken(name: str, **environ: str) -> None:
    """Run the command that the environment gives under that name."""
    if not (command := os.environ.get(name)):
        pytest.skip(f"{name} names no command")
    process = await asyncio.create_subprocess_shell(command, env=os.environ | environ)
    assert await process.wait() == 0


async def own_sessions(notebook: Notebook) -> list[str]:
    async with Client(Config.from_env(os.environ, with_profile=False)) as client:
        listed = await list_sessions(client, Query(limit=None))
    shown = str((await notebook.run("%bai")).messages)
    return [session.id for session in listed.items if session.id in shown]


async def test_a_container_that_is_killed_under_a_cell_is_told_and_replaced(notebook):
    await notebook.run("kept = 1")
    [before] = await own_sessions(notebook)
    cell = notebook.send(LINES)
    await cell.until(lambda cell: "line 20\n" in cell.stdout)
    await broken("BACKENDAI_TEST_KILL_CONTAINER", SESSION=before)
    await cell.done(PATIENCE)
    after = await notebook.send("'kept' in dir()").done(PATIENCE)
    again = after if after.is_ok else await notebook.send("'kept' in dir()").done(PATIENCE)
    sessions = await own_sessions(notebook)

    print(cell.error, after, sep="\n")
    lines = cell.stdout.splitlines()
    assert cell.error[0] == "RunLost"
    assert "\n" not in cell.error[1].strip().partition("\n")[0]
    assert [line for line in lines if line.startswith("line")] == [
        f"line {number}" for number in range(len(lines))
    ]
    assert again.result == "False"
    assert len(sessions) == 1 and before not in sessions


async def test_a_manager_that_is_restarted_under_a_cell_loses_nothing(notebook):
    await notebook.run("kept = 1")
    before = await own_sessions(notebook)
    cell = notebook.send(LINES)
    await cell.until(lambda cell: "line 20\n" in cell.stdout)
    await broken("BACKENDAI_TEST_RESTART_MANAGER")
    await cell.done(PATIENCE)
    went_on = await notebook.run("kept")

    assert cell.is_ok, cell
    assert cell.stdout == "".join(f"line {number}\n" for number in range(COUNT))
    assert went_on.result == "1"
    assert await own_sessions(notebook) == before
