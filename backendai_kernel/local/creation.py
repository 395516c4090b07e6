"""``POST /session``: what may be asked for, and what the answer says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from ..errors import ConfigError
from ..model import SessionStatus
from ..slots import format_size, parse_size
from . import problems
from .core import DOMAIN, GROUP, GROUP_ID, SCALING_GROUP, Core, answer, json_body, owner
from .images import LocalImage
from .keys import has_sshd
from .services import SSHD, SSHD_PORT
from .sessions import SessionRecord, Wanted

DEFAULT_SHMEM = Decimal(64 * 2**20)
"""Shared memory of a session that asks for none, in bytes."""

_TYPES = ("interactive", "batch")


async def create(core: Core, request: web.Request) -> web.Response:
    """Create a session, or take the live one of that name.

    Source: API reference 4.3; recordings 01, 03, 62, 63.
    """
    body = await json_body(request)
    who = owner(core, request, body.get("owner_access_key"))
    name = _text(body, "name", "session_name", "clientSessionToken")
    image = core.images.resolve(
        _text(body, "image", "lang"), str(body.get("architecture") or body.get("arch") or "x86_64")
    )
    existing = core.registry.named(name, who)
    if existing is not None:
        reuse = body.get("reuseIfExists", body.get("reuse", True))
        if not reuse or existing.wanted.image != image:
            raise problems.session_exists(existing.id)
        return answer(_reused(core, existing), status=201)
    record = core.lifecycle.enqueue(_wanted(core, body, name, image, who))
    if body.get("enqueueOnly"):
        return answer(_created(record, "PENDING"), status=201)
    status = await _wait(record, float(body.get("maxWaitSeconds") or 0))
    return answer(_created(record, status), status=201)


async def _wait(record: SessionRecord, limit: float) -> str:
    """Return the status once it is settled; ``TIMEOUT`` when that takes longer than *limit*."""
    try:
        async with asyncio.timeout(limit or None):
            await record.settled.wait()
    except TimeoutError:
        return "TIMEOUT"
    return record.status.value


def _created(record: SessionRecord, status: str) -> dict[str, Any]:
    running = status == SessionStatus.RUNNING.value
    return {
        "sessionId": record.id,
        "sessionName": record.name,
        "status": status,
        "servicePorts": service_ports(record) if running else [],
        "created": True,
    }


def _reused(core: Core, record: SessionRecord) -> dict[str, Any]:
    """Return the answer for a session that is there already, its ports in their raw form."""
    ports = raw_ports(record)
    reply: dict[str, Any] = {
        "sessionId": record.id,
        "sessionName": record.name,
        "status": record.status.value,
        "service_ports": ports,
    }
    if core.release.raw_ports:
        reply["servicePorts"] = ports
    return reply | {"created": False}


def service_ports(record: SessionRecord) -> list[dict[str, Any]]:
    """Return the apps that a session really offers: SSH, and the ports it was asked to open."""
    intrinsic = [{"name": SSHD, "protocol": "tcp", "ports": [SSHD_PORT]}] if has_sshd() else []
    return intrinsic + [
        {"name": str(port), "protocol": "preopen", "ports": [port]}
        for port in record.wanted.preopen_ports
    ]


def raw_ports(record: SessionRecord) -> list[dict[str, Any]]:
    """Return the apps as the server's own tables have them (recording 03)."""
    if record.container is None:
        return []
    return [
        {
            "name": app["name"],
            "protocol": app["protocol"],
            "host_ports": app["ports"],
            "is_inference": False,
            "container_ports": app["ports"],
        }
        for app in service_ports(record)
    ]


