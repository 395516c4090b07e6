"""OpenSSH's own programs reach a session: through `ssh-config`, pinned, and in every trouble."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pty
import shutil
import stat
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from backendai_kernel import connect
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.sshkeys import host_of, session_of
from tests.conftest import ROOMY
from tests.signed import Signed, signed
from tests.test_cli import CommandLine, Result

pytest.importorskip("asyncssh", reason="sessions offer SSH with asyncssh (the extra `local`)")
pytestmark = pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH is not installed")

BIG = int(os.environ.get("BACKENDAI_TEST_BIG", 32)) * 2**20
"""Bytes of the large copies; ``BACKENDAI_TEST_BIG=1024`` makes it a gigabyte."""
LIMIT = 90.0 + BIG / 2**21  # a copy may be as slow as 2 MiB a second


class Computer:
    """A user's computer: a home, the command line, OpenSSH with the user's own configuration."""

    def __init__(self, manager: LocalManager, api: Signed, home: Path) -> None:
        self.manager = manager
        self.api = api
        self.home = home
        self.config = home / ".ssh" / "config"
        self.command = CommandLine(
            home,
            {
                "BACKEND_ENDPOINT": manager.url,
                "BACKEND_ACCESS_KEY": manager.access_key,
                "BACKEND_SECRET_KEY": manager.secret_key,
                "SHELL": "/bin/sh",
            },
        )

    @property
    def kept(self) -> Path:
        """The folder of keys and host keys."""
        (found,) = (self.home / "state" / "ssh").iterdir()
        return found

    def work(self, session: str) -> Path:
        return self.manager.container(session).spec.work

    async def start(self, program: str, *words: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *(program, "-F", str(self.config), *words),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=self.home,
            env=self.command._environ(),
        )

    async def __call__(self, program: str, *words: str, stdin: bytes = b"") -> Result:
        process = await self.start(program, *words)
        return await finish(process, stdin)

    async def configure(self, *words: str) -> Result:
        return await self.command("ssh-config", "--config", str(self.config), *words)


async def finish(process: asyncio.subprocess.Process, stdin: bytes = b"") -> Result:
    try:
        async with asyncio.timeout(LIMIT):
            out, err = await process.communicate(stdin)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return Result(process.returncode, out.decode(errors="replace"), err.decode())


@pytest.fixture
async def computer(tmp_path: Path) -> AsyncIterator[Computer]:
    """A computer that knows a manager with one session, ``train``."""
    home = tmp_path / "home"
    home.mkdir()
    async with LocalManager(tmp_path / "manager", slots=ROOMY) as manager, signed(manager) as api:
        await api.start("train")
        computer = Computer(manager, api, home)
        assert (await computer.configure()).status == 0
        yield computer


async def still_there(path: Path) -> bool:
    """Tell whether a file is there after ssh's helper had time to end; ssh does not wait for it."""
    for _ in range(500):
        if not path.exists():
            return False
        await asyncio.sleep(0.02)
    return True


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_ssh_needs_nothing_but_the_name(computer):
    result = await computer(
        "ssh", "bai-train", "echo $BACKENDAI_SESSION_NAME; cat; exit 3", stdin=b"x"
    )

    assert (result.status, result.out) == (3, "train\nx")
    assert result.err == ""


async def test_a_session_started_later_is_known_too(computer):
    await computer.api.start("later")
    result = await computer("ssh", "bai-later", "echo $BACKENDAI_SESSION_NAME")

    assert (result.status, result.out) == (0, "later\n")


async def test_the_command_of_ours_passes_words_and_status_on(computer):
    result = await computer.command("ssh", "train", "cat >&2; exit 4", stdin="hello")

    assert (result.status, result.out, result.err) == (4, "", "hello")


async def test_keys_are_for_their_owner_alone_and_in_no_output(computer):
    result = await computer("ssh", "-v", "bai-train", "true")
    key = (computer.work("train") / "id_container").read_text().splitlines()[2]
    folders = [computer.kept, computer.kept / "keys", computer.kept.parent]

    assert result.status == 0
    assert [mode(folder) for folder in folders] == [0o700] * 3
    assert mode(computer.kept / "keys" / "bai-train") == 0o600
    assert mode(computer.kept / "known_hosts") == 0o600
    assert key in (computer.kept / "keys" / "bai-train").read_text()
    assert key not in result.out + result.err + computer.config.read_text()
    assert computer.manager.secret_key not in result.err


