"""Virtual folders: found, made, shared, looked into. Their bytes are the matter of `storage`."""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Sequence
from pathlib import PurePosixPath

from .client import Client
from .errors import APIError, ConfigError, Conflict, NotFound, ServerError
from .protocol import calls
from .protocol.calls import Folder, FolderEntry, FolderInfo, Invitation

_NAME = re.compile(r"\.?[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?")
_RESERVED = re.compile(r"\.(terminfo|jupyter|tmux\.conf|ssh|[^.]*rc|[^.]*_profile)")
_LONGEST = 64
_STAGING = ".upload"  # where servers gather what comes up, in the folder itself
_IN_TRASH = "delete-pending"
_GONE = ("delete-ongoing", "delete-complete", "delete-error", "deleting")


def check_name(name: str) -> str:
    """Return a name for a folder, if it is one that servers take and sessions can mount.

    The newest servers take any characters, a slash too, and then cannot mount the folder.

    Raises:
        ConfigError: It is none.

    Source: API reference 7.1.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ConfigError(
            f"{name!r} is no name for a virtual folder.",
            hint=f"Take up to {_LONGEST} letters, digits and . _ - between them; one with a dot "
            "before it is mounted into every session.",
        )
    if _RESERVED.fullmatch(name):
        raise ConfigError(
            f"Servers keep the folder name {name} for themselves.", hint="Take another one."
        )
    return name


def check_path(path: str) -> str:
    """Return a path below a folder, without a slash at its ends; ``.`` is the folder itself.

    Raises:
        ConfigError: It leads out of the folder, or is none.
    """
    parts = PurePosixPath("/" + path).parts[1:]
    if ".." in parts or "\0" in path:
        raise ConfigError(
            f"{path!r} leads out of the virtual folder.", hint="Name it from the folder's top."
        )
    return "/".join(parts) or "."


# -- folders ----------------------------------------------------------------------------------


async def list_folders(client: Client, *, in_trash: bool = False) -> list[Folder]:
    """Return the folders that may be used, by name; or those in the trash.

    Raises:
        ConnectError, APIError, ProtocolError: As `Client.send`, here and below.
    """
    found = await client.send(calls.list_folders())
    wanted = [
        folder
        for folder in found
        if folder.status not in _GONE and (folder.status == _IN_TRASH) is in_trash
    ]
    return sorted(wanted, key=lambda folder: folder.name)


async def find_folder(client: Client, word: str, *, in_trash: bool = False) -> Folder:
    """Return the folder that a name or an id means; an own one wins over one that is shared.

    Raises:
        NotFound: There is none; the hint names close ones.
        Conflict: Several have that name.
    """
    known = await list_folders(client, in_trash=in_trash)
    named = [each for each in known if each.name == word] or [
        each for each in known if _bare(each.id) == _bare(word)
    ]
    own = [each for each in named if each.is_owner]
    found = own or named
    if len(found) > 1:
        ids = " or ".join(each.id for each in found)
        raise Conflict(
            f"{len(found)} virtual folders are named {word!r}.", status=409, hint=f"Use {ids}."
        )
    if found:
        return found[0]
    close = difflib.get_close_matches(word, [each.name for each in known], n=2)
    hint = f"Did you mean {' or '.join(close)}?" if close else "`%bai vfolder list` lists them."
    where = " in the trash" if in_trash else ""
    raise NotFound(f"There is no virtual folder {word!r}{where}.", status=404, hint=hint)


def _bare(text: str) -> str:
    return text.replace("-", "").lower()


async def create_folder(
    client: Client,
    name: str,
    *,
    host: str | None = None,
    project: str | None = None,
    permission: str = "rw",
    usage_mode: str = "general",
) -> Folder:
    """Make a folder.

    Args:
        host: Storage host, ``None`` for the default one.
        project: Make it that project's; ``None``: the user's own.

    Raises:
        ConfigError: The name is none.
        Conflict: There is a folder of that name.
    """
    check_name(name)
    call = calls.create_folder(
        name, host=host, project=project, permission=permission, usage_mode=usage_mode
    )
    try:
        return await client.send(call)
    except APIError as exc:
        if "already exists" not in f"{exc.title} {exc.msg}":
            raise
        raise Conflict(
            f"There is a virtual folder {name!r} already.",
            status=exc.status,
            hint="`%bai vfolder list` lists them.",
            slug=exc.slug,
            title=exc.title,
            msg=exc.msg,
        ) from exc


async def ensure_folder(client: Client, name: str) -> tuple[Folder, bool]:
    """Return the folder of that name, and whether it was made for this."""
    try:
        return await find_folder(client, name), False
    except NotFound:
        return await create_folder(client, name), True


async def describe_folder(client: Client, folder: Folder) -> FolderInfo:
    """Return what there is to say of a folder."""
    return await client.send(calls.get_folder(folder.id))


async def delete_folder(client: Client, folder: Folder, *, forever: bool = False) -> bool:
    """Move a folder to the trash, or delete it for good; return whether it lies in the trash.

    Servers before 24.03 have no trash.
    """
    if folder.status != _IN_TRASH:
        if await _has_trash(client):
            await client.send(calls.delete_folder(folder.id))
        else:
            await client.send(calls.delete_folder_by_name(folder.name))
            return False
    if forever:
        await client.send(calls.purge_folder(folder.id))
    return not forever


async def _has_trash(client: Client) -> bool:
    numbers = re.findall(r"\d+", (await client.version()).manager)[:2]
    return tuple(map(int, numbers)) >= (24, 3)


async def restore_folder(client: Client, folder: Folder) -> None:
    """Take a folder out of the trash."""
    await client.send(calls.restore_folder(folder.id))


async def rename_folder(client: Client, folder: Folder, name: str) -> None:
    """Give a folder another name.

    Raises:
        ConfigError: The name is none.
    """
    await client.send(calls.rename_folder(folder.id, check_name(name)))


# -- what is in one ---------------------------------------------------------------------------


async def list_entries(client: Client, folder: Folder, path: str = ".") -> list[FolderEntry]:
    """Return what is in a folder, folders first; of a file, the file itself.

    Raises:
        ConfigError: The path leads out of the folder.
        NotFound: There is no such path.
    """
    path = check_path(path)
    try:
        found = await client.send(calls.list_folder(folder.id, path))
    except (ServerError, APIError) as exc:
        if exc.status not in (400, 404, 500):
            raise
        above, _, name = path.rpartition("/")
        beside = await _siblings(client, folder, above or ".") if path != "." else []
        if found_file := [each for each in beside if each.name == name and not each.is_folder]:
            return found_file
        raise NotFound(
            f"There is no {path!r} in the virtual folder {folder.name}.",
            status=404,
            hint=f"`%bai vfolder ls {folder.name}` lists what there is.",
        ) from exc
    return sorted(
        (each for each in found if not (path == "." and each.name == _STAGING)),
        key=lambda each: (not each.is_folder, each.name),
    )


async def _siblings(client: Client, folder: Folder, path: str) -> Sequence[FolderEntry]:
    try:
        return await client.send(calls.list_folder(folder.id, path))
    except APIError:
        return ()  # what is above is not there either


def mode_text(mode: int | str) -> str:
    """Return a file's mode as ``ls`` writes it."""
    return stat.filemode(mode) if isinstance(mode, int) else mode


