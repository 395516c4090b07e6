"""Files of a session: listed, brought here and sent there, small ones over the API.

What the server does not take or give over its API (1 MiB and more) goes through the session's own
SFTP, and that is told. What comes is not trusted: nothing leads out of the folder it is meant for.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from .client import Client
from .download import read_parts
from .errors import APIError, BackendError, ConfigError, NotFound, ProtocolError, RunLost
from .model import Session
from .perform import open_session
from .protocol import calls
from .sshaccess import Place, host_of, options_of, prepare, proxy_command
from .storage import LIMIT, Tell, check_room, safe_name, silent, whole_or_none
from .upload import Planned, upload

API_LIMIT = 2**20
"""Bytes of an archive that a server gives, and more than a file of an upload may have."""

_LOOK = 0.5  # seconds between two looks at how far SFTP is


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """Something in a folder of a session: ``mode`` as ``ls`` writes it, ``modified`` in seconds."""

    name: str
    size: int
    mode: str
    modified: float

    @property
    def is_folder(self) -> bool:
        return self.mode.startswith("d")


async def list_files(client: Client, session: Session, path: str = ".") -> list[RemoteFile]:
    """Return what is in a folder of a session, folders first.

    Args:
        path: From the session's work folder, or whole.

    Raises:
        NotFound: There is no such folder.
        ConnectError, APIError, ProtocolError: As `Client.send`.

    Source: API reference 4.10; recording 31.
    """
    try:
        told = await client.send(calls.list_files(session.id, path or "."))
    except APIError as exc:
        if exc.status not in (400, 404, 500):
            raise
        raise _not_there(session, path) from exc
    if told.errors.strip():
        raise _not_there(session, path)
    try:
        found = [
            RemoteFile(
                safe_name(str(each["filename"])),
                int(each["size"]),
                str(each["mode"]),
                float(each["mtime"]),
            )
            for each in json.loads(told.files or "[]")
        ]
    except (ValueError, KeyError, TypeError) as exc:
        raise ProtocolError(f"The server lists {path!r} in a form that we do not know.") from exc
    return sorted(found, key=lambda each: (not each.is_folder, each.name))


def _not_there(session: Session, path: str) -> NotFound:
    return NotFound(
        f"There is no {path!r} in the session {session.name}, or it cannot be read.",
        status=404,
        hint=f"`%bai ls {session.name}` lists what there is.",
    )


async def find_file(client: Client, session: Session, path: str) -> RemoteFile:
    """Return the file or folder of that path.

    Raises:
        NotFound: There is none.
    """
    pure = PurePosixPath(path)
    if not pure.name or pure.name == "..":
        return RemoteFile(path, 0, "drwxr-xr-x", 0.0)
    for each in await list_files(client, session, str(pure.parent)):
        if each.name == pure.name:
            return each
    raise _not_there(session, path)


# -- here -------------------------------------------------------------------------------------


async def download(
    client: Client,
    session: Session,
    paths: Sequence[str],
    to: Path,
    *,
    environ: Mapping[str, str],
    limit: int = LIMIT,
    on_progress: Tell = silent,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Path]:
    """Bring files and folders of a session here; return what they became.

    Those of the same name are replaced when the new ones are whole. Cancelling leaves nothing half.

    Args:
        environ: For SSH's keys; see `sshaccess`.
        limit: Refuse more bytes than this.
        on_note: Told when something goes through SFTP.

    Raises:
        NotFound: There is no such path.
        ConfigError: It is more than *limit*, cannot be written, or needs an SFTP that is not there.
        ProtocolError: An archive that would write elsewhere than into *to*, or is broken.
        ConnectError, APIError: As `Client.send`.
    """
    come = 0
    made: list[Path] = []
    on_progress(0, 0)
    for path in paths:
        found = await find_file(client, session, path)
        packed = None
        if found.is_folder or found.size < API_LIMIT - 2 * tarfile.BLOCKSIZE:
            packed = await _archive(client, session, path)
        if packed is None:
            on_note(
                f"{path} is more than the server gives over its API (1 MiB): it comes through SFTP."
            )
            size = 0 if found.is_folder else found.size
            check_room(size, to, limit)
            came = come

            def tell(size_now: int, came: int = came, size: int = size) -> None:
                on_progress(came + size_now, max(came + size, came + size_now))

            made.append(await _fetch(client, session, path, to, environ, limit, tell))
            come += _size_of(made[-1])
        else:
            made += await asyncio.to_thread(unpack, packed, to, limit=limit)
            come += sum(file.stat().st_size for file in made if file.is_file())
        on_progress(come, come)
    return made


async def _archive(client: Client, session: Session, path: str) -> bytes | None:
    """Return a path as the server packs it; ``None`` where it will not, as it is too large."""
    try:
        kind, body = await client.fetch(calls.download_files(session.id, [path]))
    except APIError as exc:
        # Newer servers say no more of what is too large than that they failed (recording 31).
        if exc.status in (400, 500):
            return None
        raise
    for part in read_parts(kind, body):
        return part
    raise ProtocolError(f"The server sent nothing for {path}.")


def unpack(packed: bytes, to: Path, *, limit: int = LIMIT) -> list[Path]:
    """Unpack a tar into a folder; return the files and folders at its top.

    Files and folders alone are taken. Nothing is written when the archive is refused.

    Raises:
        ProtocolError: An entry has an absolute path or ``..``, is a link or a device, or would be
            written through a link of this computer; or it is no archive.
        ConfigError: It takes more than *limit* bytes when it is unpacked, or cannot be written.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as tar:
            members = tar.getmembers()
            for member in members:
                _check_member(member, to)
            check_room(sum(member.size for member in members), to, limit)
            for member in members:
                place = to / member.name
                if member.isdir():
                    _make(place)
                    continue
                content = tar.extractfile(member)
                assert content is not None
                with whole_or_none(place) as file:
                    shutil.copyfileobj(content, file)
                place.chmod(stat.S_IMODE(member.mode) & 0o755 | stat.S_IRUSR | stat.S_IWUSR)
    except tarfile.TarError as exc:
        raise ProtocolError(f"The server sent a broken archive: {exc}.") from exc
    tops = dict.fromkeys(PurePosixPath(member.name).parts[0] for member in members if member.name)
    return [to / top for top in tops]


