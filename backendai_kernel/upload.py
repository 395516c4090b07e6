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
from .protocol.envelope import Message
from .protocol.run import Text
from .session import ComputeSession

_AT_ONCE = 4 * 2**20  # bytes in one request, so that progress is told while a large file goes up
_PIECE = calls.PART_LIMIT - 1

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
    large = {file.name: f".upload-{secrets.token_hex(8)}" for file in planned if _is_large(file)}
    on_progress(0, total)
    folders = {file.name.rpartition("/")[0] for file in planned} | set(large.values())
    if folders := folders - {""}:
        await _run(session, _PREPARE.format(folders=sorted(folders)), is_needed=bool(large))
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
        for number, data in enumerate(_pieces(file)):
            weight = sum(len(part.data) for part in parts) + len(data)
            if len(parts) == calls.MOST_PARTS or weight > _AT_ONCE:
                await flush()
            name = f"{large[file.name]}/{number}" if file.name in large else file.name
            parts.append(Part(name, data))
            counts[file.name] = number + 1
    await flush()
    small = [file.name for file in planned if file.name not in large]
    whole = [(name, folder, counts[name]) for name, folder in large.items()]
    await _run(session, _FINISH.format(small=small, large=whole), is_needed=bool(large))


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
            f"Files of 1 MiB and more could not be put together in the session: {said.strip()[-200:]}",
            hint="They need a Python interpreter in the session, and room there.",
        )
