"""Files into and out of virtual folders, in flat memory whatever their size.

A file goes up in pieces; the storage proxy keeps what has come. When the connection breaks, or this
program does, the upload goes on where it was (TUS, API reference 7.3). A file comes down beside
its place and is moved there when it is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .client import Client
from .config import write_private
from .errors import APIError, BackendError, ConfigError, ConnectError, ProtocolError, ServerError
from .places import LIMIT, check_room, make_folder, safe_name, whole_or_none
from .protocol import calls
from .protocol.calls import Folder, Ticket
from .upload import Planned
from .vfolders import check_path, list_entries, make_folders

PIECE = 32 * 2**20  # bytes of a file in one request
_BLOCK = 2**20  # bytes that are read and written at once
_ATTEMPTS = 6
_FIRST_PAUSE = 0.3  # seconds; doubled each time, with jitter

Tell = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Tell nobody."""


# -- up ---------------------------------------------------------------------------------------


async def upload_files(
    client: Client,
    folder: Folder,
    planned: Sequence[Planned],
    to: str = ".",
    *,
    state: Path | None = None,
    on_progress: Tell = silent,
) -> None:
    """Send files and empty folders into a virtual folder.

    Those of the same name are replaced when the new ones are whole.

    Cancelling leaves the files that are whole, and of the one under way nothing that can be seen.

    Args:
        to: Folder in the virtual folder; made when it is missing.
        state: Where unfinished uploads are remembered, so that another process can go on with
            them; ``None``: nowhere.
        on_progress: Told the bytes that are there and the bytes in all.

    Raises:
        ConfigError: A file cannot be read, has changed on its way, or *to* leads out of the folder.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    to = check_path(to)
    total, before = sum(file.size for file in planned), 0
    on_progress(0, total)
    for file in planned:
        path = check_path(file.name if to == "." else f"{to}/{file.name}")
        done = before

        def tell(sent: int, done: int = done) -> None:
            on_progress(done + sent, total)

        if file.is_folder:
            await make_folders(client, folder, path)
            continue
        await _Upload(client, folder, file, path, state, tell).run()
        before += file.size
        on_progress(before, total)


@dataclass
class _Upload:
    client: Client
    folder: Folder
    file: Planned
    path: str
    state: Path | None
    tell: Callable[[int], None]
    _has_changed: bool = False

    @property
    def _what(self) -> str:
        return f"Uploading {self.file.name!r}"

    async def run(self) -> None:
        try:
            opened = self.file.path.open("rb")
        except OSError as exc:
            raise ConfigError(f"{self.file.name} cannot be read: {exc.strerror}.") from exc
        with opened:
            self._mark = os.fstat(opened.fileno()).st_mtime_ns
            ticket, offset = await self._begin()
            failures, is_done = 0, False
            while not is_done:
                try:
                    offset = await self._send(ticket, opened, offset)
                    failures, is_done = 0, offset >= self.file.size
                    self.tell(offset)
                except (ConnectError, ServerError, _Moved) as exc:
                    if self._has_changed:
                        raise ConfigError(
                            f"{self.file.name} has changed while it was sent.",
                            hint="Send it again when nothing writes to it.",
                        ) from exc
                    failures += 1
                    if failures >= _ATTEMPTS:
                        raise self._given_up(exc) from exc
                    pause = _FIRST_PAUSE * 2 ** (failures - 1)
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                    with contextlib.suppress(ConnectError, ServerError):  # the next try tells
                        there = await self._reached(ticket)
                        if there is None:
                            if await self._is_there():
                                break
                            ticket, there = await self._ask(), 0
                        offset = there
                        self.tell(offset)
        self._forget()

    def _given_up(self, exc: BackendError) -> BackendError:
        again = " Do it again: what has come is kept, and it goes on from there."
        exc.hint += again if self.state is not None else ""
        return exc

    async def _begin(self) -> tuple[Ticket, int]:
        if (kept := self._kept()) is not None:
            with contextlib.suppress(APIError):
                if (offset := await self._reached(kept)) is not None:
                    self.tell(offset)
                    return kept, offset
        return await self._ask(), 0

    async def _ask(self) -> Ticket:
        ticket = await self.client.send(
            calls.request_upload(self.folder.id, self.path, self.file.size)
        )
        self._keep(ticket)
        return ticket

    async def _send(self, ticket: Ticket, opened: IO[bytes], offset: int) -> int:
        """Send the next piece; return how far the server is."""
        size = min(PIECE, self.file.size - offset)
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(size),
        }
        data = self._blocks(opened, offset, size) if size else b""
        try:
            async with self.client.at("PATCH", ticket, headers, data, self._what) as answer:
                there = answer.headers.get("Upload-Offset", "")
        except APIError as exc:
            if exc.status in (404, 409):  # it has more than we know of, or all
                raise _Moved(str(exc)) from exc
            raise
        if not there.isdigit():
            raise ProtocolError(f"{self._what}: the storage does not tell how much has come.")
        return int(there)

    async def _blocks(self, opened: IO[bytes], offset: int, size: int) -> AsyncIterator[bytes]:
        opened.seek(offset)
        while size:
            block = await asyncio.to_thread(opened.read, min(_BLOCK, size))
            if not block or os.fstat(opened.fileno()).st_mtime_ns != self._mark:
                # The HTTP client makes a lost connection of what is raised in here.
                self._has_changed = True
                raise ConfigError(f"{self.file.name} has changed while it was sent.")
            yield block
            size -= len(block)
            offset += len(block)
            self.tell(offset)

    async def _reached(self, ticket: Ticket) -> int | None:
        """Return how much has come; ``None``: the storage knows of no such upload any more."""
        try:
            async with self.client.at(
                "HEAD", ticket, {"Tus-Resumable": "1.0.0"}, None, self._what
            ) as answer:
                there = answer.headers.get("Upload-Offset", "")
        except APIError as exc:
            if exc.status in (400, 403, 404, 410):
                return None
            raise
        return min(int(there), self.file.size) if there.isdigit() else None

    async def _is_there(self) -> bool:
        """Tell whether the file has come whole, where only the last answer was lost."""
        above, _, name = self.path.rpartition("/")
        try:
            beside = await list_entries(self.client, self.folder, above or ".")
        except APIError:
            return False
        return any(each.name == name and each.size == self.file.size for each in beside)

    # What is kept is as good as a key for this one file, so nobody else may read it.

    @property
    def _note(self) -> Path | None:
        if self.state is None or self.file.size <= PIECE:
            return None
        words = (
            self.client.config.identity,
            self.folder.id,
            self.path,
            str(self.file.path.resolve()),
            str(self.file.size),
            str(self._mark),
        )
        name = hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]
        return self.state / "uploads" / f"{name}.json"

    def _kept(self) -> Ticket | None:
        if self._note is None:
            return None
        try:
            kept = json.loads(self._note.read_text())
            return Ticket(str(kept["token"]), str(kept["url"]))
        except (FileNotFoundError, ValueError, KeyError):
            return None  # nothing was left unfinished

    def _keep(self, ticket: Ticket) -> None:
        if self._note is not None:
            kept = json.dumps({"token": ticket.token, "url": ticket.url})
            write_private(self._note, kept.encode())

    def _forget(self) -> None:
        if self._note is not None:
            self._note.unlink(missing_ok=True)


class _Moved(BackendError):
    """The storage has another part of the file than we thought."""


# -- down -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to come down: its path in the virtual folder, its place here, its bytes.

    Attributes:
        is_folder: It is a folder with nothing in it; others come with their files.
    """

    path: str
    place: Path
    size: int
    is_folder: bool = False