def _check_member(member: tarfile.TarInfo, to: Path) -> None:
    path = PurePosixPath(member.name)
    is_plain = (member.isreg() and not member.issparse()) or member.isdir()
    is_inside = path.parts and not path.is_absolute() and ".." not in path.parts
    if (
        not is_plain
        or not is_inside
        or "\0" in member.name
        or "\\" in member.name * (os.sep != "/")
    ):
        what = "a link or device" if not is_plain and is_inside else "what leads out of the folder"
        raise ProtocolError(
            f"The archive from the server has {what}: {member.name!r}. Nothing was unpacked.",
            hint="Name the files that you want, in place of their folder.",
        )
    if not (to / member.name).parent.resolve().is_relative_to(to.resolve()):
        raise ProtocolError(
            f"{to / member.name} would be written through a link to elsewhere. Nothing was unpacked."
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"{folder} cannot be made: {exc.strerror}.") from exc


def _size_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


# -- through SFTP -----------------------------------------------------------------------------


async def _fetch(
    client: Client,
    session: Session,
    path: str,
    to: Path,
    environ: Mapping[str, str],
    limit: int,
    tell: Callable[[int], None],
) -> Path:
    """Bring a file or folder here through SFTP, beside its place first."""
    _make(to)
    name = safe_name(PurePosixPath(path).name or "work")
    folder = Path(tempfile.mkdtemp(prefix=".bai-", dir=to))
    try:
        part = folder / name
        command = f"get -r {quoted(path)} {quoted(str(part))}\n"
        async with _sftp(client, session, command, environ) as process:
            while process.returncode is None:
                size = await asyncio.to_thread(_size_of, folder)
                if size > limit:
                    check_room(size, to, limit)
                tell(size)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(process.wait()), _LOOK)
        await asyncio.to_thread(_put_in_place, part, to / name)
        return to / name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(part: Path, place: Path) -> None:
    """Move what has come to its place, file by file; links are left out."""
    if not part.is_dir():
        os.replace(part, place)
        return
    _make(place)
    for entry in part.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _put_in_place(entry, place / entry.name)
        elif entry.is_file() and not entry.is_symlink():
            os.replace(entry, place / entry.name)


