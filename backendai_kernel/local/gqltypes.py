"""The GraphQL types that are served: for each field, how its value is worked out.

Source: API reference 8.3 and 8.4; recordings 02, 04, 05, 65.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import psutil

from ..model import SessionStatus
from ..slots import format_amount
from . import idle
from .auth import KeyPair
from .core import AGENT, DOMAIN, GROUP, GROUP_ID, SCALING_GROUP, Core, container_id
from .creation import raw_ports
from .images import LocalImage
from .livestat import live_stat
from .sessions import SessionRecord

Getter = Callable[[Core, Any], Any]


@dataclass(frozen=True)
class Type:
    """A type: its name, field name → how its value is worked out, and its fields with fields."""

    name: str
    fields: Mapping[str, Getter]
    inner: Mapping[str, Type] = field(default_factory=dict)


def _folder_ids(record: SessionRecord) -> list[str]:
    named = [part for place in record.wanted.mounts.values() for part in place.parts[-2:]]
    return [str(UUID(part)) for part in named if re.fullmatch("[0-9a-f]{32}", part)]


def time(when: datetime | None) -> str | None:
    return when.isoformat() if when is not None else None


def amounts(slots: Mapping[str, Decimal]) -> str:
    """Return slots as GraphQL has them: JSON text, every amount a string."""
    return json.dumps({name: format_amount(amount) for name, amount in slots.items()})


def _agents(record: SessionRecord) -> list[str]:
    return [AGENT] if record.allocated else []


def _container_status(record: SessionRecord) -> str:
    """Return the session's status; one that cannot be created stays behind it (recording 67)."""
    if record.status is SessionStatus.CREATING and record.container is None:
        return SessionStatus.PREPARED.value
    return record.status.value


_CONTAINER: dict[str, Callable[[Core, SessionRecord], Any]] = {
    "id": lambda c, s: s.kernel_id,
    "idx": lambda c, s: 0,
    "role": lambda c, s: "COMPUTE",
    "hostname": lambda c, s: "main1",
    "cluster_idx": lambda c, s: 1,
    "local_rank": lambda c, s: 0,
    "cluster_role": lambda c, s: "main",
    "cluster_hostname": lambda c, s: "main1",
    "session_id": lambda c, s: s.id,
    "image": lambda c, s: s.wanted.image.reference,
    "architecture": lambda c, s: s.wanted.image.architecture,
    "registry": lambda c, s: s.wanted.image.registry,
    "status": lambda c, s: _container_status(s),
    "status_changed": lambda c, s: time(s.status_changed),
    "status_info": lambda c, s: s.status_info,
    "status_data": lambda c, s: None,
    "created_at": lambda c, s: time(s.created_at),
    "terminated_at": lambda c, s: time(s.terminated_at),
    "starts_at": lambda c, s: time(s.starts_at),
    "scheduled_at": lambda c, s: time(s.history.get("SCHEDULED")),
    "abusing_report": lambda c, s: None,
    "agent": lambda c, s: AGENT if s.allocated else None,
    "agent_addr": lambda c, s: None,
    "container_id": lambda c, s: container_id(s),
    "resource_opts": lambda c, s: json.dumps({"shmem": int(s.wanted.shmem)}),
    "occupied_slots": lambda c, s: amounts(s.held),
    "live_stat": lambda c, s: live_stat(s),
    "last_stat": lambda c, s: None,
    "preopen_ports": lambda c, s: list(s.wanted.preopen_ports),
}
CONTAINER = Type("ComputeContainer", _CONTAINER)

