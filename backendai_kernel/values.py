"""Variables carried between this computer and a session, as plain data.

They are packed into one file without a name, here and there, and go in parts: of any size, in
little memory, checked as a whole on arrival. Nothing from a session is unpickled unless asked for.
The parts go as uploads on the way there, and as messages of an interpreter on the way back.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import importlib.util
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import IO, Any

from .errors import BackendError, ConfigError, NotFound, ProtocolError, RunFailed
from .places import check_room
from .protocol import calls, remote_restore, remote_values
from .protocol.calls import Part
from .protocol.envelope import Message
from .run import collect
from .session import ComputeSession

MIME = "application/vnd.backendai.value+json"

_INLINE = 300_000  # bytes that go with the code that takes them
_PIECE = calls.PART_LIMIT - 1
_AT_ONCE = 4  # pieces in one request, so that progress is told
_TIDY = 10.0  # seconds for what is called off to be removed

_WHAT_COMES = (
    "Numbers, text, bytes, dates, lists, dictionaries, NumPy arrays and tables of pandas, polars "
    "and pyarrow can be brought back; write others to a file."
)

Tell = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Tell nobody."""


async def pull(
    session: ComputeSession,
    names: Sequence[str],
    *,
    pickled: bool = False,
    on_progress: Tell = _silent,
) -> dict[str, Any]:
    """Return the values that variables of the session's interpreter have: all, or none.

    Cancelling leaves nothing, here or there.

    Args:
        pickled: Take any value that can be pickled. Whoever controls the session can then run code
            here, so it must be wanted.
        on_progress: Told the bytes that have come and the bytes in all.

    Raises:
        NotFound: There is no such variable.
        ConfigError: A value is no plain data, the library that it needs is missing here, or there
            is no room for it.
        ProtocolError: The session's interpreter sends no envelopes, or something unreadable.
        RunLost, ConnectError, APIError: As `Run`.
    """
    if not session.hello:
        raise ProtocolError(
            "Variables cannot be brought back from this session: it has no IPython.",
            hint="Print the value, or write it to a file.",
        )
    key = f"_backendai_{secrets.token_hex(8)}"  # a module, so that the user's names are left alone
    with tempfile.TemporaryFile() as file:
        has_arrow = importlib.util.find_spec("pyarrow") is not None
        call = f"gather(get_ipython(), {key!r}, {list(names)!r}, {has_arrow}, {pickled})"
        is_kept = True  # there, until all has come; what is small comes at once
        try:
            told = await _told(session, _code("remote_values", call))
            size, digest = _size_of(names, told)
            is_kept = len(told) == 1
            check_room(size, Path(tempfile.gettempdir()), size)
            on_progress(0, size)
            come, parts = 0, told[1:]
            while True:
                for each in parts:
                    come += await asyncio.to_thread(_write, file, each, come)
                    on_progress(min(come, size), size)
                if come >= size:
                    break
                parts = await _told(session, f"__import__('sys').modules[{key!r}].part({come})")
                if not parts:
                    raise ProtocolError("The session did not send all of a value.")
        finally:
            if is_kept:
                await _tidy(session, f"__import__('sys').modules.pop({key!r}, None) and None")
        if await asyncio.to_thread(_digest, file) != (size, digest):
            raise ProtocolError("The values did not arrive as they were sent.")
        return await asyncio.to_thread(restore, file, size, pickled=pickled)


async def push(
    session: ComputeSession,
    values: Mapping[str, Any],
    *,
    pickled: bool = False,
    on_progress: Tell = _silent,
) -> int:
    """Set variables of the session's interpreter: all, or none; return the bytes that were sent.

    They are set when all has arrived as it was sent. Cancelling sets nothing, and removes what has
    come; a value must not change meanwhile.

    Args:
        pickled: Also what is no plain data, such as objects of classes that the session knows.
        on_progress: Told the bytes that are there and the bytes in all.

    Raises:
        ConfigError: A value is no plain data or cannot be pickled, or there is no room for it.
        ProtocolError: The session's interpreter sends no envelopes.
        RunFailed: It cannot restore a value; it says why.
        RunLost, ConnectError, APIError: As `Run`.
    """
    if not session.hello:
        raise ProtocolError("Variables cannot be set in this session: it has no IPython.")
    folder = f".upload-{secrets.token_hex(8)}"
    names = ", ".join(values)
    [about] = await _told(session, _code("remote_restore", "begin('')")) or [{}]
    with tempfile.TemporaryFile() as file:
        await asyncio.to_thread(pack, file, values, bool(about.get("arrow")), pickled=pickled)
        size, digest = await asyncio.to_thread(_digest, file)
        on_progress(0, size)
        if size <= _INLINE:
            file.seek(0)
            await _put(session, names, repr(file.read()), size, digest, pickled)
            on_progress(size, size)
            return size
        if (free := about.get("free")) is not None and int(free) < size:
            raise ConfigError(
                f"{names}: that is {size} bytes, and the session has room for {free}."
            )
        try:
            await _told(session, _code("remote_restore", f"begin({folder!r})"))
            count = await _send_pieces(session, file, folder, size, on_progress)
            source = repr((folder, count))
            await _put(session, names, source, size, digest, pickled)
        finally:
            await _tidy(
                session,
                "__import__('shutil').rmtree(__import__('os').path.join(__import__('os').path"
                f".expanduser('~'), {folder!r}), ignore_errors=True)",
            )
    return size


