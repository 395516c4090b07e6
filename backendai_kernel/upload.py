"""Files and folders of this computer into a session's work folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError, RunLost
from .protocol import calls
from .protocol.calls import Part
from .protocol.run import Text
from .session import ComputeSession

_AT_ONCE = 4 * 2**20  # bytes in one request, so that progress is told while a large file goes up
_PIECE = calls.PART_LIMIT - 1

# Runs in the session, in a namespace of its own: puts a large file together from its pieces.
_JOIN = """
import os, shutil
home = os.path.expanduser("~")
name, folder = os.path.join(home, {name!r}), os.path.join(home, {folder!r})
os.makedirs(os.path.dirname(name), exist_ok=True)
with open(name + ".part", "wb") as whole:
    for number in range({count}):
        with open(os.path.join(folder, str(number)), "rb") as piece:
            shutil.copyfileobj(piece, whole)
shutil.rmtree(folder)
os.replace(name + ".part", name)
"""


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that is to go up.

    Attributes:
        path: Where it lies here.
        name: Where it will lie there, below the work folder, with slashes.
        size: Bytes.
    """

    path: Path
    name: str
    size: int


def plan_upload(words: Sequence[str], base: Path, cwd: Path) -> list[Planned]:
    """Return the files that paths name; folders with all that is in them, ``__pycache__`` left out.

    Args:
        words: Paths, relative ones from *cwd*; ``~`` is the home folder.
        base: Files keep their path below it.

    Raises:
        ConfigError: There is no such file, it cannot be read, or it lies outside *base*.
    """
    base = Path(os.path.abspath(cwd / base))
    planned: dict[str, Planned] = {}
    for word in words:
        path = Path(os.path.abspath(cwd / Path(word).expanduser()))
        if not path.exists():
            raise ConfigError(f"There is no file {word!r}.", hint=f"Relative paths begin in {cwd}.")
        if not path.is_relative_to(base):
            raise ConfigError(
                f"{word!r} lies outside {base}.",
                hint="Name the folder that holds all files with --basedir.",
            )
        for file in _files(path):
            name = file.relative_to(base).as_posix()
            if not os.access(file, os.R_OK):
                raise ConfigError(f"{name} cannot be read: permission denied.")
            planned[name] = Planned(file, name, file.stat().st_size)
    return list(planned.values())


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, folders, files in os.walk(path):  # does not follow links to folders, so it ends
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            if (found := Path(folder, name)).is_file():
                yield found


async def upload(
    session: ComputeSession,
    planned: Sequence[Planned],
    on_progress: Callable[[int, int], None] = lambda sent, total: None,
) -> None:
    """Send files into a session's work folder.

    A server takes files below 1 MiB, 20 at once; a larger one goes in pieces that the session's
    interpreter puts together. Cancelling leaves what was sent.

    Args:
        on_progress: Told the bytes sent and the bytes in all.

    Raises:
        RunLost: The pieces of a large file could not be put together.
        ConfigError: A file has gone, or cannot be read any more.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    total, sent = sum(file.size for file in planned), 0
    on_progress(0, total)
    parts: list[Part] = []
    weight = 0

    async def flush() -> None:
        nonlocal sent, weight
        if parts:
            await session.client.send(calls.upload_files(session.id, parts))
            sent += weight
            on_progress(sent, total)
            parts.clear()
            weight = 0

    for file in planned:
        folder = f".upload-{secrets.token_hex(8)}"
        pieces = 0
        for data in _pieces(file):
            name = file.name if file.size <= _PIECE else f"{folder}/{pieces}"
            pieces += 1
            if len(parts) == calls.MOST_PARTS or weight + len(data) > _AT_ONCE:
                await flush()
            parts.append(Part(name, data))
            weight += len(data)
        if file.size > _PIECE:
            await flush()
            await _run(
                session, _JOIN.format(name=file.name, folder=folder, count=pieces), file.name
            )
    await flush()


def _pieces(file: Planned) -> Iterator[bytes]:
    try:
        with file.path.open("rb") as opened:
            yield opened.read(_PIECE)
            while data := opened.read(_PIECE):
                yield data
    except OSError as exc:
        raise ConfigError(f"{file.name} cannot be read: {exc.strerror}.") from exc


async def _run(session: ComputeSession, source: str, name: str) -> None:
    # In a namespace of its own, out of the history; the mark tells that it came to its end.
    mark = secrets.token_hex(8)
    code = f"exec({source!r}, {{}}); print({mark!r})"
    options = {"silent": False, "store_history": False}
    said = ""
    async with session.cell(code, {"options": options}) as run:
        async for event in run:
            said += event.text if isinstance(event, Text) else ""
    if mark not in said:
        raise RunLost(
            f"The pieces of {name} could not be put together in the session.",
            hint="Files of 1 MiB and more need a Python interpreter in the session and room there.",
        )
