"""``backendai-kernel apps`` and ``app`` as programs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backendai_kernel import apps
from backendai_kernel.errors import ConfigError
from backendai_kernel.local.manager import LocalManager
from tests.signed import Signed
from tests.test_cli import CommandLine

PORT = 23456  # of the session; nothing needs to listen there


@pytest.fixture
async def command(tmp_path: Path, manager: LocalManager, api: Signed) -> CommandLine:
    """The command line, for a manager with the session ``train``."""
    await api.start("train", config={"preopen_ports": [PORT]})
    home = tmp_path / "home"
    home.mkdir()
    return CommandLine(
        home,
        {
            "BACKEND_ENDPOINT": manager.url,
            "BACKEND_ACCESS_KEY": manager.access_key,
            "BACKEND_SECRET_KEY": manager.secret_key,
        },
    )


@asynccontextmanager
async def opened(
    command: CommandLine, *words: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """An ``app`` that listens, and its first line."""
    pipe = asyncio.subprocess.PIPE
    process = await command.start("app", *words, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        yield process, line.decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_apps_lists_what_a_session_offers(command):
    result = await command("apps", "train")

    assert result.status == 0
    assert result.out.splitlines()[0].split() == ["APP", "PROTOCOL", "PORT", "OPEN", "AT"]
    assert result.out.splitlines()[-1].split() == [str(PORT), "preopen", str(PORT)]


async def test_an_unknown_app_is_told_with_the_list(command):
    result = await command("app", "train", "jupyterlab")

    assert (result.status, result.out) == (1, "")
    assert "The session train has no app 'jupyterlab'." in result.err
    assert f"{PORT} (preopen)" in result.err


async def test_an_unknown_session_is_told(command):
    result = await command("app", "trian", "sshd")

    assert result.status == 1
    assert "Did you mean train?" in result.err


async def test_it_listens_for_this_computer_alone_until_ctrl_c(command):
    async with opened(command, "train", str(PORT), "-b", "0") as (process, line):
        port = int(line.strip().rpartition(":")[2])
        listening = Path("/proc/net/tcp").read_text() if Path("/proc/net/tcp").exists() else ""
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()

    assert line.startswith(f"The app {PORT} of the session train: http://127.0.0.1:")
    assert not listening or f"0100007F:{port:04X}" in listening
    assert process.returncode == 0
    assert err.decode().endswith("The port is closed.\n")


async def test_it_ends_with_the_session_and_says_so(command, api):
    async with opened(command, "train", str(PORT), "-b", "0") as (process, _):
        await api("DELETE", "/session/train")
        _, err = await process.communicate()

    assert process.returncode == 0
    assert "The session train has ended" in err.decode()


def test_arguments_of_an_app_are_read():
    words = ["--port=1", "--flag", "--dir a b", "--x=1", "--x=2", "--x=a=b"]

    assert apps.read_arguments(words) == {
        "--port": "1",
        "--flag": None,
        "--dir": "a b",
        "--x": ["1", "2", "a=b"],
    }


def test_variables_of_an_app_keep_their_equals_signs():
    assert apps.read_envs(["A=b=c", "B="]) == {"A": "b=c", "B": ""}


@pytest.mark.parametrize("word", ["A", "=x", "1A=x"])
def test_what_is_no_variable_is_refused_without_its_value(word):
    with pytest.raises(ConfigError, match="no environment variable"):
        apps.read_envs([word])


def test_what_is_no_argument_is_refused():
    with pytest.raises(ConfigError, match="no argument of an app"):
        apps.read_arguments(["port"])
