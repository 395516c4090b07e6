"""``/folders``: virtual folders that several users have.

Source: API reference 7.1.
"""

from __future__ import annotations

from aiohttp import web

from . import problems
from .core import Core, answer, json_body, keypair
from .folders import found, own
from .vfolders import FolderRecord, InvitationRecord


async def invite(core: Core, request: web.Request) -> web.Response:
    """Offer a folder to users, who accept it or not."""
    body = await json_body(request)
    record, who = own(core, request, found(core, request)), keypair(request)
    wanted = [str(each) for each in body.get("user_ids") or body.get("emails") or ()]
    known = {each.user_id for each in core.gate.keypairs()} - {who.user_id}
    asked = [each for each in wanted if each in known]
    if not asked:
        raise problems.not_found(
            "No such virtual folder.",
            "vfolder_read_not-found",
            "No users found with the provided emails.",
        )
    permission = str(body.get("perm") or body.get("permission") or "rw")
    offered = core.folders.invitations
    pending = {each.invitee for each in offered if each.folder == record.id}
    new = [each for each in asked if each not in pending | set(record.shared)]
    offered += [InvitationRecord(record.id, who.user_id, each, permission) for each in new]
    core.folders.save()
    return answer({"invited_ids": new}, status=201)


async def share(core: Core, request: web.Request) -> web.Response:
    """Give users a permission of their own for a project's folder, which everybody here has."""
    emails, record = await _asked_of_project(core, request)
    permission = str((await json_body(request)).get("permission") or "rw")
    record.shared.update(dict.fromkeys(emails, permission))
    core.folders.save()
    return answer({"shared_emails": emails}, status=201)


async def unshare(core: Core, request: web.Request) -> web.Response:
    """Take it back: they have the folder's own permission again."""
    emails, record = await _asked_of_project(core, request)
    for email in emails:
        record.shared.pop(email, None)
    core.folders.save()
    return answer({"unshared_emails": emails})


async def _asked_of_project(core: Core, request: web.Request) -> tuple[list[str], FolderRecord]:
    body, record = await json_body(request), found(core, request)
    if not keypair(request).is_admin:
        raise problems.forbidden("Only administrators share a project's folder.")
    if record.group is None:
        raise problems.not_found(
            "No such virtual folder.",
            "vfolder_read_not-found",
            "Only project folders are directly sharable.",
        )
    return [str(each) for each in body.get("emails") or ()], record


async def leave(core: Core, request: web.Request) -> web.Response:
    record, who = found(core, request), keypair(request)
    if record.owner == who.user_id:
        raise problems.invalid_params("Cannot leave a vfolder that is owned by you.")
    record.shared.pop(who.user_id, None)
    core.folders.save()
    return answer({"msg": ""})


async def invitations(core: Core, request: web.Request) -> web.Response:
    who = keypair(request).user_id
    sent = request.path.endswith("list-sent")
    names = {each.id: each.name for each in core.folders.records}
    return answer(
        {
            "invitations": [
                {
                    "id": each.id,
                    "inviter": each.inviter,
                    "invitee": each.invitee,
                    "perm": each.perm,
                    "state": "pending",
                    "created_at": each.created_at,
                    "modified_at": "None",
                    "vfolder_id": each.folder,
                    "vfolder_name": names[each.folder],
                }
                for each in core.folders.invitations
                if who == (each.inviter if sent else each.invitee)
            ]
        }
    )


async def answer_invitation(core: Core, request: web.Request) -> web.Response:
    body, who = await json_body(request), keypair(request).user_id
    for each in core.folders.invitations:
        if each.id == body.get("inv_id") and who in (each.invitee, each.inviter):
            break
    else:
        raise problems.not_found("No such vfolder invitation.", "vfolder-invitation_read_not-found")
    core.folders.invitations.remove(each)
    if request.path.endswith("accept") and who == each.invitee:
        record = next(one for one in core.folders.records if one.id == each.folder)
        record.shared[who] = each.perm
    core.folders.save()
    return answer({"msg": ""})
