"""With nothing configured, the kernel brings a manager of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from .frontend import bare_environment, eventually, open_notebook


def managers(state: Path) -> list[psutil.Process]:
    """Return the managers that serve from a state folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = process.cmdline()
            if "backendai_kernel.local" in words and str(state / "local") in words:
                found.append(process)
    return found


@pytest.fixture
def environ(folder) -> Iterator[dict[str, str]]:
    """Settings that name no endpoint; what they bring to life is ended after the test."""
    environ = bare_environment(folder)
    yield environ
    for process in managers(folder / "state"):
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def test_the_first_cell_starts_a_manager_and_says_so(environ, folder):
    async with open_notebook(folder, environ) as notebook:
        assert managers(folder / "state") == []
        cell = await notebook.run("6 * 7")

    assert cell.result == "42"
    assert any("starting a manager on this computer" in card for card in cell.cards)
    assert cell.cards[-1].endswith("on this computer")
    assert len(managers(folder / "state")) == 1
    assert (folder / "state/local/manager.json").stat().st_mode & 0o777 == 0o600


async def test_two_kernels_that_start_at_once_share_one_manager(environ, folder):
    async with open_notebook(folder, environ) as one, open_notebook(folder, environ) as two:
        cells = [notebook.send("import os; os.getppid()") for notebook in (one, two)]
        for cell in cells:
            await cell.done()
        serving = managers(folder / "state")

        assert all(cell.is_ok for cell in cells)
        assert len(serving) == 1
        sessions = {int(cell.result) for cell in cells}
        children = {child.pid for child in serving[0].children(recursive=True)}
        assert len(sessions) == 2
        assert sessions <= children


async def test_a_manager_that_nobody_needs_any_more_goes_by_itself(environ, folder):
    state = folder / "state" / "local"
    words = ["-m", "backendai_kernel.local", "--state", str(state), "--idle-limit", "5"]
    serving = await asyncio.create_subprocess_exec(
        sys.executable, *words, env=environ, stdout=asyncio.subprocess.DEVNULL
    )
    await eventually((state / "manager.json").exists, "it serves")
    async with open_notebook(folder, environ) as notebook:
        cell = await notebook.run("1")
        told = json.loads((state / "manager.json").read_text())
    async with asyncio.timeout(30):
        status = await serving.wait()

    assert cell.result == "1"
    assert told["pid"] == serving.pid
    assert status == 0
    assert not (state / "manager.json").exists()


async def test_a_manager_that_is_killed_ends_the_cell_and_says_what_to_do(environ, folder):
    async with open_notebook(folder, environ) as notebook:
        await notebook.run("1")
        running = notebook.send("import time; print('begun', flush=True); time.sleep(600)")
        await running.until(lambda cell: "begun" in cell.stdout)
        managers(folder / "state")[0].kill()
        await running.done()
        after = await notebook.run("2")

    for cell in (running, after):
        assert cell.error[1] == (
            "The embedded manager of this computer has gone, and its sessions with it.\n"
            "Restart the kernel: its first cell starts another one."
        )
