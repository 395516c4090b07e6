"""Files of a session: listed, brought here and sent there, small ones over the API.

What the server does not take or give over its API (1 MiB and more) goes through the session's own
SFTP, and that is told. What comes is not trusted: nothing leads out of the folder it is meant for.
"""

from __future__ import annotations

import asyncio
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from . import sftp
from .client import Client
from .download import read_parts
from .errors import APIError, ConfigError, NotFound, ProtocolError, RunLost
from .model import Session
from .perform import open_session
from .places import LIMIT, check_room, safe_name
from .protocol import calls
from .storage import Tell, silent
from .unpack import link_of, unpack
from .upload import Planned, upload

API_LIMIT = 2**20
"""Bytes of an archive that a server gives, and more than a file of an upload may have."""

_MOST_LINKS = 8  # that lead to one another


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
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as exc:
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
    on_left_out: Callable[[str], None] = lambda name: None,
) -> list[Path]:
    """Bring files and folders of a session here; return what they became.

    Those of the same name are replaced when the new ones are whole. Cancelling leaves nothing half.
    A path that is a link is followed.

    Args:
        environ: For SSH's keys; see `sshaccess`.
        limit: Refuse more bytes than this.
        on_note: Told when something goes through SFTP.
        on_left_out: Told of links, pipes and the like within a folder.

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
            packed = await _followed(client, session, path)
        if packed is None:
            on_note(
                f"{path} is more than the server gives over its API (1 MiB): it comes through SFTP."
            )
            size = 0 if found.is_folder else found.size
            check_room(size, to, limit)
            came = come

            def tell(size_now: int, came: int = came, size: int = size) -> None:
                on_progress(came + size_now, max(came + size, came + size_now))

            made.append(
                await sftp.fetch(
                    client,
                    session,
                    path,
                    to,
                    environ=environ,
                    limit=limit,
                    tell=tell,
                    on_left_out=on_left_out,
                )
            )
            come += await asyncio.to_thread(sftp.size_of, made[-1])
        else:
            archive, name = packed
            made += await asyncio.to_thread(
                unpack, archive, to, name=name, limit=limit, on_left_out=on_left_out
            )
            come += sum(file.stat().st_size for file in made if file.is_file())
        on_progress(come, come)
    return made


async def _followed(client: Client, session: Session, path: str) -> tuple[bytes, str] | None:
    """Return a path as the server packs it, and the name that its top is to have.

    The server packs a link as such; it is followed.
    """
    followed = path
    for _ in range(_MOST_LINKS):
        packed = await _archive(client, session, followed)
        if packed is None:
            return None
        if not (link := link_of(packed)):
            return packed, PurePosixPath(path).name if followed != path else ""
        followed = _normal(PurePosixPath(followed).parent / link)
    raise ConfigError(f"{path} is a link that leads round in circles.")


def _normal(path: PurePosixPath) -> str:
    return os.path.normpath(path)


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


# -- there ------------------------------------------------------------------------------------


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
        await sftp.send(client, session, planned, environ=environ)
        on_progress(total, total)
        return
    try:
        # The interpreter sees to it that the files are the code's own, and not the server's.
        there = await open_session(client, session)
        await upload(there, planned, on_progress)
    except RunLost:  # it runs something, or there is none: then they go as they are
        if empty := [file.name for file in planned if file.is_folder]:
            on_note(f"Empty folders were not made, as something runs: {', '.join(empty)}.")
        planned = [file for file in planned if not file.is_folder]
        for first in range(0, len(planned), calls.MOST_PARTS):
            some = planned[first : first + calls.MOST_PARTS]
            parts = [calls.Part(file.name, file.path.read_bytes()) for file in some]
            await client.send(calls.upload_files(session.id, parts))
            on_progress(sum(file.size for file in planned[: first + len(some)]), total)
