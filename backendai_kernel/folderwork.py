"""What the verb ``vfolder`` does and returns, the same for notebooks and for the command line."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from . import storage, vfolders
from .client import Client
from .config import state_dir
from .errors import ConfigError
from .filewords import ACTIONS
from .filework import (
    Show,
    bytes_text,
    count_text,
    limit_of,
    name_of,
    place_here,
    planned_files,
    told_come,
    told_sent,
)
from .protocol.calls import Folder, FolderEntry, Invitation
from .tables import Column, Facts, Table


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
            Column("name", "Name", lambda e: e.name, words=name_of),
            Column("size", "Size", lambda e: e.size, bytes_text, is_amount=True),
            Column("modified", "Modified", lambda e: e.modified[:19].replace("T", " ")),
            Column("mode", "Mode", lambda e: vfolders.mode_text(e.mode)),
        ),
        empty="Nothing is there.",
    )


async def _upload(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    name, *words = options.words
    left_out: list[str] = []
    planned = planned_files(words, show.cwd, left_out.append)
    folder = await vfolders.find_folder(client, name)
    await storage.upload_files(
        client,
        folder,
        planned,
        options.to or ".",
        state=state_dir(show.environ),
        on_progress=show.going(f"Uploading {count_text(planned)}"),
    )
    size = sum(file.size for file in planned)
    where = f"the virtual folder {folder.name}"
    return told_sent(planned, where, options.to or "", size, left_out)


async def _download(client: Client, options: argparse.Namespace, show: Show) -> Facts:
    name, *paths = options.words
    folder = await vfolders.find_folder(client, name)
    to = place_here(options.to, show.cwd)
    wanted, skipped = await storage.plan_download(
        client, folder, paths or ["."], to, limit=limit_of(options.limit)
    )
    await storage.download_files(
        client, folder, wanted, on_progress=show.going(f"Downloading {count_text(wanted)}")
    )
    files = [each.place for each in wanted if not each.is_folder]
    return told_come(files, to, f"the virtual folder {folder.name}", skipped)


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
