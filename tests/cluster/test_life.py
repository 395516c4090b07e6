"""How a session ends on a real cluster: killed kernels, memory, containers, and what is left."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from backendai_kernel import leases
from backendai_kernel.client import Client
from backendai_kernel.leases import Standing
from backendai_kernel.model import Session
from backendai_kernel.protocol import calls

from ..proxy.frontend import Notebook, bare_environment, open_notebook
from .test_kernel import environment

pytestmark = pytest.mark.cluster

SMALL = ("-r", "cpu=1", "-r", "mem=512m")
ID = "import os; os.environ['BACKENDAI_SESSION_ID']"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("k")


async def session_of(notebook: Notebook) -> str:
    return str((await notebook.run(ID)).result).strip("'")


async def over(client: Client, session_id: str) -> Session:
    """Return a session once it is about to end, or has ended."""
    async with asyncio.timeout(180):
        while True:
            seen = await client.send(calls.get_session(session_id))
            assert seen is not None
            if seen.status.is_ending:
                return seen
            await asyncio.sleep(0.5)


async def test_a_killed_kernels_session_is_found_and_ended(client, folder):
    environ = environment(folder)
    async with open_notebook(folder, environ, *SMALL) as notebook:
        first = await session_of(notebook)
        notebook.process.kill()
        await notebook.manager.provisioner.wait()
        Path(notebook.manager.connection_file).unlink()
        [left] = leases.survey(bare_environment(folder))
    async with open_notebook(folder, environ, *SMALL) as other:
        collected = await other.run("%bai gc")
    seen = await over(client, first)

    assert left.standing is Standing.LEFT
    assert "✓ ended" in collected.result
    assert seen.status_info == "user-requested"
    assert leases.survey(bare_environment(folder)) == []


async def test_memory_that_ran_out_is_told_and_more_is_had_with_one_step(client, folder):
    async with open_notebook(folder, environment(folder), *SMALL) as notebook:
        first = await session_of(notebook)
        cell = await notebook.run(
            "import os\nmany = int(os.environ.get('BACKENDAI_SESSION_ID') == "
            f"{first!r}) * 30\nx = [bytearray(b'1') * 50_000_000 for _ in range(many)]\n'fits'"
        )
        again = await notebook.run("%bai retry")
        second = await session_of(notebook)
        where = await notebook.run("%bai")
    seen = await over(client, first)
    await over(client, second)

    assert cell.error[0] == "RunLost"
    assert "memory ran out (it had 512m)" in cell.error[1]
    assert "a new session with mem=1g" in cell.error[1]
    assert "Out-of-memory detected!" in cell.cards[-1]
    assert again.result == "'fits'"
    assert second != first
    assert "mem=1g" in where.result
    assert seen.status_info == "user-requested"  # what was left of it was ended


async def test_a_container_that_is_killed_under_a_cell_is_told(client, folder):
    docker = os.environ.get("REALBAI_HOME", "")
    if not docker or shutil.which("docker") is None:
        pytest.skip("the containers of this cluster are out of reach")
    environ = {**os.environ, "DOCKER_HOST": f"unix://{docker}/docker.sock"}
    async with open_notebook(folder, environment(folder), *SMALL) as notebook:
        first = await session_of(notebook)
        cell = notebook.send("import time\nprint('on', flush=True)\ntime.sleep(600)")
        await cell.until(lambda cell: cell.stdout)
        label = f"label=ai.backend.session-id={first}"
        asked = ["docker", "ps", "--quiet", "--filter", label]
        found = subprocess.run(asked, env=environ, capture_output=True, text=True, check=True)
        assert found.stdout.split()
        subprocess.run(["docker", "kill", *found.stdout.split()], env=environ, check=True)
        await cell.done()
        again = await notebook.run("'new'")

    assert cell.error[0] == "RunLost"
    assert "The session has ended while the code ran" in cell.error[1]
    assert "`%bai retry` runs this cell in a new session" in cell.error[1]
    assert again.result == "'new'"


async def test_a_session_that_somebody_ended_between_two_cells_is_told(client, folder):
    async with open_notebook(folder, environment(folder), *SMALL) as notebook:
        first = await session_of(notebook)
        kept = await notebook.run("%bai keepalive")
        await client.send(calls.destroy_session(first))
        async with asyncio.timeout(60):
            while not (seen := await over(client, first)).status.is_over:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.5)
        cell = await notebook.run("1")

    assert "idle time begins anew" in kept.result
    assert "since the last cell: somebody with your keypair" in cell.error[1]
    assert seen.status_info == "user-requested"
