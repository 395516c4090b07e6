"""The official command line, in its own environment, against the embedded manager.

``BACKENDAI_CLI`` names the ``backend.ai`` executable; without it these tests are skipped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backendai_kernel.local.manager import LocalManager
from tests.signed import until

pytestmark = [
    pytest.mark.official,
    pytest.mark.skipif(
        "BACKENDAI_CLI" not in os.environ, reason="BACKENDAI_CLI names no backend.ai executable"
    ),
]


@dataclass(frozen=True)
class Ended:
    """A command that has ended: exit status and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


class CommandLine:
    """Runs ``backend.ai`` with the manager's address and keypair, in a folder of its own."""

    def __init__(self, manager: LocalManager, folder: Path) -> None:
        self.manager = manager
        self.folder = folder
        self._environ = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "BACKEND_ENDPOINT": manager.url,
            "BACKEND_ENDPOINT_TYPE": "api",
            "BACKEND_ACCESS_KEY": manager.access_key,
            "BACKEND_SECRET_KEY": manager.secret_key,
        }

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            os.environ["BACKENDAI_CLI"],
            *words,
            cwd=self.folder,
            env=self._environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *words: str, says: str = "") -> Ended:
        process = await self.start(*words)
        async with asyncio.timeout(60):
            out, err = await process.communicate(says.encode())
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def cli(manager: LocalManager, tmp_path: Path) -> AsyncIterator[CommandLine]:
    folder = tmp_path / "user"
    folder.mkdir()
    yield CommandLine(manager, folder)


async def test_a_session_is_created_listed_and_removed(cli: CommandLine) -> None:
    created = await cli(
        "session", "create", "-t", "golden", "-r", "cpu=1", "-r", "mem=1g", "python"
    )
    record = cli.manager.session("golden")
    listed = await cli("ps", "-f", "name,status,image")
    told = await cli("info", record.id)
    removed = await cli("rm", "golden")
    await record.over.wait()
    after = await cli("ps", "-a", "-f", "name,status")

    assert (created.status, "is created and ready" in created.text) == (0, True), created
    assert listed.status == 0 and "golden" in listed.out and "RUNNING" in listed.out, listed
    assert told.status == 0 and record.id in told.text, told
    assert removed.status == 0 and "Done" in removed.text, removed
    assert "TERMINATED" in after.out, after


async def test_the_default_listing_has_its_columns(cli: CommandLine) -> None:
    await cli("session", "create", "-t", "columns", "python")
    listed = await cli("ps")

    assert listed.status == 0, listed
    for word in ("columns", cli.manager.session("columns").id, "INTERACTIVE", "RUNNING"):
        assert word in listed.out


async def test_code_runs(cli: CommandLine) -> None:
    ran = await cli("run", "--rm", "-c", "print('hello from ' + str(6 * 7))", "python")

    assert ran.status == 0 and "hello from 42\n" in ran.out, ran
    assert "exit code = 0" in ran.text, ran


async def test_code_that_raises_says_so(cli: CommandLine) -> None:
    ran = await cli("run", "--rm", "-c", "1/0", "python")

    assert "ZeroDivisionError" in ran.text and "exit code = 1" in ran.text, ran


async def test_a_file_runs(cli: CommandLine) -> None:
    (cli.folder / "main.py").write_text("import os\nprint('in', sorted(os.listdir()))\n")
    ran = await cli("run", "--rm", "python", "main.py")

    assert ran.status == 0 and "'main.py'" in ran.out, ran


async def test_files_go_in_and_come_out(cli: CommandLine) -> None:
    await cli("session", "create", "-t", "files", "python")
    (cli.folder / "data.txt").write_text("some data\n")
    up = await cli("session", "upload", "files", "data.txt")
    listed = await cli("session", "ls", "files")
    container = cli.manager.container("files")
    (container.spec.work / "made.txt").write_text("made in the session\n")
    down = await cli("session", "download", "files", "made.txt")

    assert up.status == 0, up
    assert "data.txt" in listed.out, listed
    assert down.status == 0, down
    assert (cli.folder / "made.txt").read_text() == "made in the session\n"


async def test_the_log_is_shown(cli: CommandLine) -> None:
    await cli("session", "create", "-t", "logged", "python")
    shown = await cli("session", "logs", "logged")

    assert shown.status == 0 and "Kernel started at" in shown.text, shown


async def test_events_are_told_until_the_end(cli: CommandLine) -> None:
    await cli("session", "create", "-t", "events", "python")
    record = cli.manager.session("events")
    process = await cli.start("events", "events")
    assert process.stdout is not None
    await until(lambda: record.busy > 0)  # its stream is open
    async with asyncio.timeout(60):
        await cli("rm", "events")
        text = ""
        while "session_terminated" not in text:
            text += (await process.stdout.readline()).decode()
    process.terminate()
    await process.communicate()

    assert "session_terminating" in text and record.id in text


async def test_an_unknown_image_is_refused(cli: CommandLine) -> None:
    refused = await cli("session", "create", "-t", "nothing", "no-such-image:1")

    assert refused.status == 1 and "No such environment image" in refused.text, refused
