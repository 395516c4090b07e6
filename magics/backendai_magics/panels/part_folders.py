"""Virtual folders and the files of running sessions: looked through, filled, taken from.

Files cross over in pieces, as buffers of messages, and lie on this computer's disk meanwhile, in a
folder that is removed as soon as they have arrived.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from backendai_kernel import places, storage, vfolders
from backendai_kernel.download import read_file
from backendai_kernel.errors import APIError, ConfigError, NotFound, ProtocolError
from backendai_kernel.perform import open_session
from backendai_kernel.protocol import calls
from backendai_kernel.upload import Planned
from backendai_kernel.upload import upload as upload_to_session

from .choosing import Choosing
from .desk import Attached, Desk, Message, Verb

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.protocol.calls import Folder

    from .form_folders import FoldersForm

MOST = 200 * 2**20  # bytes of a file that a page takes; the browser holds it in its memory
_PIECE = 2**22  # bytes of one buffer
_MOST_ENTRIES = 5000


@dataclass
class _Coming:
    """A file that comes from the page."""

    folder: tempfile.TemporaryDirectory[str]
    name: str
    size: int
    got: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def path(self) -> Path:
        return Path(self.folder.name, "file")


class Folders(Choosing):
    """Shows one folder at a time; which one, the page says."""

    name = "folders"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._folders: dict[str, Folder] = {}
        self._told: list[Message] | None = None
        self._coming: dict[str, _Coming] = {}

    @property
    def verbs(self) -> dict[str, Verb]:
        return {
            "list": self._list,
            "download": self._download,
            "begin": self._begin,
            "piece": self._piece,
            "finish": self._finish,
            "abandon": self._abandon,
            "form": self.open_form,
            "at": self._at,
            "make": self._make,
            "inside": self._inside,
        }

    def make_form(self) -> FoldersForm:
        from .form_folders import FoldersForm

        return FoldersForm(self)

    def greet(self) -> None:
        if self._told is not None:
            self.tell(folders=self._told)
        super().greet()

    async def wake(self) -> None:
        try:
            await super().wake()
        finally:
            for token in list(self._coming):
                self._forget(token)

    async def read_sessions(self, client: Client) -> None:
        try:
            there = await vfolders.list_folders(client)
        except APIError:
            there = []  # a server without storage
        self._folders = {each.id: each for each in there}
        now = [{"id": each.id, "name": each.name, "may": each.permission or ""} for each in there]
        if now != self._told:
            self._told = now
            self.tell(folders=now)
        await super().read_sessions(client)  # what a page hears of first, it shows first

    async def _folder(self, client: Client, intent: Message) -> Folder:
        folder_id = str(intent["place"])
        if folder_id not in self._folders:
            await self.read_sessions(client)
        if folder_id not in self._folders:
            raise NotFound("That folder is not there any more.", status=404)
        return self._folders[folder_id]

    # -- looking ------------------------------------------------------------------------------

    async def _list(self, intent: Message) -> Message:
        """Return what is in a folder: rows of name, whether it is a folder, bytes, time."""
        path = str(intent.get("path") or ".")

        async def work(client: Client) -> list[list[Any]]:
            if intent["kind"] == "folder":
                folder = await self._folder(client, intent)
                return [
                    [each.name, each.is_folder, max(0, each.size), each.modified]
                    for each in await vfolders.list_entries(client, folder, path)
                ]
            session = await self.chosen(client, {"session": intent["place"]})
            answer = await client.send(calls.list_files(session.id, path))
            if answer.errors.strip() and not answer.files.strip():
                raise NotFound(
                    f"The folder {path} of the session {session.name} cannot be listed: "
                    f"{answer.errors.strip()[-200:]}",
                    status=404,
                )
            return _session_rows(answer.files)

        rows = await self.use(work)
        return {"rows": rows[:_MOST_ENTRIES], "more": max(0, len(rows) - _MOST_ENTRIES)}

    async def _download(self, intent: Message) -> Attached:
        """Return a file's bytes, in pieces."""
        path = str(intent["path"])
        name = path.rpartition("/")[2]

        async def work(client: Client) -> bytes:
            if intent["kind"] == "session":
                session = await self.chosen(client, {"session": intent["place"]})
                return await read_file(client, session.id, path)
            folder = await self._folder(client, intent)
            with tempfile.TemporaryDirectory(prefix="bai-") as place:
                wanted, _ = await storage.plan_download(
                    client, folder, [path], Path(place), limit=MOST
                )
                if len(wanted) != 1:
                    raise ConfigError(
                        f"{name} is not one file.", hint="`%bai vfolder download` takes folders."
                    )
                await storage.download_files(client, folder, wanted)
                return await asyncio.to_thread(wanted[0].place.read_bytes)

        data = await self.use(work)
        pieces = tuple(data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
        return Attached({"name": name, "size": len(data)}, pieces or (b"",))

    # -- new ones -----------------------------------------------------------------------------

    async def _at(self, intent: Message) -> None:
        """Take what the page looks at, for a new folder to be made there."""
        await self.open_form(intent)
        names = ("kind", "place", "path", "label")
        cast("FoldersForm", self.form).at({name: str(intent[name]) for name in names})

    async def _make(self, intent: Message) -> None:
        """Make a virtual folder, and have the page show it."""

        async def work(client: Client) -> str:
            made = await vfolders.create_folder(
                client, str(intent["name"]), usage_mode=str(intent["use"])
            )
            await self.read_sessions(client)
            return made.id

        self.tell(made=await self.use(work))

    async def _inside(self, intent: Message) -> None:
        """Make a folder where the page looks."""

        async def work(client: Client) -> None:
            name = str(intent["name"])
            vfolders.check_name(name)
            folder = await self._folder(client, intent)
            parts = [part for part in (str(intent["path"]), name) if part != "."]
            await vfolders.make_folders(client, folder, "/".join(parts))

        await self.use(work)
        self.tell(changed=str(intent["place"]))

    # -- filling ------------------------------------------------------------------------------

    async def _begin(self, intent: Message) -> str:
        """Take note of a file that will come; return the word by which its pieces are known."""
        name, size = str(intent["name"]), int(intent["size"])
        if size > MOST:
            raise ConfigError(
                f"{name} is larger than what a page can send ({MOST // 2**20} MiB).",
                hint="`%bai vfolder upload` and `%bai upload` send files of any size.",
            )
        places.safe_name(name)
        token = secrets.token_hex(8)
        self._coming[token] = _Coming(tempfile.TemporaryDirectory(prefix="bai-"), name, size)
        return token

    async def _piece(self, intent: Message) -> int:
        coming = self._expected(intent)
        data = b"".join(bytes(each) for each in intent["buffers"])
        if int(intent["offset"]) != coming.got or coming.got + len(data) > coming.size:
            raise ConfigError(f"{coming.name} did not arrive in order.", hint="Choose it again.")

        def write() -> None:
            with coming.path.open("ab") as opened:
                opened.write(data)
            coming.digest.update(data)

        await asyncio.to_thread(write)
        coming.got += len(data)
        return coming.got

    def _expected(self, intent: Message) -> _Coming:
        coming = self._coming.get(str(intent["token"]))
        if coming is None:
            raise ConfigError("Nobody waits for this file any more.", hint="Choose it again.")
        return coming

    async def _finish(self, intent: Message) -> Message:
        """Send a file that has come on to where it belongs; return its name and checksum."""
        coming = self._expected(intent)
        path = str(intent.get("path") or ".")
        try:
            if coming.got != coming.size:
                raise ConfigError(f"{coming.name} did not arrive whole.", hint="Choose it again.")
            coming.path.touch()  # of an empty file no piece has come

            async def work(client: Client) -> None:
                if intent["kind"] == "folder":
                    folder = await self._folder(client, intent)
                    planned = Planned(coming.path, coming.name, coming.size)
                    await storage.upload_files(client, folder, [planned], path)
                    return
                session = await self.chosen(client, {"session": intent["place"]})
                name = coming.name if path == "." else f"{path}/{coming.name}"
                there = await open_session(client, session)
                await upload_to_session(there, [Planned(coming.path, name, coming.size)])

            await self.use(work)
        finally:
            self._forget(str(intent["token"]))
        return {"name": coming.name, "size": coming.size, "sha256": coming.digest.hexdigest()}

    async def _abandon(self, intent: Message) -> None:
        self._forget(str(intent["token"]))

    def _forget(self, token: str) -> None:
        coming = self._coming.pop(token, None)
        if coming is not None:
            coming.folder.cleanup()


def _session_rows(text: str) -> list[list[Any]]:
    """Return what a session's folder holds, folders first."""
    try:
        found = json.loads(text or "[]")
        rows = [
            [
                str(each.get("filename") or each.get("name") or ""),
                str(each.get("mode", "")).startswith("d"),
                int(each.get("size") or 0),
                float(each.get("mtime") or 0),
            ]
            for each in found
        ]
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError) as exc:
        raise ProtocolError(f"The server lists files in a form we cannot read: {exc}.") from exc
    return sorted(rows, key=lambda row: (not row[1], row[0]))