async def plan_download(
    client: Client, folder: Folder, paths: Sequence[str], to: Path, *, limit: int = LIMIT
) -> tuple[list[Wanted], list[str]]:
    """Return the files that paths mean, folders with all in them, and the links, left out.

    Nothing that a server calls its files leads out of *to*.

    Raises:
        ConfigError: They take more than *limit* bytes, or more than there is room for.
        NotFound: There is no such path.
        ProtocolError: The server has a name for a file that is none.
    """
    wanted: list[Wanted] = []
    skipped: list[str] = []

    async def add(path: str, place: Path, found: Sequence[Any]) -> None:
        if not found:
            wanted.append(Wanted(path, place, 0, is_folder=True))
        for entry in found:
            name = safe_name(entry.name)
            inner = name if path == "." else f"{path}/{name}"
            if entry.is_folder:
                await add(inner, place / name, await list_entries(client, folder, inner))
            elif entry.type == "FILE":
                wanted.append(Wanted(inner, place / name, max(0, entry.size)))
            else:
                skipped.append(inner)

    for path in map(check_path, paths):
        found = await list_entries(client, folder, path)
        above, _, name = path.rpartition("/")
        if len(found) == 1 and found[0].name == name and not found[0].is_folder:
            beside = await list_entries(client, folder, above or ".")
            if not any(each.name == name and each.is_folder for each in beside):
                await add(above or ".", to, found)  # the path is that file
                continue
        await add(path, to if path == "." else to / safe_name(name), found)
    check_room(sum(each.size for each in wanted), to, limit)
    return wanted, skipped


async def download_files(
    client: Client, folder: Folder, wanted: Sequence[Wanted], *, on_progress: Tell = silent
) -> None:
    """Bring files of a virtual folder here; those of the same name are replaced.

    Cancelling leaves the files that are whole, and nothing of the others.

    Raises:
        ConfigError: A file cannot be written.
        NotFound: A file has gone.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    total, before = sum(each.size for each in wanted), 0
    on_progress(0, total)
    for each in wanted:
        done = before
        if each.is_folder:
            make_folder(each.place)
            continue

        def tell(come: int, done: int = done) -> None:
            on_progress(min(done + come, total), total)

        before += await _download(client, folder, each, tell)
        on_progress(min(before, total), total)


async def _download(
    client: Client, folder: Folder, wanted: Wanted, tell: Callable[[int], None]
) -> int:
    what = f"Downloading {wanted.path!r}"
    ticket = await client.send(calls.request_download(folder.id, wanted.path))
    with whole_or_none(wanted.place) as file:
        mark, failures = "", 0
        total: int | None = None
        while total is None or file.tell() < total:
            headers = {"Accept-Encoding": "identity"}
            if offset := file.tell():
                headers |= {"Range": f"bytes={offset}-", "If-Range": mark}
            try:
                async with client.at("GET", ticket, headers, None, what) as answer:
                    told = answer.headers
                    mark = told.get("ETag") or told.get("Last-Modified") or ""
                    if answer.status != 206 and offset:  # it has changed, or cannot be had in part
                        file.seek(0)
                        file.truncate()
                    total = file.tell() + (answer.content_length or 0)
                    async for block in answer.content.iter_chunked(_BLOCK):
                        await asyncio.to_thread(file.write, block)
                        tell(file.tell())
                    if answer.content_length is None:
                        total = file.tell()
            except (ConnectError, ServerError):
                failures += 1
                if failures >= _ATTEMPTS:
                    raise
                if not mark:
                    file.seek(0)
                    file.truncate()
                pause = _FIRST_PAUSE * 2 ** (failures - 1)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        return file.tell()