async def make_folders(client: Client, folder: Folder, path: str) -> None:
    """Make a folder in a folder, and those above it."""
    await client.send(calls.make_folders(folder.id, check_path(path)))


async def remove_entries(
    client: Client, folder: Folder, paths: Sequence[str], *, recursive: bool = False
) -> None:
    """Remove files, and with *recursive* folders.

    Raises:
        ConfigError: A path is the whole folder or leads out of it, or is a folder.
        NotFound: There is no such path; nothing was removed then.
    """
    checked = [check_path(path) for path in paths]
    for path in checked:
        if path == ".":
            raise ConfigError(
                "That is the whole virtual folder.",
                hint=f"`%bai vfolder delete {folder.name}` deletes it.",
            )
        above, _, name = path.rpartition("/")
        beside = await list_entries(client, folder, above or ".")
        found = next((each for each in beside if each.name == name), None)
        if found is None:
            raise NotFound(f"There is no {path!r} in {folder.name}.", status=404)
        if found.is_folder and not recursive:
            raise ConfigError(f"{path} is a folder.", hint="-r removes it with all that is in it.")
    await client.send(calls.remove_files(folder.id, checked, recursive=recursive))


async def move_entry(client: Client, folder: Folder, path: str, to: str) -> None:
    """Move or rename something within a folder.

    Raises:
        ConfigError: A path leads out of the folder.
    """
    await client.send(calls.move_file(folder.id, check_path(path), check_path(to)))


# -- sharing ----------------------------------------------------------------------------------


async def share_folder(
    client: Client, folder: Folder, emails: Sequence[str], permission: str = "ro"
) -> bool:
    """Share a folder with users; return whether they have it at once.

    A user's own folder is offered, and they accept it or not; a project's is shared by an
    administrator.
    """
    if folder.ownership_type == "group":
        await client.send(calls.share_folder(folder.id, emails, permission))
        return True
    await client.send(calls.invite(folder.id, emails, permission))
    return False


async def unshare_folder(client: Client, folder: Folder, emails: Sequence[str]) -> None:
    """Share a project's folder no longer."""
    await client.send(calls.unshare_folder(folder.id, emails))


async def leave_folder(client: Client, folder: Folder) -> None:
    """Give up a folder that somebody shares with us."""
    await client.send(calls.leave_folder(folder.id))


async def list_invitations(client: Client) -> list[Invitation]:
    """Return the folders that others offer to us."""
    found = await client.send(calls.list_invitations())
    return list(found)


async def answer_invitation(client: Client, word: str, *, accept: bool) -> Invitation:
    """Accept or decline what is offered, by the folder's name or the invitation's id.

    Raises:
        NotFound: Nothing of that name is offered.
    """
    for each in await list_invitations(client):
        if word in (each.id, each.vfolder_name):
            await client.send(calls.answer_invitation(each.id, accept=accept))
            return each
    raise NotFound(
        f"Nobody offers a virtual folder {word!r}.",
        status=404,
        hint="`%bai vfolder invitations` lists what is offered.",
    )
