"""What all handlers share: the manager's parts, who asks, and how an answer is written."""

from __future__ import annotations

import io
import uuid
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from . import problems
from .auth import Gate, KeyPair
from .events import Hub
from .images import Images
from .lifecycle import Lifecycle
from .passes import Passes
from .release import Release
from .scheduler import SHARES, Capacity
from .sessions import Registry, SessionRecord
from .vfolders import Folders

if TYPE_CHECKING:
    from .appproxy import AppProxy

DOMAIN = "default"
GROUP = "default"
SCALING_GROUP = "default"
AGENT = "i-local"
_AT_ONCE = 256 * 1024  # bytes of an answer
SENDER: ContextVar[KeyPair | None] = ContextVar("sender", default=None)
"""Who signed the request that is being answered."""

GROUP_ID = str(uuid.uuid5(uuid.NAMESPACE_URL, f"group:{GROUP}"))


@dataclass(frozen=True)
class Core:
    """The parts of one running manager."""

    release: Release
    gate: Gate
    images: Images
    capacity: Capacity
    registry: Registry
    hub: Hub
    lifecycle: Lifecycle
    folders: Folders
    passes: Passes
    started: datetime
    app_proxy: AppProxy | None = None

    @property
    def has_simulated_gpus(self) -> bool:
        """There are GPUs, in the books only."""
        return self.capacity.known(SHARES)


def answer(value: Any, *, status: int = 200) -> web.Response:
    """Return *value* as a JSON answer."""
    body = msgspec.json.encode(value)
    return web.Response(
        status=status,
        # In pieces, as fast as they are taken; at once, all of it would be copied first.
        body=io.BytesIO(body) if len(body) > _AT_ONCE else body,
        content_type="application/json",
        charset="utf-8",
    )


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the request's JSON object.

    Raises:
        Problem: It is empty, not JSON, or no object (400).
    """
    try:
        value = msgspec.json.decode(await request.read())
    except msgspec.DecodeError:
        value = None
    if not isinstance(value, dict):
        raise problems.malformed_body(str(request.url), request.method)
    return value


async def params(request: web.Request) -> dict[str, Any]:
    """Return query and JSON body together, whichever of them there are."""
    given: dict[str, Any] = dict(request.query)
    if request.can_read_body:
        given |= await json_body(request)
    return given


def keypair(request: web.Request) -> KeyPair:
    """Return who sent the request.

    Raises:
        Problem: Nobody signed it (401).
    """
    who = SENDER.get()
    if who is None:
        raise problems.auth_failed("Unauthorized access")
    return who


def owner(core: Core, request: web.Request, access_key: str | None = None) -> KeyPair:
    """Return whose sessions the request is about: ``owner_access_key``, else the sender's own.

    Raises:
        Problem: A plain user names another's access key (403), or nobody has it (404).
    """
    who = keypair(request)
    wanted = access_key or request.query.get("owner_access_key")
    if not wanted or wanted == who.access_key:
        return who
    if not who.is_admin:
        raise problems.forbidden("Only admins can access other users' sessions.")
    other = core.gate.keypair(wanted)
    if other is None:
        raise problems.not_found("No such user.", "user_read_not-found")
    return other


def session(core: Core, request: web.Request, *, dead: bool = False) -> SessionRecord:
    """Return the session that the request's path names.

    Raises:
        Problem: There is none, or there are several.
    """
    return core.registry.find(request.match_info["session"], owner(core, request), dead=dead)


def container_id(record: SessionRecord) -> str | None:
    """Return the id of a session's container: 64 hexadecimal digits, ``None`` before there is one."""
    if record.starts_at is None:
        return None
    return (record.kernel_id + record.id).replace("-", "")
