"""SSH into a session of a real cluster, whose SSH server is dropbear."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from backendai_kernel.sshkeys import host_of
from tests.test_cli import CommandLine, Result

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH is not installed"),
]

BIG = int(os.environ.get("BACKENDAI_TEST_BIG", 32)) * 2**20
"""Bytes of the large copies; ``BACKENDAI_TEST_BIG=1024`` makes it a gigabyte."""
LIMIT = 180.0 + BIG / 2**21  # a copy may be as slow as 2 MiB a second


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    with source.open("wb") as file:
        for _ in range(BIG // 2**20):
            file.write(os.urandom(2**20))
    began = time.monotonic()
    up = await run("scp", "-q", "-O", "-F", str(config), str(source), f"{host}:there")
    took_up = time.monotonic() - began
    there = await ssh("sha256sum there")
    began = time.monotonic()
    down = await run("scp", "-q", "-O", "-F", str(config), f"{host}:there", str(back))
    took_down = time.monotonic() - began
    print(f"scp of {BIG / 1e6:.0f} MB: up {took_up:.1f} s, down {took_down:.1f} s")
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
    assert digest(source) == there.out.split()[0] == digest(back)
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
