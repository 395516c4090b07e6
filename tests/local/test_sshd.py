"""The SSH server of a session, asked by OpenSSH's own programs through a tunnel."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.listing import find_session
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.processes import members
from backendai_kernel.tunnel import App, Bind, Tunnel, find_app
from tests.signed import Signed

pytest.importorskip("asyncssh", reason="sessions offer SSH with asyncssh (the extra `local`)")
pytestmark = pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH is not installed")

LIMIT = 60.0


@dataclass
class Door:
    """The session ``train``: its work folder, and a port that leads to its SSH server."""

    work: Path
    port: int

    @property
    def options(self) -> list[str]:
        return [
            *("-F", "none", "-i", str(self.work / "id_container")),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
        ]

    async def ssh(self, *words: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        port = ("-p", str(self.port), "work@127.0.0.1")
        return await run("ssh", *self.options, *port, *words, stdin=stdin)


async def run(*words: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(LIMIT):
            out, err = await process.communicate(stdin)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return process.returncode, out, err


@pytest.fixture
async def door(manager: LocalManager, api: Signed) -> AsyncIterator[Door]:
    await api.start("train")
    config = Config(
        endpoint=manager.url, access_key=manager.access_key, secret_key=manager.secret_key
    )
    async with Client(config) as client:
        session = await find_session(client, "train")
        app = App(await find_app(client, session, "sshd"))
        async with Tunnel(client, session, app, bind=Bind(port=0)) as tunnel:
            yield Door(manager.container("train").spec.work, tunnel.address[1])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_commands_run_in_the_session_with_their_streams_and_status(door):
    words = 'pwd; echo "$BACKENDAI_SESSION_NAME"; cat; echo error >&2; exit 7'
    status, out, err = await door.ssh(words, stdin=b"typed\n")

    assert status == 7
    assert out.decode().splitlines() == [str(door.work), "train", "typed"]
    assert err == b"error\n"


async def test_a_terminal_is_one_and_has_a_size(door):
    status, out, _ = await door.ssh("-tt", "test -t 0 && stty size && echo $TERM; exit 3")

    assert status == 3
    assert out.startswith(b"0 0\r\n")


async def test_a_login_shell_reads_what_is_typed(door):
    status, out, _ = await door.ssh(stdin=b"cd /; pwd\nexit 5\n")

    assert (status, out) == (5, b"/\n")


async def test_much_output_comes_whole(door):
    status, out, _ = await door.ssh("head -c 20000000 /dev/zero")

    assert (status, len(out)) == (0, 20_000_000)


async def test_a_program_that_is_killed_says_by_what(door):
    status, _, _ = await door.ssh("kill -KILL $$")

    assert status == 255


@pytest.mark.parametrize("how", ["sftp", "legacy"])
async def test_scp_copies_both_ways(door, tmp_path, how):
    port = ["-P", str(door.port), *(["-O"] if how == "legacy" else [])]
    (tmp_path / "up load").write_bytes(os.urandom(3_000_000))
    up = await run(
        "scp", "-q", *door.options, *port, str(tmp_path / "up load"), "work@127.0.0.1:there"
    )
    down = await run(
        "scp", "-q", *door.options, *port, "work@127.0.0.1:there", str(tmp_path / "down")
    )

    assert (up[0], down[0]) == (0, 0)
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up load").read_bytes()


async def test_another_user_and_another_key_stay_outside(door, tmp_path):
    await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "mine"))
    options = [
        word.replace(str(door.work / "id_container"), str(tmp_path / "mine"))
        for word in door.options
    ]
    other_key = await run("ssh", *options, "-p", str(door.port), "work@127.0.0.1", "true")
    other_user = await run("ssh", *door.options, "-p", str(door.port), "root@127.0.0.1", "true")

    assert other_key[0] == other_user[0] == 255
    assert b"Permission denied" in other_key[2]
    assert b"Permission denied" in other_user[2]


async def test_a_key_that_the_user_adds_opens_at_once(door, tmp_path):
    await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "mine"))
    with (door.work / ".ssh" / "authorized_keys").open("ab") as file:
        file.write((tmp_path / "mine.pub").read_bytes())
    options = [
        word.replace(str(door.work / "id_container"), str(tmp_path / "mine"))
        for word in door.options
    ]
    status, _, _ = await run("ssh", *options, "-p", str(door.port), "work@127.0.0.1", "true")

    assert status == 0


async def test_the_keys_are_for_their_owner_alone(door):
    assert mode(door.work / "id_container") == 0o600
    assert mode(door.work / ".ssh") == 0o700
    assert mode(door.work / ".ssh" / "authorized_keys") == 0o600
    assert (
        (door.work / "id_container").read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    )


async def test_what_was_started_over_ssh_ends_with_the_session(door, api):
    record = api.manager.session("train")
    status, _, _ = await door.ssh("setsid sleep 600 >/dev/null 2>&1 &")
    before = members(record.kernel_id)
    await api("DELETE", "/session/train")
    await record.over.wait()

    assert status == 0
    assert before
    assert members(record.kernel_id) == set()
