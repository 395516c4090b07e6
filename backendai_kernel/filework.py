"""What the verbs about files do and return, the same for notebooks and for the command line.

Progress and notes go to a `Show`; the values are tables and facts.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import sessionfiles, storage, vfolders
from .client import Client
from .config import state_dir
from .errors import ConfigError
from .filewords import ACTIONS
from .listing import find_session
from .protocol.calls import Folder, FolderEntry, Invitation
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
    planned = _planned(options.files, show.cwd, left_out.append)
    session = await find_session(client, options.session)
    what = _count(planned)
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
    return _sent(planned, f"the session {session.name}", options.to or "", size, left_out)


async def download(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    """Bring files of a session here."""
    session = await find_session(client, options.session)
    to = _here(options.to, show.cwd)
    left_out: list[str] = []
    made = await sessionfiles.download(
        client,
        session,
        options.paths,
        to,
        environ=show.environ,
        limit=_limit(options.limit),
        on_progress=show.going(f"Downloading from {session.name}"),
        on_note=show.note,
        on_left_out=left_out.append,
    )
    files = [file for top in made for file in ([top] if top.is_file() else top.rglob("*"))]
    where = f"the session {session.name}"
    return _come([file for file in files if file.is_file()], to, where, left_out)


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
            Column("name", "Name", lambda f: f.name, words=_name_of),
            Column("size", "Size", lambda f: f.size, bytes_text, is_amount=True),
            Column("modified", "Modified", lambda f: f.modified, _seconds_ago),
            Column("mode", "Mode", lambda f: f.mode),
        ),
        empty="Nothing is there.",
    )


def _name_of(file: RemoteFile | FolderEntry) -> str:
    return f"{file.name}/" if file.is_folder else file.name


def _seconds_ago(seconds: float) -> str:
    return ago(datetime.fromtimestamp(seconds, UTC))


def _planned(words: Sequence[str], cwd: Path, on_left_out: Callable[[str], None]) -> list[Planned]:
    """Return the files that words name; each keeps its path from the last part of its word on."""
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


def _count(planned: Sequence[Any]) -> str:
    files = sum(not getattr(each, "is_folder", False) for each in planned)
    folders = len(planned) - files
    told = f"{files} file{'s' if files != 1 else ''}"
    return f"{told} and {folders} empty folder{'s' if folders != 1 else ''}" if folders else told


_LEFT_OUT = "Links to nowhere or round in circles, pipes, sockets and devices are not sent."


def _left_out(names: Sequence[str], what: str) -> str:
    shown = [*names[:_MOST_NAMED], *(["…"] if len(names) > _MOST_NAMED else [])]
    return f"{what} were left out: {', '.join(shown)}." if names else ""


def _here(word: str | None, cwd: Path) -> Path:
    to = cwd / Path(word or ".").expanduser()
    if to.exists() and not to.is_dir():
        raise ConfigError(f"{to} is no folder.", hint="--to names the folder that files come into.")
    return to


def _limit(word: str | None) -> int:
    return storage.LIMIT if word is None else int(parse_size(word))


def _sent(
    planned: Sequence[Planned], where: str, to: str, size: int, left_out: Sequence[str]
) -> Facts:
    return Facts(
        f"✓ Uploaded {_count(planned)} ({bytes_text(size)}) into {where}.",
        (("Folder", to or "its top"),),
        data={
            "files": [file.name for file in planned],
            "bytes": size,
            "to": to,
            "skipped": list(left_out),
        },
        note=_left_out(left_out, "Links to nowhere, pipes and devices"),
    )


def _come(files: Sequence[Path], to: Path, where: str, skipped: Sequence[str] = ()) -> Facts:
    size = sum(file.stat().st_size for file in files)
    return Facts(
        f"✓ Downloaded {_count(files)} ({bytes_text(size)}) from {where}.",
        (("Folder", str(to)),),
        data={"files": [str(file) for file in files], "bytes": size, "skipped": list(skipped)},
        note=_left_out(skipped, "Links, pipes and devices"),
    )


# -- virtual folders --------------------------------------------------------------------------


async def vfolder(client: Client, options: argparse.Namespace, show: Show) -> Any:
    """Do what is asked about virtual folders, and return what there is to say."""
    least, most, words = ACTIONS[options.action]
    if not least <= len(options.words) <= most:
        raise ConfigError(
            f"vfolder {options.action} takes {words or 'no more words'}.",
            hint="`%bai vfolder -h` tells its use.",
        )
    return await _ACTIONS[options.action](client, options, show)


async def _list(client: Client, options: argparse.Namespace, show: Show) -> Table[Folder]:
    return folder_table(await vfolders.list_folders(client, in_trash=options.trash))


def folder_table(folders: Sequence[Folder]) -> Table[Folder]:
    """Return virtual folders as a table."""
    return Table(
        "Virtual folders",
        tuple(folders),
        (
            Column("name", "Name", lambda f: f.name),
            Column("permission", "Permission", lambda f: f.permission),
            Column("usage_mode", "For", lambda f: f.usage_mode),
            Column("host", "Host", lambda f: f.host),
            Column("status", "Status", lambda f: f.status),
            Column("owner", "Owner", lambda f: f.creator or f.user_email, words=_owner),
            Column("created_at", "Created", lambda f: f.created_at[:16]),
        ),
        empty="There is no virtual folder. `%bai vfolder create NAME` makes one.",
        details=(Column("id", "Id", lambda f: f.id),),
    )


def _owner(folder: Folder) -> str:
    if folder.ownership_type == "group":
        return "the project"
    return "you" if folder.is_owner else folder.creator or "somebody"


async def _create(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    folder = await vfolders.create_folder(
        client,
        options.words[0],
        host=options.host,
        project=options.project,
        permission=options.permission or "rw",
        usage_mode=options.usage_mode,
    )
    return Facts(
        f"✓ Made the virtual folder {folder.name}.",
        (("Host", folder.host or ""), ("Use it", f"%bai start IMAGE -m {folder.name}")),
        data={"name": folder.name, "id": folder.id, "host": folder.host},
    )


async def _info(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    folder = await vfolders.find_folder(client, options.words[0])
    info = await vfolders.describe_folder(client, folder)
    rows = (
        ("Id", info.id),
        ("Host", info.host or ""),
        ("Status", info.status),
        ("Permission", info.permission or ""),
        ("For", info.usage_mode),
        ("Owner", _owner(folder)),
        ("Files", "" if info.num_files is None else str(info.num_files)),
        ("Size", "" if info.used_bytes is None else bytes_text(info.used_bytes)),
        ("Created", info.created_at),
    )
    data = {"name": info.name, "files": info.num_files, "bytes": info.used_bytes}
    told = {label.lower(): value for label, value in rows}
    return Facts(f"Virtual folder {info.name}", rows, data={**told, **data})


async def _delete(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    done = []
    for word in options.words:
        folder = await vfolders.find_folder(client, word, in_trash=options.trash)
        in_trash = await vfolders.delete_folder(client, folder, forever=options.forever)
        done.append((folder.name, "in the trash" if in_trash else "gone for good"))
    note = "`%bai vfolder restore NAME` takes it out of the trash." if not options.forever else ""
    return Facts("✓ Deleted.", tuple(done), data=dict(done), note=note)


async def _restore(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    folder = await vfolders.find_folder(client, options.words[0], in_trash=True)
    await vfolders.restore_folder(client, folder)
    return _done(f"The virtual folder {folder.name} is back.", name=folder.name)


async def _rename(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    folder = await vfolders.find_folder(client, options.words[0])
    await vfolders.rename_folder(client, folder, options.words[1])
    return _done(f"{folder.name} is {options.words[1]} now.", name=options.words[1])


def _done(sentence: str, **data: Any) -> Facts:
    return Facts(f"✓ {sentence}", (), data=data)


async def _ls(client: Client, options: argparse.Namespace, show: Show) -> Table[FolderEntry]:
    name, *path = options.words
    folder = await vfolders.find_folder(client, name)
    found = await vfolders.list_entries(client, folder, *path)
    return entry_table(found, "/".join([folder.name, *path]))


def entry_table(entries: Sequence[FolderEntry], title: str) -> Table[FolderEntry]:
    """Return what is in a virtual folder as a table."""
    return Table(
        title,
        tuple(entries),
        (
            Column("name", "Name", lambda e: e.name, words=_name_of),
            Column("size", "Size", lambda e: e.size, bytes_text, is_amount=True),
            Column("modified", "Modified", lambda e: e.modified[:19].replace("T", " ")),
            Column("mode", "Mode", lambda e: vfolders.mode_text(e.mode)),
        ),
        empty="Nothing is there.",
    )


async def _upload(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    name, *words = options.words
    left_out: list[str] = []
    planned = _planned(words, show.cwd, left_out.append)
    folder = await vfolders.find_folder(client, name)
    await storage.upload_files(
        client,
        folder,
        planned,
        options.to or ".",
        state=state_dir(show.environ),
        on_progress=show.going(f"Uploading {_count(planned)}"),
    )
    size = sum(file.size for file in planned)
    where = f"the virtual folder {folder.name}"
    return _sent(planned, where, options.to or "", size, left_out)


async def _download(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    name, *paths = options.words
    folder = await vfolders.find_folder(client, name)
    to = _here(options.to, show.cwd)
    wanted, skipped = await storage.plan_download(
        client, folder, paths or ["."], to, limit=_limit(options.limit)
    )
    await storage.download_files(
        client, folder, wanted, on_progress=show.going(f"Downloading {_count(wanted)}")
    )
    files = [each.place for each in wanted if not each.is_folder]
    return _come(files, to, f"the virtual folder {folder.name}", skipped)


async def _mkdir(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    name, *paths = options.words
    folder = await vfolders.find_folder(client, name)
    for path in paths:
        await vfolders.make_folders(client, folder, path)
    return _done(f"Made {', '.join(paths)} in {folder.name}.", paths=paths)


async def _rm(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    name, *paths = options.words
    folder = await vfolders.find_folder(client, name)
    await vfolders.remove_entries(client, folder, paths, recursive=options.recursive)
    return _done(f"Removed {', '.join(paths)} from {folder.name}.", paths=paths)


async def _mv(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    name, path, to = options.words
    folder = await vfolders.find_folder(client, name)
    await vfolders.move_entry(client, folder, path, to)
    return _done(f"{path} is {to} in {folder.name} now.", path=to)


async def _share(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    name, *emails = options.words
    folder = await vfolders.find_folder(client, name)
    permission = options.permission or "ro"
    at_once = await vfolders.share_folder(client, folder, emails, permission)
    what = "Shared" if at_once else "Offered"
    return Facts(
        f"✓ {what} {folder.name} ({permission}).",
        tuple((email, "has it" if at_once else "is asked") for email in emails),
        data={"emails": emails, "permission": permission, "is_shared": at_once},
    )


async def _unshare(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    name, *emails = options.words
    folder = await vfolders.find_folder(client, name)
    await vfolders.unshare_folder(client, folder, emails)
    return _done(f"{folder.name} is no longer shared with {', '.join(emails)}.", emails=emails)


async def _leave(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    folder = await vfolders.find_folder(client, options.words[0])
    await vfolders.leave_folder(client, folder)
    return _done(f"You have left {folder.name}.", name=folder.name)


async def _invitations(
    client: Client, options: argparse.Namespace, show: Show
) -> Table[Invitation]:
    return Table(
        "Virtual folders that are offered",
        tuple(await vfolders.list_invitations(client)),
        (
            Column("name", "Name", lambda i: i.vfolder_name),
            Column("inviter", "From", lambda i: i.inviter),
            Column("permission", "Permission", lambda i: i.perm),
            Column("id", "Id", lambda i: i.id),
        ),
        empty="Nobody offers you a virtual folder.",
    )


async def _accept(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    done = await vfolders.answer_invitation(client, options.words[0], accept=True)
    return _done(f"You have {done.vfolder_name} now.", name=done.vfolder_name)


async def _decline(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    done = await vfolders.answer_invitation(client, options.words[0], accept=False)
    return _done(f"{done.vfolder_name} is declined.", name=done.vfolder_name)


_ACTIONS: dict[str, Callable[[Client, argparse.Namespace, Show], Awaitable[Any]]] = {
    "list": _list,
    "create": _create,
    "info": _info,
    "delete": _delete,
    "restore": _restore,
    "rename": _rename,
    "ls": _ls,
    "upload": _upload,
    "download": _download,
    "mkdir": _mkdir,
    "rm": _rm,
    "mv": _mv,
    "share": _share,
    "unshare": _unshare,
    "leave": _leave,
    "invitations": _invitations,
    "accept": _accept,
    "decline": _decline,
}
