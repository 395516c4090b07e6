"""``/folders``: virtual folders over HTTP, but for the bytes themselves (see `storage`).

Source: API reference 7; recordings 70 to 72.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from . import problems
from .auth import KeyPair
from .core import GROUP, GROUP_ID, Core, answer, json_body, keypair, params
from .problems import Problem
from .vfolders import HOST, READY, TRASHED, FolderRecord

_PERMISSIONS = ("ro", "rw", "wd")


def found(core: Core, request: web.Request) -> FolderRecord:
    """Return the folder that the request's path names."""
    return core.folders.find(request.match_info["folder"], keypair(request))


def _writable(core: Core, request: web.Request) -> FolderRecord:
    record = found(core, request)
    if core.folders.permission(record, keypair(request)) == "ro":
        raise problems.forbidden("You cannot write to this virtual folder.")
    return record


def own(core: Core, request: web.Request, record: FolderRecord) -> FolderRecord:
    """Return the folder, which must be the caller's own."""
    if record.owner != keypair(request).user_id:
        raise problems.forbidden("Cannot change the vfolder that is not owned by you.")
    return record


def item(core: Core, who: KeyPair, record: FolderRecord) -> dict[str, Any]:
    """Return a folder as lists have it."""
    owner = next((k for k in core.gate.keypairs() if k.user_id == record.owner), who)
    kind = "user" if record.group is None else "group"
    return {
        "id": record.hex,
        "name": record.name,
        "quota_scope_id": f"user:{owner.user_uuid}",
        "host": HOST,
        "usage_mode": record.usage_mode,
        "created_at": record.created_at,
        "permission": core.folders.permission(record, who),
        "creator": record.owner,
        "ownership_type": kind,
        "user": owner.user_uuid if record.group is None else None,
        "group": record.group,
        "cloneable": record.cloneable,
        "status": record.status,
        "is_owner": record.owner == who.user_id,
        "max_size": 0,
        "user_email": "",
        "group_name": "",
        "type": "",
        "max_files": 0,
        "cur_size": 0,
    }


async def listing(core: Core, request: web.Request) -> web.Response:
    """List what the caller may use."""
    usable = core.folders.of(keypair(request))
    return answer([item(core, keypair(request), record) for record in usable])


async def create(core: Core, request: web.Request) -> web.Response:
    """Make a folder."""
    body, who = await json_body(request), keypair(request)
    name, host, group = body.get("name"), body.get("host"), body.get("group")
    if not isinstance(name, str):
        raise problems.unreadable_field("Input validation error: name is required")
    if host not in (None, HOST):
        raise Problem(
            400,
            "storage-permission-not-allowed",
            "The specified storage permission is not allowed.",
            "storage_access_forbidden",
            f"`create-vfolder` Not allowed in vfolder host(`{host}`)",
        )
    if group not in (None, GROUP, GROUP_ID):
        raise problems.not_found("No such user group.", "group_read_not-found")
    permission = body.get("permission") or "rw"
    if permission not in _PERMISSIONS:
        raise problems.unreadable_field(f"Input validation error: permission {permission!r}")
    core.folders.check_name(name, who)
    record = FolderRecord(
        name,
        who.user_id,
        permission,
        body.get("usage_mode") or "general",
        bool(body.get("cloneable")),
        GROUP_ID if group else None,
    )
    core.folders.add(record)
    return answer(item(core, keypair(request), record) | {"created_at": ""}, status=201)


async def hosts(core: Core, request: web.Request) -> web.Response:
    """Tell where folders may be made."""
    keypair(request)
    info = {
        "backend": "vfs",
        "capabilities": ["vfolder"],
        "usage": {"percentage": 0.0},
        "sftp_scaling_groups": [],
    }
    return answer({"default": HOST, "allowed": [HOST], "volume_info": {HOST: info}})


async def identify(core: Core, request: web.Request) -> web.Response:
    """Return the id of a name; servers from 24.03 on."""
    if core.release.download == "get":
        raise problems.url_not_found(request.path)
    given = await json_body(request)
    record = core.folders.find(str(given.get("name", "")), keypair(request))
    return answer({"id": record.id, "name": record.name})


async def describe(core: Core, request: web.Request) -> web.Response:
    """Tell all about a folder."""
    record = found(core, request)
    count, size = await asyncio.to_thread(_used, core.folders.place(record))
    told = item(core, keypair(request), record)
    kept = ("name", "id", "quota_scope_id", "host", "status")
    return answer(
        {
            **{key: told[key] for key in kept},
            "numFiles": count,
            "used_bytes": size,
            "created_at": record.created_at,
            "last_used": record.created_at,
            "user": told["user"],
            "group": told["group"],
            "type": told["ownership_type"],
            **{k: told[k] for k in ("is_owner", "permission", "usage_mode", "cloneable")},
        }
    )


def _used(place: Path) -> tuple[int, int]:
    sizes = [
        Path(folder, name).lstat().st_size for folder, _, names in os.walk(place) for name in names
    ]
    return len(sizes), sum(sizes)


# -- the trash --------------------------------------------------------------------------------


async def _by_id(core: Core, request: web.Request, *statuses: str) -> FolderRecord:
    body = await json_body(request)
    word = str(body.get("id") or body.get("vfolder_id") or "").replace("-", "")
    for record in core.folders.of(keypair(request)):
        if word == record.hex and record.status in statuses:
            return own(core, request, record)
    raise problems.not_found("No such virtual folder.", "vfolder_read_not-found", data=word)


