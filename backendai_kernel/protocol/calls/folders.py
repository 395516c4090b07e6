"""Virtual folders: what the manager does with them, and where their bytes go up and come down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from .base import Call


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual folder as the list of them has it.

    Attributes:
        id: UUID; 32 hexadecimal digits, or with dashes.
        host: The storage host and volume that it lies on.
        permission: ``ro``, ``rw`` or ``wd`` (write and delete).
        usage_mode: ``general``, ``data`` or ``model``.
        ownership_type: ``user``, or ``group`` for a project's.
        is_owner: It is ours, and not one that somebody shares with us.

    Source: API reference 7.2; recording 70.
    """

    name: str
    id: str = ""
    host: str | None = None
    status: str = ""
    permission: str | None = None
    usage_mode: str = "general"
    ownership_type: str = "user"
    is_owner: bool = True
    creator: str | None = None
    user_email: str | None = None
    group_name: str | None = None
    created_at: str = ""
    cloneable: bool = False


class FolderInfo(msgspec.Struct, frozen=True, kw_only=True):
    """More about one folder; ``used_bytes`` is in bytes, and some servers count it late."""

    name: str
    id: str
    host: str | None = None
    status: str = ""
    permission: str | None = None
    usage_mode: str = "general"
    type: str = "user"
    is_owner: bool = True
    num_files: int | None = msgspec.field(default=None, name="numFiles")
    used_bytes: int | None = None
    created_at: str = ""
    last_used: str | None = None
    cloneable: bool = False


class FolderEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a folder: ``type`` is ``FILE``, ``DIRECTORY`` or ``SYMLINK``, ``size`` bytes."""

    name: str
    type: str = "FILE"
    size: int = 0
    mode: int | str = 0
    modified: str = ""

    @property
    def is_folder(self) -> bool:
        return self.type == "DIRECTORY"


class Ticket(msgspec.Struct, frozen=True):
    """Where bytes go, and the token that opens it; whoever has it needs no other credentials."""

    token: str
    url: str

    def __repr__(self) -> str:
        return f"Ticket(url={self.url!r})"


class Hosts(msgspec.Struct, frozen=True):
    """Storage hosts that folders may be made on."""

    allowed: tuple[str, ...] = ()
    default: str | None = None


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that somebody wants to share, until it is accepted or declined."""

    id: str
    inviter: str = ""
    invitee: str = ""
    perm: str | None = None
    state: str = ""
    vfolder_id: str = ""
    vfolder_name: str = ""


def _path(folder: str, suffix: str = "") -> str:
    return f"/folders/{quote(folder, safe='')}{suffix}"


def list_folders() -> Call[tuple[Folder, ...]]:
    """List the virtual folders that the keypair may use (API reference 7.1)."""
    return Call(
        "GET",
        "/folders",
        tuple[Folder, ...],
        what="Listing the virtual folders",
        is_read=True,
    )


def list_folder_hosts() -> Call[Hosts]:
    """Ask which storage hosts there are."""
    return Call("GET", "/folders/_/hosts", Hosts, what="Listing the storage hosts", is_read=True)


def create_folder(
    name: str,
    *,
    host: str | None = None,
    project: str | None = None,
    permission: str = "rw",
    usage_mode: str = "general",
    cloneable: bool = False,
) -> Call[Folder]:
    """Make a folder; ``None`` for *host* is the default, a *project* makes it that project's."""
    return Call(
        "POST",
        "/folders",
        Folder,
        {
            "name": name,
            "host": host,
            "unmanaged_path": None,
            "group": project,
            "usage_mode": usage_mode,
            "permission": permission,
            "cloneable": cloneable,
        },
        what=f"Making the folder {name}",
    )


def get_folder(folder: str) -> Call[FolderInfo]:
    """Describe a folder, by its id."""
    return Call(
        "GET", _path(folder), FolderInfo, what="Looking at the virtual folder", is_read=True
    )


def delete_folder(folder: str) -> Call[None]:
    """Move a folder to the trash, by its id; servers from 24.03 on."""
    return Call("DELETE", "/folders", type(None), {"id": folder}, what="Deleting the folder")


def delete_folder_by_name(name: str) -> Call[None]:
    """Delete a folder for good, as servers before 24.03 do."""
    return Call("DELETE", _path(name), type(None), what="Deleting the folder")


def purge_folder(folder: str) -> Call[None]:
    """Delete a folder for good that lies in the trash."""
    return Call(
        "POST",
        "/folders/delete-from-trash-bin",
        type(None),
        {"id": folder},
        what="Deleting the folder from the trash",
    )


