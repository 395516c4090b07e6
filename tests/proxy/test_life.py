"""A kernel answers for its session: beyond its own end, in time, and when it is lost."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

from backendai_kernel import leases, orphans
from backendai_kernel.leases import Standing

from .frontend import LIMIT, Notebook, bare_environment, environment_for, eventually, open_notebook
from .test_interrupt import ASLEEP
from .test_restart import all_over, session_of


def survey(folder: Path) -> list[leases.Found]:
    return leases.survey(bare_environment(folder))


async def killed(notebook: Notebook) -> None:
    """Kill the kernel's process and wait until it is gone."""
    notebook.process.kill()
    await notebook.manager.provisioner.wait()


# -- nothing is orphaned --------------------------------------------------------------------------


async def test_a_lease_stands_while_there_is_a_session_and_has_no_secret(manager, folder):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        before = survey(folder)
        await notebook.run("1")
        [held] = survey(folder)
        path = leases.folder(bare_environment(folder)) / held.terms.name
        text, mode = path.read_text(), stat.S_IMODE(path.stat().st_mode)
    await all_over(manager)

    assert before == []
    assert held.standing is Standing.HELD
    assert held.terms.session_id == next(iter(manager.registry)).id
    assert held.terms.endpoint == manager.url
    assert manager.secret_key not in text and mode == 0o600
    assert survey(folder) == []


async def test_a_killed_kernels_session_is_told_of_by_the_next_and_collected(manager, folder):
    environ = environment_for(manager, folder)
    async with open_notebook(folder, environ) as notebook:
        await notebook.started(ASLEEP)
        first = session_of(manager)
        await killed(notebook)
        Path(notebook.manager.connection_file).unlink()  # as a server does that wants it no more
        [left] = survey(folder)
    async with open_notebook(folder, environ) as other:
        cell = await other.run("1")
        again = await other.run("2")
        collected = await other.run("%bai gc")

    await first.over.wait()
    assert left.standing is Standing.LEFT
    assert f"`%bai gc` ends it, `%bai attach {first.name}` goes on in it" in cell.cards[-1]
    assert again.cards == []
    assert "✓ ended" in collected.result and first.name in collected.result
    assert "1 more belong to kernels that run" in collected.result
    await all_over(manager)


SERVER = """
import sys
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
manager = KernelManager(connection_file=sys.argv[1])
argv = [sys.executable, "-m", "backendai_kernel", "-f", "{connection_file}"]
manager._kernel_spec = KernelSpec(argv=argv, display_name="x", language="python")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute_interactive("1", timeout=60, output_hook=lambda message: None)
print("ran", flush=True)
sys.stdin.read()
"""


async def test_the_session_of_a_killed_server_is_found_and_ended(manager, folder):
    environ = environment_for(manager, folder)
    file = folder / f"kernel-{os.urandom(16).hex()}.json"
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, str(file)), env=environ, stdin=pipe, stdout=pipe, cwd=folder
    )
    assert server.stdout is not None and server.stdin is not None
    async with asyncio.timeout(LIMIT):
        assert await server.stdout.readline() == b"ran\n"
    record = session_of(manager)
    server.kill()  # the kernel sees that its parent is gone, and ends without a goodbye
    await server.wait()
    server.stdin.close()
    await eventually(lambda: [f.standing for f in survey(folder)] == [Standing.LEFT], "it is left")
    [ended] = await orphans.collect(environ)

    await record.over.wait()
    assert (ended.name, ended.outcome) == (record.name, orphans.ENDED)
    assert survey(folder) == []


async def test_a_kernel_that_is_started_again_holds_what_the_one_before_had(manager, folder):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.run("1")
        await killed(notebook)
        [returning] = survey(folder)
        await notebook.restart()
        [held] = survey(folder)  # no cell has run in it yet

    assert (returning.standing, held.standing) == (Standing.RETURNING, Standing.HELD)
    assert returning.terms.session_id == held.terms.session_id
    await all_over(manager)


async def test_a_shutdown_that_the_server_is_too_slow_for_is_finished_by_another_process(
    manager, folder
):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.run("1")
        record = session_of(manager)
        fault = manager.faults.delay(4, method="DELETE", path=f"/session/{record.id}", times=1)
    await all_over(manager)
    await eventually(lambda: survey(folder) == [], "the lease is gone")

    assert fault.hits == 1
    assert record.ending == "user-requested"


async def test_a_shutdown_while_the_server_is_away_is_finished_when_it_is_back(manager, folder):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.run("1")
        fault = manager.faults.drop(method="DELETE", path="/session/*", times=None)
    await eventually(lambda: fault.hits > 1, "it was tried again")
    fault.times = 0
    await all_over(manager)


async def test_an_attached_session_that_was_left_behind_is_not_collected_while_it_is_used(
    manager, folder
):
    environ = environment_for(manager, folder)
    async with open_notebook(folder, environ) as notebook:
        await notebook.run("kept = 7")
        first = session_of(manager)
        await killed(notebook)
        Path(notebook.manager.connection_file).unlink()
    async with open_notebook(folder, environ) as other:
        await other.run(f"%bai attach {first.name}")
        value = await other.run("kept")
        await eventually(
            lambda: [f.standing for f in survey(folder)] == [Standing.HELD], "it is held"
        )
        await other.run("%bai gc")
        still = await other.run("kept")
        await other.run("%bai detach")
        [left] = survey(folder)

    assert (value.result, still.result) == ("7", "7")
    assert left.standing is Standing.LEFT
    assert first.status.is_running