async def delete(core: Core, request: web.Request) -> web.Response:
    """Move a folder to the trash; again is fine."""
    record = await _by_id(core, request, READY, TRASHED)
    record.status = TRASHED
    core.folders.save()
    return web.Response(status=204)


async def delete_by_name(core: Core, request: web.Request) -> web.Response:
    """Delete a folder for good, as older servers do."""
    if core.release.download != "get":
        raise problems.method_not_allowed()
    await _remove(core, own(core, request, found(core, request)))
    return web.Response(status=204)


async def restore(core: Core, request: web.Request) -> web.Response:
    record = await _by_id(core, request, TRASHED)
    core.folders.check_name(record.name, keypair(request))
    record.status = READY
    core.folders.save()
    return web.Response(status=204)


async def purge(core: Core, request: web.Request) -> web.Response:
    await _remove(core, await _by_id(core, request, TRASHED))
    return web.Response(status=204)


async def _remove(core: Core, record: FolderRecord) -> None:
    folders = core.folders
    folders.records.remove(record)
    folders.invitations = [each for each in folders.invitations if each.folder != record.id]
    folders.save()
    await asyncio.to_thread(shutil.rmtree, folders.place(record), ignore_errors=True)


async def rename(core: Core, request: web.Request) -> web.Response:
    record = own(core, request, found(core, request))
    name = str((await json_body(request)).get("new_name", ""))
    core.folders.check_name(name, keypair(request))
    record.name = name
    core.folders.save()
    return answer({"msg": ""}, status=200 if core.release.error_codes else 201)


# -- what is in one ---------------------------------------------------------------------------


def inside(core: Core, record: FolderRecord, path: str) -> Path:
    """Return where *path* in a folder is on this computer.

    Raises:
        Problem: It leads out of the folder (400).
    """
    root = core.folders.place(record).resolve()
    found = root / os.path.normpath("/" + path).lstrip("/")
    parts = Path(path).parts
    if "\0" in path or ".." in parts or not found.resolve().is_relative_to(root):
        raise _storage_refused()
    return found


def _storage_refused() -> Problem:
    return Problem(
        400,
        "vfolder-operation-failed",
        "Virtual folder operation has failed due to bad request.",
        "vfolder_generic_bad-request",
        "Bad request to storage proxy",
    )


async def files(core: Core, request: web.Request) -> web.Response:
    """List a folder in a folder."""
    record = found(core, request)
    path = str((await params(request)).get("path") or ".")
    try:
        items = await asyncio.to_thread(_entries, inside(core, record, path))
    except OSError as exc:
        raise _storage_refused() from exc
    told: dict[str, Any] = {"items": items}
    if not core.release.error_codes:
        told["files"] = json.dumps(items)
    return answer(told)


def _entries(place: Path) -> list[dict[str, Any]]:
    found = []
    with os.scandir(place) as entries:
        for entry in entries:
            seen = entry.stat(follow_symlinks=False)
            kind = (
                "SYMLINK"
                if entry.is_symlink()
                else "DIRECTORY"
                if entry.is_dir(follow_symlinks=False)
                else "FILE"
            )
            found.append(
                {
                    "name": entry.name,
                    "type": kind,
                    "size": seen.st_size,
                    "mode": seen.st_mode,
                    "created": _time(seen.st_ctime),
                    "modified": _time(seen.st_mtime),
                }
            )
    return found


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


async def mkdir(core: Core, request: web.Request) -> web.Response:
    body = await json_body(request)
    record = _writable(core, request)
    given = body.get("path")
    paths = [given] if isinstance(given, str) else list(given or ())
    try:
        for path in paths:
            place = inside(core, record, path)
            exist_ok = bool(body.get("exist_ok"))
            place.mkdir(parents=bool(body.get("parents")), exist_ok=exist_ok)
    except (OSError, Problem) as exc:
        raise Problem(
            400,
            "vfolder-operation-failed",
            "Virtual folder operation has failed.",
            "vfolder_generic_failed",
            "Unexpected error 422 from storage proxy",
        ) from exc
    if not core.release.error_codes:
        return web.Response(status=201)
    made = [{"msg": None, "item": path} for path in paths]
    return answer({"results": {"success": made, "failed": []}})


async def move(core: Core, request: web.Request) -> web.Response:
    body, record = await json_body(request), _writable(core, request)
    source = inside(core, record, str(body.get("src", "")))
    target = inside(core, record, str(body.get("dst", "")))
    return await _moved(source, target)


async def rename_file(core: Core, request: web.Request) -> web.Response:
    body, record = await json_body(request), _writable(core, request)
    path, name = str(body.get("target_path", "")), str(body.get("new_name", ""))
    source = inside(core, record, path)
    return await _moved(source, inside(core, record, f"{os.path.dirname(path)}/{name}"))


async def _moved(source: Path, target: Path) -> web.Response:
    try:
        await asyncio.to_thread(source.rename, target)
    except OSError as exc:
        raise _storage_refused() from exc
    return answer({"msg": ""})


async def remove_files(core: Core, request: web.Request) -> web.Response:
    """Remove files; what is not there is fine, a folder needs ``recursive``."""
    body, record = await json_body(request), _writable(core, request)
    places = [inside(core, record, str(path)) for path in body.get("files") or ()]
    root = core.folders.place(record).resolve()
    for place in places:
        if place == root:
            raise _storage_refused()
        if place.is_dir() and not place.is_symlink():
            if body.get("recursive"):
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
    return answer({"msg": ""})