_SESSION: dict[str, Callable[[Core, SessionRecord], Any]] = {
    "id": lambda c, s: s.id,
    "session_id": lambda c, s: s.id,
    "main_kernel_id": lambda c, s: s.kernel_id,
    "tag": lambda c, s: s.wanted.tag,
    "name": lambda c, s: s.name,
    "type": lambda c, s: s.wanted.type,
    "main_kernel_role": lambda c, s: "COMPUTE",
    "priority": lambda c, s: s.wanted.priority,
    "image": lambda c, s: s.wanted.image.reference,
    "architecture": lambda c, s: s.wanted.image.architecture,
    "registry": lambda c, s: s.wanted.image.registry,
    "cluster_template": lambda c, s: None,
    "cluster_mode": lambda c, s: "single-node",
    "cluster_size": lambda c, s: 1,
    "domain_name": lambda c, s: DOMAIN,
    "group_name": lambda c, s: GROUP,
    "group_id": lambda c, s: GROUP_ID,
    "user_email": lambda c, s: s.owner.user_id,
    "full_name": lambda c, s: s.owner.full_name,
    "user_id": lambda c, s: s.owner.user_uuid,
    "access_key": lambda c, s: s.owner.access_key,
    "created_user_email": lambda c, s: s.owner.user_id,
    "created_user_id": lambda c, s: s.owner.user_uuid,
    "status": lambda c, s: s.status.value,
    "status_changed": lambda c, s: time(s.status_changed),
    "status_info": lambda c, s: s.status_info,
    "status_data": lambda c, s: None,
    "status_history": lambda c, s: json.dumps({k: v.isoformat() for k, v in s.history.items()}),
    "created_at": lambda c, s: time(s.created_at),
    "terminated_at": lambda c, s: time(s.terminated_at),
    "starts_at": lambda c, s: time(s.starts_at),
    "scheduled_at": lambda c, s: time(s.history.get("SCHEDULED")),
    "startup_command": lambda c, s: s.wanted.startup_command,
    "result": lambda c, s: s.result,
    "commit_status": lambda c, s: "ready",
    "abusing_reports": lambda c, s: [],
    "idle_checks": lambda c, s: json.dumps(idle.report(s)),
    "agent_ids": lambda c, s: _agents(s),
    "agents": lambda c, s: _agents(s),
    "resource_opts": lambda c, s: json.dumps({"main1": {"shmem": int(s.wanted.shmem)}}),
    "scaling_group": lambda c, s: SCALING_GROUP,
    "service_ports": lambda c, s: json.dumps(raw_ports(s)),
    "mounts": lambda c, s: [name.rpartition("/")[2] for name in s.wanted.mounts],
    "vfolder_mounts": lambda c, s: _folder_ids(s),
    "occupying_slots": lambda c, s: amounts(s.occupied),
    "occupied_slots": lambda c, s: amounts(s.occupied),
    "requested_slots": lambda c, s: amounts(s.wanted.slots),
    "num_queries": lambda c, s: 0,
    "containers": lambda c, s: [s],
    "dependencies": lambda c, s: [],
    "inference_metrics": lambda c, s: "{}",
}
_DEPENDENCY = Type("ComputeSession", _SESSION)
SESSION = Type("ComputeSession", _SESSION, {"containers": CONTAINER, "dependencies": _DEPENDENCY})

SESSION_FILTERS = (
    "id type name image agent_ids agent_id agents domain_name group_name user_email full_name "
    "access_key scaling_group cluster_mode cluster_size status status_info result created_at "
    "terminated_at starts_at scheduled_at startup_command user_id"
).split()

_KEYPAIR: dict[str, Callable[[Core, KeyPair], Any]] = {
    "user_id": lambda c, k: k.user_id,
    "full_name": lambda c, k: k.full_name,
    "access_key": lambda c, k: k.access_key,
    "secret_key": lambda c, k: k.secret_key,
    "is_active": lambda c, k: True,
    "is_admin": lambda c, k: k.is_admin,
    "resource_policy": lambda c, k: k.policy.name,
    "created_at": lambda c, k: time(c.started),
    "last_used": lambda c, k: None,
    "rate_limit": lambda c, k: k.policy.rate_limit,
    "num_queries": lambda c, k: 0,
    "rolling_count": lambda c, k: 0,
    "user": lambda c, k: k.user_uuid,
    "projects": lambda c, k: [GROUP],
    "concurrency_used": lambda c, k: len([s for s in c.registry.alive() if s.owner == k]),
}
KEYPAIR = Type("KeyPair", _KEYPAIR)

KEY_VALUE = Type("KVPair", {"key": lambda c, v: v[0], "value": lambda c, v: v[1]})
RESOURCE_LIMIT = Type(
    "ResourceLimit",
    {"key": lambda c, v: v[0], "min": lambda c, v: v[1], "max": lambda c, v: v[2]},
)

_IMAGE: dict[str, Callable[[Core, LocalImage], Any]] = {
    "id": lambda c, i: i.reference,
    "name": lambda c, i: i.name,
    "namespace": lambda c, i: i.name,
    "base_image_name": lambda c, i: i.name,
    "humanized_name": lambda c, i: (
        "Python of this computer" + (" (GPUs are simulated)" if c.has_simulated_gpus else "")
    ),
    "project": lambda c, i: "",
    "tag": lambda c, i: i.tag,
    "tags": lambda c, i: [],
    "version": lambda c, i: i.tag.partition("-")[0],
    "registry": lambda c, i: i.registry,
    "architecture": lambda c, i: i.architecture,
    "is_local": lambda c, i: True,
    "digest": lambda c, i: None,
    "labels": lambda c, i: list(i.labels.items()),
    "aliases": lambda c, i: list(i.aliases),
    "size_bytes": lambda c, i: i.size,
    "status": lambda c, i: "ALIVE",
    "resource_limits": lambda c, i: [("cpu", "1", None), ("mem", "256m", None)],
    "supported_accelerators": lambda c, i: ["cuda"],
    "installed": lambda c, i: True,
    "installed_agents": lambda c, i: [AGENT],
    "hash": lambda c, i: None,
}
IMAGE = Type("Image", _IMAGE, {"labels": KEY_VALUE, "resource_limits": RESOURCE_LIMIT})

