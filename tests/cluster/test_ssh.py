"""SSH into a session of a real cluster, whose SSH server is dropbear."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil

import pytest

from backendai_kernel.sshaccess import host_of
from tests.test_cli import CommandLine, Result

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH is not installed"),
]

LIMIT = 180.0
BIG = int(os.environ.get("BACKENDAI_TEST_BIG", 32)) * 2**20


async def test_the_day_of_somebody_who_uses_ssh(session, tmp_path):
    """One session for many looks: starting one takes longer than all of them."""
    seen = await session.look()
    host = host_of(seen.name)
    environ = {name: value for name, value in os.environ.items() if name.startswith("BACKEND_")}
    command = CommandLine(tmp_path, environ)
    config = tmp_path / "ssh_config"
    pipe = asyncio.subprocess.PIPE

    async def run(*words: str, stdin: bytes = b"") -> Result:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=pipe, stdout=pipe, stderr=pipe, cwd=tmp_path, env=command._environ()
        )
        async with asyncio.timeout(LIMIT):
            out, err = await process.communicate(stdin)
        return Result(process.returncode, out.decode(errors="replace"), err.decode())

    async def ssh(*words: str, stdin: bytes = b"") -> Result:
        return await run("ssh", "-F", str(config), host, *words, stdin=stdin)

    configured = await command("ssh-config", "--config", str(config))
    first = await ssh("id -un; cat; exit 3", stdin=b"typed")
    again = await ssh("ls -a")
    source, back = tmp_path / "up load", tmp_path / "back"
    source.write_bytes(os.urandom(BIG))
    up = await run("scp", "-q", "-O", "-F", str(config), str(source), f"{host}:there")
    there = await ssh("sha256sum there")
    down = await run("scp", "-q", "-O", "-F", str(config), f"{host}:there", str(back))
    # A terminal's input does not end before its command does: dropbear hangs up when it does.
    typing = await asyncio.create_subprocess_exec(
        *("ssh", "-tt", "-F", str(config), host, "test -t 0 && echo yes"),
        stdin=pipe,
        stdout=pipe,
        cwd=tmp_path,
        env=command._environ(),
    )
    async with asyncio.timeout(LIMIT):
        terminal = await typing.stdout.read()
        await typing.wait()
    many = await asyncio.gather(*(ssh(f"echo {n}") for n in range(4)))
    (kept,) = (tmp_path / "state" / "ssh").iterdir()
    known = kept / "known_hosts"
    alias, kind, key, session_id = known.read_text().split()
    known.write_text(f"{alias} {kind} {key[:-8]}AAAAAAAA {session_id}\n")
    refused = await ssh("echo reached")

    assert configured.status == 0
    assert f"ssh {host}" in configured.out
    assert (first.status, first.out) == (3, "work\ntyped"), first.err
    assert ".bai-" not in again.out
    assert (up.status, down.status) == (0, 0), up.err + down.err
    assert there.out.split()[0] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (
        hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()
    )
    assert terminal == b"yes\r\n"
    assert [each.out for each in many] == [f"{n}\n" for n in range(4)]
    assert (refused.status, refused.out) == (255, "")
    assert "verification failed" in refused.err


async def test_an_app_is_opened_and_an_unknown_one_is_told(session, tmp_path):
    seen = await session.look()
    environ = {name: value for name, value in os.environ.items() if name.startswith("BACKEND_")}
    command = CommandLine(tmp_path, environ)
    apps = await command("apps", seen.name)
    unknown = await command("app", seen.name, "nosuch")
    pipe = asyncio.subprocess.PIPE
    process = await command.start("app", seen.name, "sshd", "-b", "0", stdin=pipe, stdout=pipe)
    line = (await process.stdout.readline()).decode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(line.rpartition(":")[2]))
    banner = await reader.readline()
    writer.close()
    await session.destroy()
    async with asyncio.timeout(LIMIT):
        await process.wait()  # the session's end closes the port

    assert "sshd" in apps.out
    assert (unknown.status, "ttyd (http)" in unknown.err) == (1, True)
    assert banner.startswith(b"SSH-2.0-dropbear")
    assert process.returncode == 0