def _wanted(core: Core, body: Mapping[str, Any], name: str, image: LocalImage, who: Any) -> Wanted:
    config = body.get("config") or {}
    _check_place(body, config)
    kind = str(body.get("type") or body.get("sessionType") or "interactive").lower()
    if kind not in _TYPES:
        raise problems.invalid_params(f"Cannot create a session of the type {kind!r}.")
    command = body.get("startupCommand")
    if kind == "batch" and not command:
        raise problems.invalid_params("Batch sessions must have a non-empty startup command.")
    options = config.get("resource_opts") or config.get("resourceOpts") or {}
    shmem = _amount("mem", options["shmem"]) if options.get("shmem") else DEFAULT_SHMEM
    ports = config.get("preopen_ports") or config.get("preopenPorts") or ()
    slots = _slots(core, config.get("resources") or {}, image, shmem)
    # The quota is looked at before the minimum: recording 63 asks for less than that.
    core.lifecycle.check_concurrency(who)
    _check_minimum(slots, image, shmem)
    mounts, read_only = core.folders.mounts(config, who)
    return Wanted(
        name=name,
        image=image,
        owner=who,
        slots=slots,
        shmem=shmem,
        type=kind.upper(),
        environ={str(k): str(v) for k, v in (config.get("environ") or {}).items()},
        bootstrap_script=body.get("bootstrap_script") or body.get("bootstrapScript"),
        startup_command=command if kind == "batch" else None,
        preopen_ports=tuple(int(port) for port in ports),
        tag=body.get("tag") or "",
        priority=int(body.get("priority") or 10),
        mounts=mounts,
        read_only=read_only,
    )


def _check_place(body: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuse what this manager does not have: other domains, groups, clusters."""
    group = body.get("group") or body.get("groupName") or GROUP
    if group not in (GROUP, GROUP_ID):
        raise problems.invalid_params(
            f"Invalid group ({group}): the group does not exist, is inactive, or the user is not "
            "a member."
        )
    domain = body.get("domain") or body.get("domainName") or DOMAIN
    if domain != DOMAIN:
        raise problems.invalid_params(f"Invalid or inactive domain: {domain}")
    scaling_group = config.get("scalingGroup") or config.get("scaling_group")
    if scaling_group not in (None, SCALING_GROUP):
        raise problems.not_found(
            "No such scaling group.",
            "scaling-group_read_not-found",
            f"Resource group {scaling_group} not found",
        )
    if int(body.get("clusterSize") or body.get("cluster_size") or 1) != 1:
        raise problems.invalid_params("The embedded manager has sessions of one container only.")
    if body.get("dependencies"):
        raise problems.invalid_params("The embedded manager knows no dependencies of sessions.")


def _text(body: Mapping[str, Any], *keys: str) -> str:
    for key in keys:
        if isinstance(value := body.get(key), str) and value:
            return value
    raise problems.unreadable_field(f"Input validation error: {keys[0]} is required")


def _slots(
    core: Core, asked: Mapping[str, Any], image: LocalImage, shmem: Decimal
) -> dict[str, Decimal]:
    """Return slot name → amount, with the image's minimum for what was left out."""
    for name in asked:
        if not core.capacity.known(name):
            raise problems.unknown_slot(name)
    slots = dict(image.minimum(shmem))
    slots |= {name: _amount(name, value) for name, value in asked.items() if value is not None}
    return {name: amount for name, amount in slots.items() if amount}  # 0 is none (recording 67)


def _check_minimum(slots: Mapping[str, Decimal], image: LocalImage, shmem: Decimal) -> None:
    minimum = image.minimum(shmem)
    if any(slots.get(name, 0) < least for name, least in minimum.items()):
        least = " ".join(
            f"{name}={format_size(amount) if name == 'mem' else amount}"
            for name, amount in minimum.items()
        )
        raise problems.invalid_params(
            f"kernel_specs[0] resource request is smaller than the image minimum ({least})."
        )


def _amount(name: str, value: Any) -> Decimal:
    try:
        amount = parse_size(str(value)) if name == "mem" else Decimal(str(value))
    except (ConfigError, InvalidOperation):
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise problems.invalid_params(
            f"Invalid resource allocation: Cannot convert the slot {name!r} to decimal: {value!r}"
        )
    if amount < 0:
        raise problems.negative_slot(name, str(value))
    return amount
