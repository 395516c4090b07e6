"""The server itself, and what it has to give: version, slots, limits, folders, scaling groups."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from ... import model
from .base import Call


def get_version() -> Call[model.ServerVersion]:
    """Ask for the server's API version and release; anybody may."""
    return Call(
        "GET", "/", model.ServerVersion, what="Asking for the version", is_read=True, signed=False
    )


def get_slot_types() -> Call[dict[str, str]]:
    """Ask which resource slots there are: name → ``count`` or ``bytes``."""
    return Call(
        "GET",
        "/config/resource-slots",
        dict[str, str],
        what="Asking for the resource slots",
        is_read=True,
    )


class ScalingGroupUse(msgspec.Struct, frozen=True):
    """What a scaling group's sessions use, and what is free: slot name → decimal string."""

    using: dict[str, Any] = {}
    remaining: dict[str, Any] = {}


class Preset(msgspec.Struct, frozen=True):
    """Resources under a name, and whether they can be had now."""

    name: str = ""
    resource_slots: dict[str, Any] = {}
    shared_memory: Any = None
    allocatable: bool = False


class PresetCheck(msgspec.Struct, frozen=True):
    """What the keypair may have and has: slot name → decimal string, ``Infinity`` for no limit."""

    keypair_limits: dict[str, Any] = {}
    keypair_using: dict[str, Any] = {}
    keypair_remaining: dict[str, Any] = {}
    scaling_groups: dict[str, ScalingGroupUse] = {}
    presets: tuple[Preset, ...] = ()


def check_presets(group: str, scaling_group: str | None = None) -> Call[PresetCheck]:
    """Ask for limits, use and rest of the keypair and of the scaling groups (9.2).

    Args:
        group: A project.
        scaling_group: The only one to look at; ``None``: all that the project's sessions may use.
    """
    where = {} if scaling_group is None else {"scaling_group": scaling_group}
    return Call(
        "POST",
        "/resource/check-presets",
        PresetCheck,
        {"group": group} | where,
        what="Asking what is free",
        is_read=True,
    )


class Named(msgspec.Struct, frozen=True):
    """Something of which only the name matters."""

    name: str


def list_scaling_groups(group: str) -> Call[tuple[Named, ...]]:
    """List the scaling groups that a project's sessions may run in (9.2)."""
    return Call(
        "GET",
        f"/scaling-groups?{urlencode({'group': group})}",
        tuple[Named, ...],
        inside=("scaling_groups",),
        what="Listing the scaling groups",
        is_read=True,
    )