def restore_folder(folder: str) -> Call[None]:
    """Take a folder out of the trash."""
    return Call(
        "POST",
        "/folders/restore-from-trash-bin",
        type(None),
        {"id": folder},
        what="Restoring the folder",
    )


def rename_folder(folder: str, name: str) -> Call[None]:
    """Give a folder another name."""
    return Call(
        "POST",
        _path(folder, "/rename"),
        type(None),
        {"new_name": name},
        what=f"Renaming the folder to {name}",
    )


def list_folder(folder: str, path: str) -> Call[tuple[FolderEntry, ...]]:
    """Ask what is in a folder's folder; the path goes both ways that servers read it."""
    return Call(
        "GET",
        f"{_path(folder, '/files')}?{urlencode({'path': path})}",
        tuple[FolderEntry, ...],
        {"path": path},
        inside=("items",),
        what=f"Listing {path!r} in the folder",
        is_read=True,
    )


def make_folders(folder: str, path: str) -> Call[None]:
    """Make a folder in a folder, and those above it; one that is there already is fine."""
    return Call(
        "POST",
        _path(folder, "/mkdir"),
        type(None),
        {"path": path, "parents": True, "exist_ok": True},
        what=f"Making {path!r} in the folder",
        is_read=True,
    )


def remove_files(folder: str, paths: Sequence[str], *, recursive: bool) -> Call[None]:
    """Remove files, and with *recursive* folders, from a folder."""
    return Call(
        "DELETE",
        _path(folder, "/delete-files"),
        type(None),
        {"files": list(paths), "recursive": recursive},
        what=f"Removing {', '.join(paths)} from the folder",
    )


def move_file(folder: str, path: str, to: str) -> Call[None]:
    """Move or rename something within a folder."""
    return Call(
        "POST",
        _path(folder, "/move-file"),
        type(None),
        {"src": path, "dst": to},
        what=f"Moving {path!r} in the folder",
    )


def request_upload(folder: str, path: str, size: int) -> Call[Ticket]:
    """Ask for the place that a file of *size* bytes may be sent to."""
    return Call(
        "POST",
        _path(folder, "/request-upload"),
        Ticket,
        {"path": path, "size": size},
        what=f"Uploading {path!r} into the folder",
        is_read=True,
    )


def request_download(folder: str, path: str) -> Call[Ticket]:
    """Ask for the place that a file may be had from; that there is such a file is not checked."""
    return Call(
        "POST",
        _path(folder, "/request-download"),
        Ticket,
        {"path": path, "archive": False},
        what=f"Downloading {path!r} from the folder",
        is_read=True,
    )


def _sharing(what: str, folder: str, method: str, suffix: str, body: dict[str, Any]) -> Call[None]:
    return Call(method, _path(folder, suffix), type(None), body, what=what)


def share_folder(folder: str, emails: Sequence[str], permission: str) -> Call[None]:
    """Share a project's folder with users at once; for administrators."""
    body = {"permission": permission, "emails": list(emails)}
    return _sharing("Sharing the folder", folder, "POST", "/share", body)


def unshare_folder(folder: str, emails: Sequence[str]) -> Call[None]:
    """Share a project's folder no longer."""
    body = {"emails": list(emails)}
    return _sharing("Unsharing the folder", folder, "DELETE", "/unshare", body)


def invite(folder: str, emails: Sequence[str], permission: str) -> Call[None]:
    """Offer a user's own folder to others, who accept or decline."""
    body = {"perm": permission, "user_ids": list(emails)}
    return _sharing("Sharing the folder", folder, "POST", "/invite", body)


def leave_folder(folder: str) -> Call[None]:
    """Give up a folder that somebody shares with us."""
    return _sharing("Leaving the folder", folder, "POST", "/leave", {})


def list_invitations(*, sent: bool = False) -> Call[tuple[Invitation, ...]]:
    """List invitations to us, or those that we have sent."""
    return Call(
        "GET",
        "/folders/invitations/" + ("list-sent" if sent else "list"),
        tuple[Invitation, ...],
        inside=("invitations",),
        what="Listing the invitations",
        is_read=True,
    )


def answer_invitation(invitation: str, *, accept: bool) -> Call[None]:
    """Accept an invitation, or decline it."""
    return Call(
        "POST" if accept else "DELETE",
        "/folders/invitations/" + ("accept" if accept else "delete"),
        type(None),
        {"inv_id": invitation},
        what="Answering the invitation",
    )
