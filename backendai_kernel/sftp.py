"""Files of a session through its own SFTP: what is too large for the server's API.

OpenSSH's ``sftp`` does the work. Nothing has its name before it is whole, here or there, and what
is called off is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from .client import Client
from .errors import BackendError, ConfigError
from .model import Session
from .places import check_room, make_folder, safe_name
from .sshaccess import options_of, prepare, proxy_command
from .sshkeys import Place, host_of
from .upload import Planned

_LOOK = 0.5  # seconds between two looks at how far SFTP is
_PIECE, _AHEAD = 131072, 12
"""Bytes that sftp asks for at once, and how many such questions may be open.

Together they stay below the 2 MiB of data that OpenSSH lets come unread. The SSH server of a real
session (dropbear 2024.85) sends more than it may, OpenSSH drops that, and a large file is broken.
"""
_TIDY = 20.0  # seconds for the rest of what was called off to be removed
_NO_FILE = ": not a regular file"  # sftp's words for what it leaves out


async def fetch(
    client: Client,
    session: Session,
    path: str,
    to: Path,
    *,
    environ: Mapping[str, str],
    limit: int,
    tell: Callable[[int], None],
    on_left_out: Callable[[str], None],
) -> Path:
    """Bring a file or folder here, beside its place first; return what it became.

    Args:
        environ: For SSH's keys; see `sshaccess`.
        limit: Refuse more bytes than this.
        tell: Told the bytes that have come.
        on_left_out: Told of links, pipes and the like within a folder.

    Raises:
        ConfigError: There is no SFTP, it failed, or it is more than *limit*.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    make_folder(to)
    name = safe_name(PurePosixPath(path).name or "work")
    folder = Path(tempfile.mkdtemp(prefix=".bai-", dir=to))
    try:
        part = folder / name
        command = f"get -r {quoted(path)} {quoted(str(part))}\n"
        async with _sftp(client, session, command, environ, on_left_out) as process:
            while process.returncode is None:
                size = await asyncio.to_thread(size_of, folder)
                if size > limit:
                    check_room(size, to, limit)
                tell(size)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(process.wait()), _LOOK)
        moving = asyncio.create_task(asyncio.to_thread(_put_in_place, part, to / name))
        try:
            await asyncio.shield(moving)
        except asyncio.CancelledError:
            await moving  # what has come is put in its place, or else half of it would be
            raise
        return to / name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # it was moved meanwhile
                total += Path(folder, name).lstat().st_size
    return total


def _put_in_place(part: Path, place: Path) -> None:
    """Move what has come to its place, file by file; links are left out."""
    if not part.is_dir():
        os.replace(part, place)
        return
    make_folder(place)
    for entry in part.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _put_in_place(entry, place / entry.name)
        elif entry.is_file() and not entry.is_symlink():
            os.replace(entry, place / entry.name)


async def send(
    client: Client,
    session: Session,
    files: Sequence[Planned],
    *,
    environ: Mapping[str, str],
) -> None:
    """Send files and empty folders; folders that are missing are made.

    Each file goes beside its place and is moved there when it is whole. Cancelling leaves the files
    that are whole, and nothing of the others.

    Raises:
        ConfigError: There is no SFTP, or it failed.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    folders = {str(up) for file in files for up in PurePosixPath(file.name).parents} - {"."}
    folders |= {file.name for file in files if file.is_folder}
    lines = [f"-mkdir {quoted(folder)}\n" for folder in sorted(folders)]
    mark = secrets.token_hex(4)
    parts = []
    for file in files:
        if file.is_folder:
            continue
        pure = PurePosixPath(file.name)
        part = str(pure.with_name(f".{pure.name[:80]}.{mark}.part"))
        parts.append(part)
        lines.append(f"put {quoted(str(file.path))} {quoted(part)}\n")
        # Not every server replaces a file by renaming.
        lines.append(f"-rm {quoted(file.name)}\n")
        lines.append(f"rename {quoted(part)} {quoted(file.name)}\n")
    try:
        async with _sftp(client, session, "".join(lines), environ) as process:
            await process.wait()
    except BaseException:
        with contextlib.suppress(BackendError, TimeoutError):  # then nobody can remove them
            async with asyncio.timeout(_TIDY):
                remove = "".join(f"-rm {quoted(part)}\n" for part in parts)
                async with _sftp(client, session, remove, environ) as process:
                    await process.wait()
        raise


def quoted(path: str) -> str:
    """Return a path as a command of sftp has it; between quotes ``*`` and ``?`` are themselves.

    Raises:
        ConfigError: It has a character that sftp cannot be told.
    """
    if any(c in path for c in "\n\r\0"):
        raise ConfigError(f"{path!r} is no path that SFTP can be told.")
    path = path if not path.startswith("-") else f"./{path}"
    text = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


@contextlib.asynccontextmanager
async def _sftp(
    client: Client,
    session: Session,
    commands: str,
    environ: Mapping[str, str],
    on_left_out: Callable[[str], None] = lambda name: None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run sftp with commands; at the end it must have done them all.

    Raises:
        ConfigError: There is none, or a command failed.
    """
    program = shutil.which("sftp")
    if program is None:
        raise ConfigError(
            "Files of 1 MiB and more go through SFTP, and there is no sftp on this computer.",
            hint="Install OpenSSH's client, or take a virtual folder: `%bai vfolder -h`.",
        )
    place = Place.of(client.config, environ)
    try:
        await prepare(client, session, place)
    except BackendError as exc:
        raise ConfigError(
            f"Files of 1 MiB and more go through SFTP, and that is not to be had: {exc.message}",
            hint="A virtual folder takes files of any size: `%bai vfolder -h`.",
        ) from exc
    options = [f"-o{name}={value}" for name, value in options_of(place, proxy_command(place))]
    process = await asyncio.create_subprocess_exec(
        *(
            program,
            "-b",
            "-",
            f"-B{_PIECE}",
            f"-R{_AHEAD}",
            "-oBatchMode=yes",
            "-oLogLevel=ERROR",
            *options,
            host_of(session.name),
        ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**environ, **_credentials(client)},
        start_new_session=True,
    )
    assert process.stdin is not None and process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    try:
        process.stdin.write(commands.encode())
        with contextlib.suppress(ConnectionError):  # it has ended: what it says is told below
            await process.stdin.drain()
        process.stdin.close()
        yield process
        said = (await errors).decode(errors="replace").strip()
        for line in said.splitlines():
            if line.endswith(_NO_FILE):
                on_left_out(line.removesuffix(_NO_FILE).removeprefix("download ").strip('"'))
        if process.returncode:
            raise ConfigError(
                f"SFTP failed: {said.splitlines()[-1].rstrip('.') if said else 'no reason told'}."
            )
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        errors.cancel()


def _credentials(client: Client) -> dict[str, str]:
    """Return the settings that the proxy command needs, where they are not in the environment."""
    config = client.config
    if config.is_local or config.endpoint_type == "session":
        return {}
    return {
        "BACKEND_ENDPOINT": config.endpoint,
        "BACKEND_ACCESS_KEY": config.access_key,
        "BACKEND_SECRET_KEY": config.secret_key,
    }