_GROUP: dict[str, Callable[[Core, Any], Any]] = {
    "id": lambda c, g: GROUP_ID,
    "name": lambda c, g: GROUP,
    "description": lambda c, g: "The one project of the embedded manager",
    "is_active": lambda c, g: True,
    "created_at": lambda c, g: time(c.started),
    "domain_name": lambda c, g: DOMAIN,
    "total_resource_slots": lambda c, g: "{}",
    "allowed_vfolder_hosts": lambda c, g: "{}",
}
GROUPS = Type("Group", _GROUP)

_SCALING_GROUP: dict[str, Callable[[Core, Any], Any]] = {
    "name": lambda c, g: SCALING_GROUP,
    "description": lambda c, g: "This computer",
    "is_active": lambda c, g: True,
    "is_public": lambda c, g: True,
    "created_at": lambda c, g: time(c.started),
    "driver": lambda c, g: "static",
    "scheduler": lambda c, g: "fifo",
    "agent_total_resource_slots_by_status": lambda c, g: json.dumps(
        {
            "occupied_slots": json.loads(amounts(c.capacity.used)),
            "available_slots": json.loads(amounts(c.capacity.total)),
        }
    ),
}
SCALING_GROUPS = Type("ScalingGroup", _SCALING_GROUP)

_AGENT: dict[str, Callable[[Core, Any], Any]] = {
    "id": lambda c, a: AGENT,
    "status": lambda c, a: "ALIVE",
    "architecture": lambda c, a: next(iter(c.images)).architecture,
    "scaling_group": lambda c, a: SCALING_GROUP,
    "region": lambda c, a: "local",
    "first_contact": lambda c, a: time(c.started),
    "cpu_cur_pct": lambda c, a: psutil.cpu_percent() * float(c.capacity.total["cpu"]),
    "mem_cur_bytes": lambda c, a: float(psutil.virtual_memory().used),
    "available_slots": lambda c, a: amounts(c.capacity.total),
    "occupied_slots": lambda c, a: amounts(c.capacity.used),
    "compute_plugins": lambda c, a: json.dumps(_plugins(c)),
    "version": lambda c, a: c.release.manager,
}
AGENTS = Type("Agent", _AGENT)


def _plugins(core: Core) -> dict[str, Any]:
    version = core.release.manager
    plugins: dict[str, Any] = {"cpu": {"version": version}, "mem": {"version": version}}
    if core.has_simulated_gpus:
        plugins["cuda"] = {"version": version, "simulated": True}
    return plugins


PRESET = Type(
    "ResourcePreset",
    {
        "id": lambda c, p: p["id"],
        "name": lambda c, p: p["name"],
        "resource_slots": lambda c, p: json.dumps(
            {slot: amount for slot, amount in p["resource_slots"].items() if amount != "0"}
        ),
        "shared_memory": lambda c, p: p["shared_memory"],
    },
)

_USER_GROUP = Type("UserGroup", {"id": lambda c, g: GROUP_ID, "name": lambda c, g: GROUP})
_USER: dict[str, Callable[[Core, KeyPair], Any]] = {
    "id": lambda c, k: k.user_uuid,
    "uuid": lambda c, k: k.user_uuid,
    "username": lambda c, k: k.full_name,
    "email": lambda c, k: k.user_id,
    "full_name": lambda c, k: k.full_name,
    "domain_name": lambda c, k: DOMAIN,
    "role": lambda c, k: "superadmin" if k.is_admin else "user",
    "status": lambda c, k: "active",
    "is_active": lambda c, k: True,
    "need_password_change": lambda c, k: False,
    "main_access_key": lambda c, k: k.access_key,
    "groups": lambda c, k: [k],
}
USER = Type("User", _USER, {"groups": _USER_GROUP})

_FOLDER_FIELDS = (
    "id host quota_scope_id name user user_email group group_name creator unmanaged_path "
    "usage_mode permission ownership_type max_files max_size created_at last_used num_files "
    "cur_size cloneable status"
).split()


def _folder_field(name: str) -> Getter:
    return lambda core, row: row.get(name)


FOLDER = Type("VirtualFolder", {name: _folder_field(name) for name in _FOLDER_FIELDS})