@pytest.mark.parametrize("program", ["scp", "rsync", "sftp"])
async def test_large_copies_both_ways_are_whole(computer, program):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    source, back = computer.home / "up load.bin", computer.home / "back.bin"
    with source.open("wb") as file:
        for _ in range(BIG // 2**20):
            file.write(os.urandom(2**20))
    if program == "scp":
        up = await computer("scp", "-q", str(source), "bai-train:there.bin")
        down = await computer("scp", "-q", "bai-train:there.bin", str(back))
    elif program == "sftp":
        batch = f'put "{source}" there.bin\nget there.bin "{back}"\n'.encode()
        up = down = await computer("sftp", "-b", "-", "bai-train", stdin=batch)
    else:
        shell = ("-e", f"ssh -F '{computer.config}'")
        up = await run_plain(computer, "rsync", *shell, str(source), "bai-train:there.bin")
        down = await run_plain(computer, "rsync", *shell, "bai-train:there.bin", str(back))

    assert (up.status, down.status) == (0, 0), up.err + down.err
    assert digest(source) == digest(computer.work("train") / "there.bin") == digest(back)


async def run_plain(computer: Computer, *words: str) -> Result:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *words, stdin=pipe, stdout=pipe, stderr=pipe, env=computer.command._environ()
    )
    return await finish(process)


async def test_a_terminal_and_a_forwarded_port(computer):
    terminal = await computer("ssh", "-tt", "bai-train", "test -t 0 && echo yes")
    served: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    there = server.sockets[0].getsockname()[1]
    socket_here = computer.home / "forwarded"
    forward = f"{socket_here}:127.0.0.1:{there}"
    process = await computer.start("ssh", "-L", forward, "bai-train", "echo ready; cat")
    assert await process.stdout.readline() == b"ready\n"
    reader, writer = await asyncio.open_unix_connection(str(socket_here))
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await finish(process)
    server.close()

    assert (terminal.status, terminal.out) == (0, "yes\r\n"), terminal
    assert answer.endswith(b"hello")
    assert served == [b"GET / HTTP/1.0\r\n\r\n"]