async def _send_pieces(
    session: ComputeSession, file: IO[bytes], folder: str, size: int, on_progress: Tell
) -> int:
    file.seek(0)
    count = sent = 0
    while sent < size:
        data = await asyncio.to_thread(file.read, _PIECE * _AT_ONCE)
        pieces = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
        parts = [Part(f"{folder}/{count + i}", piece) for i, piece in enumerate(pieces)]
        await session.client.send(calls.upload_files(session.id, parts))
        count, sent = count + len(parts), sent + len(data)
        on_progress(sent, size)
    return count


async def _put(
    session: ComputeSession, names: str, source: str, size: int, digest: str, pickled: bool
) -> None:
    call = f"put(get_ipython(), {source}, {size}, {digest!r}, {pickled})"
    try:
        await _told(session, _code("remote_restore", call))
    except RunFailed as exc:
        raise RunFailed(f"{names} could not be set in the session: {exc.message}.") from exc


def _code(module: str, call: str) -> str:
    """Return code that calls a function of a module that the session does not have."""
    source = (
        resources.files("backendai_kernel.protocol")
        .joinpath(f"{module}.py")
        .read_text(encoding="utf-8")
    )
    return (
        f"(lambda space: (exec(compile({source!r}, '<backend.ai>', 'exec'), space), "
        f"eval({call!r}, {{**space, 'get_ipython': get_ipython}}))[1])({{'__name__': '_backendai'}})"
    )


async def _told(session: ComputeSession, code: str) -> list[dict[str, Any]]:
    """Run code of ours out of the user's sight, and return what it tells.

    Raises:
        RunFailed: It failed.
    """
    told = []
    options = {"silent": False, "store_history": False}
    for event in await collect(session.cell(f"{code};", {"options": options})):
        if not isinstance(event, Message):
            continue
        if event.kind == "error":
            raise RunFailed(f"{event.content.get('ename')}: {event.content.get('evalue')}")
        if event.kind == "display_data":
            answer = event.content.get("data", {}).get(MIME)
            if isinstance(answer, dict):
                told.append(answer)
    return told


async def _tidy(session: ComputeSession, code: str) -> None:
    with contextlib.suppress(BackendError, TimeoutError):  # a session that has gone has no rest
        async with asyncio.timeout(_TIDY):
            await _told(session, code)


# -- this side --------------------------------------------------------------------------------


def pack(
    file: IO[bytes], values: Mapping[str, Any], has_arrow: bool, *, pickled: bool = False
) -> None:
    """Write values into a file as ``protocol/remote_values.py`` has them.

    Args:
        has_arrow: The other side has pyarrow.

    Raises:
        ConfigError: A value is no plain data or cannot be pickled, or there is no room.
    """
    use_arrow = has_arrow and importlib.util.find_spec("pyarrow") is not None
    try:
        remote_values.pack(file, values, use_arrow, pickled)  # type: ignore[no-untyped-call]  # see pyproject
    except remote_values.NotPlain as exc:
        name, why = exc.args
        hint = f"{_WHAT_COMES.replace('brought back', 'sent')} --pickle sends more."
        raise ConfigError(f"{name!r} cannot be sent: {why}.", hint="" if pickled else hint) from exc
    except OSError as exc:
        raise ConfigError(
            f"{tempfile.gettempdir()} has no room for what is to be sent: {exc.strerror}.",
            hint="TMPDIR names another folder.",
        ) from exc
    file.flush()


def restore(file: IO[bytes], size: int, *, pickled: bool = False) -> dict[str, Any]:
    """Return the values that a file has; see `pack`.

    Raises:
        ProtocolError: It is no such file, or has a pickle and none was asked for.
        ConfigError: A library is missing here that they need.
    """
    try:
        values: dict[str, Any] = remote_restore.unpack(file, size, pickled)  # type: ignore[no-untyped-call]  # see pyproject
        return values
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"The values cannot be brought back without {exc.name}, which is not installed here.",
            hint=f"Run: %pip install {exc.name}",
        ) from exc
    except Exception as exc:
        # What a hostile file may have numpy, pandas or Arrow raise is not to be told beforehand.
        if pickled:
            raise ConfigError(f"The values cannot be unpickled here: {exc!r}.") from exc
        raise ProtocolError("The values came in a form that cannot be read.") from exc


def _size_of(names: Sequence[str], told: list[dict[str, Any]]) -> tuple[int, str]:
    answer = told[0] if told else {}
    if "missing" in answer:
        raise NotFound(
            f"There is no variable {answer['missing']!r} in the session.",
            status=404,
            hint="`-o` takes the name of a variable that the code sets.",
        )
    if "refused" in answer:
        name, why = answer["refused"]
        raise ConfigError(f"{name!r} cannot be brought back: {why}.", hint=_WHAT_COMES)
    if not isinstance(answer.get("size"), int) or not isinstance(answer.get("sha256"), str):
        raise ProtocolError(
            f"The session did not tell what {', '.join(names)} is.", hint="Print it to look."
        )
    return answer["size"], answer["sha256"]


def _write(file: IO[bytes], part: Mapping[str, Any], at: int) -> int:
    try:
        data = base64.b64decode(part["part"], validate=True)
    except (KeyError, TypeError, binascii.Error) as exc:
        raise ProtocolError("The session sent a part of a value that cannot be read.") from exc
    if part.get("at") != at or not data:
        raise ProtocolError("The session sent another part of a value than was asked for.")
    try:
        return file.write(data)
    except OSError as exc:
        raise ConfigError(
            f"{tempfile.gettempdir()} has no room for what comes: {exc.strerror}.",
            hint="TMPDIR names another folder.",
        ) from exc


def _digest(file: IO[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    file.seek(0)
    while data := file.read(2**20):
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()
