"""The SSH server of one session: shell, commands, terminals, SFTP, forwarded ports.

A process of the session's own, in its environment; it listens on a socket in the file system that
the manager alone can reach, and ends with the session.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from pathlib import Path
from typing import Any

import asyncssh

from . import readonly

USER = "work"
_CHUNK = 64 * 2**10
_HUNG_UP = 129  # exit status of a shell whose terminal went away, as a signal's


class Door(asyncssh.SSHServer):
    """Lets in the user ``work`` with a key that ``authorized_keys`` has at that moment."""

    def __init__(self, authorized: Path) -> None:
        self._authorized = authorized

    def connection_made(self, connection: Any) -> None:
        self._connection = connection

    def begin_auth(self, username: str) -> bool:
        try:
            if username != USER:
                raise ValueError(username)
            self._connection.set_authorized_keys(str(self._authorized))
        except (OSError, ValueError):  # there is none, or it is somebody else: nobody gets in
            self._connection.set_authorized_keys(b"")
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: Any) -> bool:
        return False  # `authorized_keys` is asked first, and is all there is

    def connection_requested(self, *wanted: Any) -> bool:
        return True

    def server_requested(self, *wanted: Any) -> bool:
        return True

    def unix_connection_requested(self, *wanted: Any) -> bool:
        return True

    def unix_server_requested(self, *wanted: Any) -> bool:
        return True


class Files(asyncssh.SFTPServer):
    """The session's files, from its work folder on."""

    def exit(self) -> None:
        """Say that it went well: scp fails without an exit status."""
        self.channel.exit(0)


async def attend(process: Any) -> None:
    """Run what a client asks for: a command, or a login shell when it names none."""
    shell = os.environ.get("SHELL", "/bin/sh")
    words = [shell, "-c", process.command] if process.command else [shell, "-l"]
    environ = {**os.environ, **process.env, "USER": USER, "LOGNAME": USER}
    if process.term_type is not None:  # empty where the client has no TERM
        environ["TERM"] = process.term_type or environ.get("TERM", "dumb")
        await _in_a_terminal(process, words, environ)
    else:
        await _through_pipes(process, words, environ)


async def _through_pipes(process: Any, words: list[str], environ: dict[str, str]) -> None:
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *words, stdin=pipe, stdout=pipe, stderr=pipe, env=environ, start_new_session=True
    )
    reading = asyncio.create_task(_give(process, child))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_tell(child.stdout, process.stdout))
            group.create_task(_tell(child.stderr, process.stderr))
            waiting = group.create_task(_wait(process, child))
        _exit(process, waiting.result())
    except* (BrokenPipeError, ConnectionError):  # the client has gone
        process.close()
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        _hang_up(child)


async def _give(process: Any, child: asyncio.subprocess.Process) -> None:
    """Give a program what its client sends, and the end of it."""
    assert child.stdin is not None
    try:
        while data := await process.stdin.read(_CHUNK):
            child.stdin.write(data)
            await child.stdin.drain()
    except (asyncssh.Error, ConnectionError):
        pass  # a signal, or one of both has gone: there is no more to give
    child.stdin.close()


async def _tell(source: asyncio.StreamReader | None, sink: Any) -> None:
    assert source is not None
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()


async def _in_a_terminal(process: Any, words: list[str], environ: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    _resize(ours, process.term_size)
    try:
        child = await asyncio.create_subprocess_exec(
            *words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environ,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    typing = asyncio.create_task(_type(process, ours))
    try:
        await _show(process, ours)
        _exit(process, await _wait(process, child))
    finally:
        typing.cancel()
        await asyncio.wait([typing])
        os.close(ours)
        _hang_up(child)


async def _type(process: Any, terminal: int) -> None:
    """Give the terminal what the user types, and the size of the window when it changes."""
    while True:
        try:
            data = await process.stdin.read(_CHUNK)
        except asyncssh.TerminalSizeChanged as exc:
            _resize(terminal, exc.term_size)
            continue
        except (asyncssh.BreakReceived, asyncssh.SignalReceived):
            data = b"\x03"
        if not data:
            return
        await asyncio.to_thread(_write_all, terminal, data)


def _write_all(terminal: int, data: bytes) -> None:
    while data:
        data = data[os.write(terminal, data) :]


async def _show(process: Any, terminal: int) -> None:
    """Send on what the terminal shows, until nobody has it open any more."""
    while True:
        try:
            data = await asyncio.to_thread(os.read, terminal, _CHUNK)
        except OSError:  # how Linux says that the last one has closed it
            return
        if not data:
            return
        process.stdout.write(data)
        await process.stdout.drain()


async def _wait(process: Any, child: asyncio.subprocess.Process) -> int:
    """Return the child's exit status; end it when its client goes away first."""
    gone = asyncio.ensure_future(process.channel.wait_closed())
    done = asyncio.ensure_future(child.wait())
    await asyncio.wait([gone, done], return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if not done.done():
        _hang_up(child)
    return await done


def _hang_up(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        try:
            os.killpg(child.pid, signal.SIGHUP)
        except ProcessLookupError:
            return


def _exit(process: Any, status: int) -> None:
    if status < 0:
        name = signal.Signals(-status).name.removeprefix("SIG")
        process.exit_with_signal(name)
    else:
        process.exit(status)


def _resize(terminal: int, size: tuple[int, int, int, int]) -> None:
    columns, rows, width, height = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))


async def serve(path: Path, work: Path) -> None:
    """Serve until the process is ended."""
    import socket

    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(str(path.with_suffix(".new")))
    await asyncssh.listen(
        sock=door,
        server_factory=lambda: Door(work / ".ssh" / "authorized_keys"),
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=attend,
        sftp_factory=Files,
        allow_scp=True,
        encoding=None,
        line_editor=False,
        keepalive_interval=15,
        keepalive_count_max=8,
        login_timeout=60,
    )
    path.with_suffix(".new").rename(path)  # who waits for it finds it listening
    await asyncio.Event().wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    readonly.add_words(parser)
    options = parser.parse_args(sys.argv[1:])
    readonly.protect(options.read_only)
    os.umask(0o022)
    asyncio.run(serve(options.socket, Path.cwd()))