async def test_a_shell_is_typed_to_through_a_terminal_of_ones_own(computer):
    """As in a terminal: ssh has one, so has the shell there, and both know its size."""
    await computer("ssh", "bai-train", "true")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (33, 111))
    process = await asyncio.create_subprocess_exec(
        *("ssh", "-F", str(computer.config), "bai-train"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=computer.home,
        env=computer.command._environ() | {"TERM": "xterm"},
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, b"stty size; echo $((6 * 7))$TERM; exit 5\n")
    said = b""
    with contextlib.suppress(OSError):  # a terminal that nobody has any more
        while chunk := await asyncio.to_thread(os.read, ours, 4096):
            said += chunk
    os.close(ours)
    async with asyncio.timeout(LIMIT):
        status = await process.wait()

    assert status == 5
    assert b"33 111" in said
    assert b"42xterm" in said


@pytest.mark.alone
async def test_fifty_connections_at_once_each_get_their_own_bytes(computer):
    """Through one ssh and its forwarded port: each is a channel, relayed beside the others."""
    await computer("ssh", "bai-train", "true")

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    there, here = server.sockets[0].getsockname()[1], computer.home / "forwarded"
    process = await computer.start(
        "ssh", "-L", f"{here}:127.0.0.1:{there}", "bai-train", "echo ready; cat"
    )
    assert await process.stdout.readline() == b"ready\n"

    async def one(number: int) -> bool:
        sent = bytes([number]) * 2**16
        reader, writer = await asyncio.open_unix_connection(str(here))
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(LIMIT):
            back = await reader.read(-1)
        writer.close()
        return back == sent

    whole = await asyncio.gather(*(one(number) for number in range(50)))
    await finish(process)
    server.close()

    assert all(whole)


async def test_no_secret_is_seen_in_the_list_of_processes(computer):
    process = await computer.start("ssh", "-v", "bai-train", "echo ready; cat")
    assert await process.stdout.readline() == b"ready\n"
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    lines = " ".join(" ".join(each.cmdline()) for each in tree)
    listening = [c for each in tree for c in each.net_connections() if c.status == "LISTEN"]
    result = await finish(process)
    key = (computer.work("train") / "id_container").read_text()

    assert "ssh-proxy" in lines
    assert listening == []  # no port is open: what connects is a pipe
    for secret in (computer.manager.secret_key, *key.splitlines()[1:-1]):
        assert secret not in lines + result.out + result.err


async def test_a_key_of_ones_own_opens_the_sessions_started_later(computer):
    own = computer.home / "own"
    await run_plain(computer, "ssh-keygen", "-qN", "", "-t", "ed25519", "-f", str(own))
    private = await computer.command("ssh-key", "use", str(own))
    first = await computer.command("ssh-key", "use", f"{own}.pub")
    again = await computer.command("ssh-key", "use", f"{own}.pub")
    await computer.api.start("later")
    await computer("ssh", "bai-later", "true")  # the first contact
    with_own = await computer(
        *("ssh", "-o", f"IdentityFile={own}", "-v", "bai-later", "cat .ssh/authorized_keys")
    )

    assert (private.status, "is a private key" in private.err) == (1, True)
    assert (first.status, "is there now" in first.out) == (0, True)
    assert (again.status, "was there already" in again.out) == (0, True)
    assert with_own.status == 0
    assert (computer.home / "own.pub").read_text().strip() in with_own.out.splitlines()
    assert f"Server accepts key: {own}" in with_own.err
    assert len(with_own.out.splitlines()) == 2  # the session's own, and this one once


async def test_a_host_key_that_is_not_the_pinned_one_is_refused(computer):
    await computer("ssh", "bai-train", "true")
    path = computer.kept / "known_hosts"
    host, kind, _, session = path.read_text().split()
    await run_plain(
        computer, "ssh-keygen", "-qN", "", "-t", "ed25519", "-f", str(computer.home / "x")
    )
    other = (computer.home / "x.pub").read_text().split()[1]
    path.write_text(f"{host} {kind} {other} {session}\n")
    refused = await computer("ssh", "bai-train", "echo reached")
    await computer.configure()
    again = await computer("ssh", "bai-train", "echo reached")

    assert refused.status == 255
    assert "reached" not in refused.out
    assert "Host key verification failed" in refused.err
    assert again.out == "reached\n"


async def test_a_server_that_cannot_write_into_the_session_is_found_out(computer, monkeypatch):
    """The manager leads us to the SSH server of another session, which lets the key in."""
    await computer.api.start("other")
    train, other = (computer.manager.container(name) for name in ("train", "other"))
    public = (train.spec.work / ".ssh" / "authorized_keys").read_bytes()
    (other.spec.work / ".ssh" / "authorized_keys").write_bytes(public)
    monkeypatch.setattr(train, "sshd", other.sshd)
    result = await computer("ssh", "bai-train", "echo reached")

    assert result.status == 255
    assert result.out == ""
    assert "is not that session" in result.err
    assert not (computer.kept / "known_hosts").exists()


async def test_a_new_session_of_the_same_name_is_reached_at_the_first_try(computer):
    await computer("ssh", "bai-train", "true")
    record = computer.manager.session("train")
    await computer.api("DELETE", "/session/train")
    await record.over.wait()
    await computer.api.start("train")
    first = await computer("ssh", "bai-train", "pwd")
    second = await computer("ssh", "bai-train", "pwd")

    assert first.out == second.out == f"{computer.work('train')}\n"
    assert (computer.kept / "keys" / "bai-train").read_text() == (
        computer.work("train") / "id_container"
    ).read_text()
    assert not await still_there(computer.kept / "new" / "bai-train")


async def test_keys_of_sessions_that_have_ended_go_at_the_next_first_contact(computer):
    await computer("ssh", "bai-train", "true")
    record = computer.manager.session("train")
    await computer.api("DELETE", "/session/train")
    await record.over.wait()
    await computer.api.start("next")
    reached = await computer("ssh", "bai-next", "true")

    assert reached.status == 0
    assert [path.name for path in (computer.kept / "keys").iterdir()] == ["bai-next"]


async def test_a_key_goes_with_any_command_after_an_end_that_nobody_saw(computer):
    await computer("ssh", "bai-train", "true")
    await computer.api.start("other")
    await computer("ssh", "bai-other", "true")
    record = computer.manager.session("train")
    await computer.api("DELETE", "/session/train")
    await record.over.wait()
    listed = await computer.command("apps", "other")  # has nothing to do with SSH, nor with it

    assert listed.status == 0
    assert [path.name for path in (computer.kept / "keys").iterdir()] == ["bai-other"]
    assert "bai-train" not in (computer.kept / "known_hosts").read_text()


async def test_a_key_goes_while_any_program_of_ours_is_connected(computer, monkeypatch):
    monkeypatch.setattr(connect, "_SWEEP_EVERY", 0.05)
    await computer("ssh", "bai-train", "true")
    key = computer.kept / "keys" / "bai-train"
    client = await connect.open_client(computer.command._environ(), cwd=computer.home)
    try:
        assert key.exists()
        await computer.api("DELETE", "/session/train")

        assert not await still_there(key)
    finally:
        await client.__aexit__(None, None, None)


async def test_without_keys_nobody_is_asked_about_sessions(computer):
    client = await connect.open_client(computer.command._environ(), cwd=computer.home)
    await client.__aexit__(None, None, None)

    assert client.requests == 0


async def test_the_websocket_lost_in_mid_transfer_ends_the_copy_with_an_error(computer):
    process = await computer.start("ssh", "bai-train", "cat /dev/zero")
    await process.stdout.readexactly(2**20)
    computer.manager.faults.close_websocket()
    result = await finish(process)

    assert result.status == 255
    assert "The connection to the server was lost" in result.err


async def test_the_sessions_end_in_a_transfer_is_told_and_takes_the_key_away(computer):
    process = await computer.start("ssh", "bai-train", "cat /dev/zero")
    await process.stdout.readexactly(2**20)
    record = computer.manager.session("train")
    await computer.api("DELETE", "/session/train")
    result = await finish(process)
    await record.over.wait()
    after = await computer("ssh", "bai-train", "true")

    assert result.status == 255
    assert after.status == 255
    assert "train" in after.err
    assert list((computer.kept / "keys").iterdir()) == []


async def test_several_at_once_after_the_first_do_not_disturb_each_other(computer):
    results = await asyncio.gather(
        *(
            computer("ssh", "bai-train", f"echo {number}; cat", stdin=b"x" * 9)
            for number in range(6)
        )
    )

    assert [result.out for result in results] == [f"{n}\nxxxxxxxxx" for n in range(6)]


async def test_another_servers_hosts_are_not_looked_for_here(computer, tmp_path):
    async with LocalManager(tmp_path / "second", slots=ROOMY) as second:
        computer.command.environ |= {
            "BACKEND_ENDPOINT": second.url,
            "BACKEND_ACCESS_KEY": second.access_key,
            "BACKEND_SECRET_KEY": second.secret_key,
        }
        result = await computer("ssh", "bai-train", "true")

    assert result.status == 255
    assert "belongs to another server" in result.err


# -- the configuration ------------------------------------------------------------------------


async def test_the_include_is_one_line_at_the_top_and_the_rest_is_left_alone(computer):
    own = "# mine\nHost other\n    User me\n"
    computer.config.write_text(own)
    computer.config.chmod(0o644)
    for _ in range(2):
        assert (await computer.configure()).status == 0
    lines = computer.config.read_text().splitlines()
    removed = await computer.configure("--remove")

    assert lines[0].startswith("Include ")
    assert sum("backend.ai.conf" in line for line in lines) == 1
    assert removed.status == 0
    assert computer.config.read_text() == own
    assert mode(computer.config) == 0o644
    assert not (computer.home / "state" / "ssh").exists()
    assert not (computer.config.parent / "config.d" / "backend.ai.conf").exists()
    assert (computer.config.parent / "config.before-backendai-kernel").exists()


async def test_each_running_session_has_a_host_of_its_own(computer):
    await computer.api.start("my sess")
    await computer.configure()
    text = (computer.config.parent / "config.d" / "backend.ai.conf").read_text()
    result = await computer("ssh", "bai-my+20sess", "echo $BACKENDAI_SESSION_NAME")

    assert "Host bai-train\n" in text
    assert "Host bai-my+20sess\n" in text
    assert result.out == "my sess\n"


async def test_a_dry_run_shows_and_changes_nothing(computer):
    await computer.configure("--remove")
    before = computer.config.read_text()
    result = await computer.configure("--dry-run")

    assert "+Include " in result.out
    assert "+Host bai-train" in result.out
    assert computer.config.read_text() == before
    assert not (computer.home / "state" / "ssh").exists()


async def test_inline_writes_one_block_and_damaged_marks_are_refused(computer):
    computer.config.write_text("Host other\n    User me\n")
    await computer.configure("--inline")
    await computer.configure("--inline")
    text = computer.config.read_text()
    reached = await computer("ssh", "bai-train", "echo reached")
    damaged = "\n".join(line for line in text.splitlines() if ": end" not in line)
    computer.config.write_text(damaged)
    refused = await computer.configure("--inline")

    assert text.count("Host bai-train") == 1
    assert text.endswith("Host other\n    User me\n")
    assert reached.out == "reached\n"
    assert refused.status == 1
    assert "are damaged" in refused.err
    assert computer.config.read_text() == damaged


async def test_a_link_stays_a_link(computer):
    target = computer.home / "dotfiles"
    computer.config.rename(target)
    computer.config.symlink_to(target)
    await computer.configure("--remove")
    await computer.configure()

    assert computer.config.is_symlink()
    assert target.read_text().startswith("Include ")


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("train", "bai-train"),
        ("a.b-c_d", "bai-a.b-c_d"),
        ("bad name!", "bai-bad+20name+21"),
        ("a+20b", "bai-a+2B20b"),
        ("모델", "bai-+EB+AA+A8+EB+8D+B8"),
        ("100%", "bai-100+25"),
    ],
)
def test_a_name_becomes_a_host_and_comes_back(name, host):
    assert host_of(name) == host
    assert session_of(host) == name
