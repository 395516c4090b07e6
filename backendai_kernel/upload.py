"""Files and folders of this computer into a session's work folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import BackendError, ConfigError, RunLost
from .protocol import calls
from .protocol.calls import Part
from .protocol.envelope import Message
from .protocol.run import Text
from .session import ComputeSession

_AT_ONCE = 4 * 2**20  # bytes in one request, so that progress is told while a large file goes up
_PIECE = calls.PART_LIMIT - 1
_TIDY = 10.0  # seconds for the pieces of what is called off to be removed

# These run in the session, in a namespace of their own. What a server writes belongs to its own
# user, so folders are made before it makes them, and files that cannot be written to are copied.
_PREPARE = """
import os
home = os.path.expanduser("~")
for name in {folders!r}:
    os.makedirs(os.path.join(home, name), exist_ok=True)
"""
_FINISH = """
import os, shutil
home = os.path.expanduser("~")
for name in {small!r}:
    path = os.path.join(home, name)
    if os.path.exists(path) and not os.access(path, os.W_OK):
        shutil.copyfile(path, path + ".part")
        os.replace(path + ".part", path)
for name, folder, count in {large!r}:
    path, pieces = os.path.join(home, name), os.path.join(home, folder)
    with open(path + ".part", "wb") as whole:
        for number in range(count):
            with open(os.path.join(pieces, str(number)), "rb") as piece:
                shutil.copyfileobj(piece, whole)
    shutil.rmtree(pieces)
    os.replace(path + ".part", path)
"""
_REMOVE = """
import os, shutil
home = os.path.expanduser("~")
for folder in {folders!r}:
    shutil.rmtree(os.path.join(home, folder), ignore_errors=True)
for name in {names!r}:
    if os.path.exists(os.path.join(home, name + ".part")):
        os.remove(os.path.join(home, name + ".part"))
"""


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that is to go up, or an empty folder.

    Attributes:
        path: Where it lies here.
        name: Where it will lie there, below the work folder, with slashes.
        size: Bytes.
        is_folder: It is a folder with nothing in it; others come with their files.
    """

    path: Path
    name: str
    size: int
    is_folder: bool = False


def plan_upload(
    words: Sequence[str],
    base: Path,
    cwd: Path,
    on_left_out: Callable[[str], None] = lambda name: None,
) -> list[Planned]:
    """Return the files that paths name; folders with all that is in them, ``__pycache__`` left out.

    Links are followed, to files and to folders, as ``scp -r`` does.

    Args:
        words: Paths, relative ones from *cwd*; ``~`` is the home folder.
        base: Files keep their path below it.
        on_left_out: Told of what is no file and leads to none: links to nowhere or round in
            circles, pipes, sockets and devices.

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
        for file in _files(path, lambda odd: on_left_out(odd.relative_to(base).as_posix())):
            name = file.relative_to(base).as_posix()
            if not os.access(file, os.R_OK):
                raise ConfigError(f"{name} cannot be read: permission denied.")
            is_folder = file.is_dir()
            planned[name] = Planned(file, name, 0 if is_folder else file.stat().st_size, is_folder)
    return list(planned.values())


def _files(
    path: Path, on_left_out: Callable[[Path], None], above: frozenset[str] = frozenset()
) -> Iterator[Path]:
    """Yield the files of a folder, and the folders that are empty."""
    if path.is_file():
        yield path
        return
    real = os.path.realpath(path)
    if not path.is_dir() or real in above:
        on_left_out(path)
        return
    try:
        names = sorted(os.listdir(path))
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}.") from exc
    if not names and path.name:
        yield path
    for name in names:
        if name != "__pycache__" or not (path / name).is_dir():
            yield from _files(path / name, on_left_out, above | {real})


async def upload(
    session: ComputeSession,
    planned: Sequence[Planned],
    on_progress: Callable[[int, int], None] = lambda sent, total: None,
) -> None:
    """Send files into a session's work folder.

    A server takes files below 1 MiB, 20 at once; a larger one goes in pieces that the session's
    interpreter puts together, and so are empty folders made. Cancelling leaves the files that are
    whole, and no pieces.

    Args:
        on_progress: Told the bytes sent and the bytes in all.

    Raises:
        RunLost: The pieces of a large file could not be put together.
        ConfigError: A file has gone, or cannot be read any more.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    large = {file.name: f".upload-{secrets.token_hex(8)}" for file in planned if _is_large(file)}
    folders = {
        file.name if file.is_folder else file.name.rpartition("/")[0] for file in planned
    } | set(large.values())
    is_needed = bool(large) or any(file.is_folder for file in planned)
    on_progress(0, sum(file.size for file in planned))
    if folders := folders - {""}:
        await _run(session, _PREPARE.format(folders=sorted(folders)), is_needed=is_needed)
    try:
        counts = await _send(session, planned, large, on_progress)
        small = [file.name for file in planned if file.name not in large and not file.is_folder]
        whole = [(name, folder, counts[name]) for name, folder in large.items()]
        await _run(session, _FINISH.format(small=small, large=whole), is_needed=bool(large))
    except BaseException:
        if large:
            with contextlib.suppress(BackendError, TimeoutError):
                async with asyncio.timeout(_TIDY):
                    code = _REMOVE.format(folders=list(large.values()), names=list(large))
                    await _run(session, code, is_needed=False)
        raise


async def _send(
    session: ComputeSession,
    planned: Sequence[Planned],
    large: Mapping[str, str],
    on_progress: Callable[[int, int], None],
) -> dict[str, int]:
    """Send files and pieces; return the number of pieces of each file."""
    total, sent = sum(file.size for file in planned), 0
    parts: list[Part] = []
    counts: dict[str, int] = {}

    async def flush() -> None:
        nonlocal sent
        if parts:
            await session.client.send(calls.upload_files(session.id, parts))
            sent += sum(len(part.data) for part in parts)
            on_progress(sent, total)
            parts.clear()

    for file in planned:
        for number, data in enumerate(() if file.is_folder else _pieces(file)):
            weight = sum(len(part.data) for part in parts) + len(data)
            if len(parts) == calls.MOST_PARTS or weight > _AT_ONCE:
                await flush()
            name = f"{large[file.name]}/{number}" if file.name in large else file.name
            parts.append(Part(name, data))
            counts[file.name] = number + 1
    await flush()
    return counts


def _is_large(file: Planned) -> bool:
    return file.size > _PIECE


def _pieces(file: Planned) -> Iterator[bytes]:
    try:
        with file.path.open("rb") as opened:
            yield opened.read(_PIECE)
            while data := opened.read(_PIECE):
                yield data
    except OSError as exc:
        raise ConfigError(f"{file.name} cannot be read: {exc.strerror}.") from exc


async def _run(session: ComputeSession, source: str, *, is_needed: bool) -> None:
    """Run code of ours in the session, out of the user's sight.

    Raises:
        RunLost: It failed, and the files are not whole without it.
    """
    mark = secrets.token_hex(8)  # tells that it came to its end
    code = f"exec({source!r}, {{}}); print({mark!r})"
    said = ""
    async with session.cell(code, {"options": {"silent": False, "store_history": False}}) as run:
        async for event in run:
            said += event.text if isinstance(event, Text) else ""
            if isinstance(event, Message) and event.kind == "error":
                said += str(event.content.get("evalue", ""))
    if mark not in said and is_needed:
        raise RunLost(
            "Files of 1 MiB and more, or empty folders, could not be made in the session: "
            f"{said.strip()[-200:]}",
            hint="They need a Python interpreter in the session, and room there.",
        )
