"""What the verbs about files do and return, the same for notebooks and for the command line.

Those of sessions' files, and what `folderwork` shares with them. Progress and notes go to a `Show`; the values are tables and facts.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import places, sessionfiles
from .client import Client
from .errors import ConfigError
from .listing import find_session
from .protocol.calls import FolderEntry
from .sessionfiles import RemoteFile
from .slots import parse_size
from .tables import Column, Facts, Table, ago
from .upload import Planned, plan_upload

_MOST_NAMED = 20  # of what was left out


@dataclass(frozen=True, slots=True)
class Show:
    """Who is told how it goes, on the client's loop.

    Attributes:
        progress: Told what is done, the bytes that are there, and the bytes in all.
        note: Told a sentence.
        cwd: Where relative paths of this computer begin.
        environ: The settings.
    """

    progress: Callable[[str, int, int], None]
    note: Callable[[str], None]
    cwd: Path
    environ: Mapping[str, str]

    def going(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(what, done, total)


def bytes_text(count: int) -> str:
    """Return a number of bytes as people write it."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} byte{'s' if count != 1 else ''}"


# -- sessions ---------------------------------------------------------------------------------


async def upload(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    """Send files into a session."""
    left_out: list[str] = []
    planned = planned_files(options.files, show.cwd, left_out.append)
    session = await find_session(client, options.session)
    what = count_text(planned)
    await sessionfiles.send(
        client,
        session,
        planned,
        options.to or ".",
        environ=show.environ,
        on_progress=show.going(f"Uploading {what}"),
        on_note=show.note,
    )
    size = sum(file.size for file in planned)
    return told_sent(planned, f"the session {session.name}", options.to or "", size, left_out)


async def download(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    """Bring files of a session here."""
    session = await find_session(client, options.session)
    to = place_here(options.to, show.cwd)
    left_out: list[str] = []
    made = await sessionfiles.download(
        client,
        session,
        options.paths,
        to,
        environ=show.environ,
        limit=limit_of(options.limit),
        on_progress=show.going(f"Downloading from {session.name}"),
        on_note=show.note,
        on_left_out=left_out.append,
    )
    files = [file for top in made for file in ([top] if top.is_file() else top.rglob("*"))]
    where = f"the session {session.name}"
    return told_come([file for file in files if file.is_file()], to, where, left_out)


async def ls(client: Client, options: argparse.Namespace, show: Show) -> Table[RemoteFile]:
    """List a folder of a session."""
    session = await find_session(client, options.session)
    found = await sessionfiles.list_files(client, session, options.path)
    return file_table(found, f"{session.name}: {options.path}")


def file_table(files: Sequence[RemoteFile], title: str) -> Table[RemoteFile]:
    """Return files of a session as a table."""
    return Table(
        title,
        tuple(files),
        (
            Column("name", "Name", lambda f: f.name, words=name_of),
            Column("size", "Size", lambda f: f.size, bytes_text, is_amount=True),
            Column("modified", "Modified", lambda f: f.modified, _seconds_ago),
            Column("mode", "Mode", lambda f: f.mode),
        ),
        empty="Nothing is there.",
    )


def name_of(file: RemoteFile | FolderEntry) -> str:
    """Return a name as lists show it, a folder's with a slash."""
    return f"{file.name}/" if file.is_folder else file.name


def _seconds_ago(seconds: float) -> str:
    return ago(datetime.fromtimestamp(seconds, UTC))


def planned_files(
    words: Sequence[str], cwd: Path, on_left_out: Callable[[str], None]
) -> list[Planned]:
    """Return the files that words name; each keeps its path from the last part of its word on.

    Raises:
        ConfigError: There is none, or two would become the same.
    """
    planned: dict[str, Planned] = {}
    for word in words:
        path = Path(os.path.abspath(cwd / Path(word).expanduser()))
        for file in plan_upload([str(path)], path.parent, cwd, on_left_out):
            if file.name in planned and planned[file.name].path != file.path:
                raise ConfigError(
                    f"Two files would become {file.name}: {planned[file.name].path}, {file.path}.",
                    hint="Send them one after the other with different --to.",
                )
            planned[file.name] = file
    if not planned:
        raise ConfigError("There is no file in that.", hint=_LEFT_OUT)
    return list(planned.values())


def count_text(planned: Sequence[Any]) -> str:
    """Return how many files there are, and empty folders."""
    files = sum(not getattr(each, "is_folder", False) for each in planned)
    folders = len(planned) - files
    told = f"{files} file{'s' if files != 1 else ''}"
    return f"{told} and {folders} empty folder{'s' if folders != 1 else ''}" if folders else told


_LEFT_OUT = "Links to nowhere or round in circles, pipes, sockets and devices are not sent."


def _left_out(names: Sequence[str], what: str) -> str:
    shown = [*names[:_MOST_NAMED], *(["…"] if len(names) > _MOST_NAMED else [])]
    return f"{what} were left out: {', '.join(shown)}." if names else ""


def place_here(word: str | None, cwd: Path) -> Path:
    """Return the folder of this computer that a word means.

    Raises:
        ConfigError: It is a file.
    """
    to = cwd / Path(word or ".").expanduser()
    if to.exists() and not to.is_dir():
        raise ConfigError(f"{to} is no folder.", hint="--to names the folder that files come into.")
    return to


def limit_of(word: str | None) -> int:
    """Return the bytes that may come; ``None``: those of nobody's wish."""
    return places.LIMIT if word is None else int(parse_size(word))


def told_sent(
    planned: Sequence[Planned], where: str, to: str, size: int, left_out: Sequence[str]
) -> Facts:
    """Return what is told of files that were sent."""
    return Facts(
        f"✓ Uploaded {count_text(planned)} ({bytes_text(size)}) into {where}.",
        (("Folder", to or "its top"),),
        data={
            "files": [file.name for file in planned],
            "bytes": size,
            "to": to,
            "skipped": list(left_out),
        },
        note=_left_out(left_out, "Links to nowhere, pipes and devices"),
    )


def told_come(files: Sequence[Path], to: Path, where: str, skipped: Sequence[str] = ()) -> Facts:
    """Return what is told of files that have come."""
    size = sum(file.stat().st_size for file in files)
    return Facts(
        f"✓ Downloaded {count_text(files)} ({bytes_text(size)}) from {where}.",
        (("Folder", str(to)),),
        data={"files": [str(file) for file in files], "bytes": size, "skipped": list(skipped)},
        note=_left_out(skipped, "Links, pipes and devices"),
    )