async def send(
    client: Client,
    session: Session,
    planned: Sequence[Planned],
    to: str = ".",
    *,
    environ: Mapping[str, str],
    on_progress: Tell = silent,
    on_note: Callable[[str], None] = lambda note: None,
) -> None:
    """Send files into a session's work folder: over the API, or through SFTP when one is too large.

    Args:
        to: Folder below the work folder; made when it is missing.
        environ: For SSH's keys; see `sshaccess`.
        on_note: Told when they go through SFTP.

    Raises:
        ConfigError: A file cannot be read, *to* leads elsewhere, or the session does not run.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    pure = PurePosixPath("/home/work", to)
    if ".." in pure.parts or "\0" in to or not pure.is_relative_to("/home/work"):
        raise ConfigError(
            f"{to!r} lies outside the session's work folder.", hint="Name a folder below it."
        )
    below = pure.relative_to("/home/work")
    planned = [replace(file, name=str(below / file.name)) for file in planned]
    total = sum(file.size for file in planned)
    on_progress(0, total)
    if large := [file for file in planned if file.size >= API_LIMIT]:
        on_note(
            f"{large[0].name} is more than the server takes over its API (1 MiB): "
            f"{'it goes' if len(planned) == 1 else 'all goes'} through SFTP."
        )
        await send_large(client, session, planned, environ=environ)
        on_progress(total, total)
        return
    try:
        # The interpreter sees to it that the files are the code's own, and not the server's.
        there = await open_session(client, session)
        await upload(there, planned, on_progress)
    except RunLost:  # it runs something, or there is none: then they go as they are
        for first in range(0, len(planned), calls.MOST_PARTS):
            some = planned[first : first + calls.MOST_PARTS]
            parts = [calls.Part(file.name, file.path.read_bytes()) for file in some]
            await client.send(calls.upload_files(session.id, parts))
            on_progress(sum(file.size for file in planned[: first + len(some)]), total)


async def send_large(
    client: Client,
    session: Session,
    files: Sequence[Planned],
    *,
    environ: Mapping[str, str],
) -> None:
    """Send files through SFTP; folders that are missing are made.

    Each goes beside its place and is moved there when it is whole.

    Raises:
        ConfigError: There is no SFTP, or it failed.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    folders = {str(up) for file in files for up in PurePosixPath(file.name).parents} - {"."}
    lines = [f"-mkdir {quoted(folder)}\n" for folder in sorted(folders)]
    for file in files:
        name, part = file.name, f"{file.name}.part"
        lines.append(f"put {quoted(str(file.path))} {quoted(part)}\n")
        # Not every server replaces a file by renaming.
        lines.append(f"-rm {quoted(name)}\n")
        lines.append(f"rename {quoted(part)} {quoted(name)}\n")
    async with _sftp(client, session, "".join(lines), environ) as process:
        await process.wait()


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
    client: Client, session: Session, commands: str, environ: Mapping[str, str]
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
        *(program, "-q", "-b", "-", "-oBatchMode=yes", *options, host_of(session.name)),
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
        if process.returncode:
            raise ConfigError(
                f"SFTP failed: {said.splitlines()[-1] if said else 'no reason told'}."
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
