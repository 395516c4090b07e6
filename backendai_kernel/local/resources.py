"""Slots, presets, scaling groups, and the small answers that clients ask for on their way."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from ..slots import format_amount
from . import problems
from .auth import KeyPair
from .core import GROUP, SCALING_GROUP, Core, answer, json_body, keypair, params
from .scheduler import SHARES, SLOT_TYPES, usage

_GIB = Decimal(2**30)
_PRESETS: dict[str, dict[str, Decimal]] = {
    "small": {"cpu": Decimal(1), "mem": _GIB},
    "gpu-half": {"cpu": Decimal(1), "mem": _GIB, SHARES: Decimal("0.5")},
}


async def version(core: Core, request: web.Request) -> web.Response:
    """Tell the version, to anybody."""
    return answer({"version": core.release.api_version, "manager": core.release.manager})


async def auth_test(core: Core, request: web.Request) -> web.Response:
    """Say that the keypair is good, and echo (API reference 2.10)."""
    keypair(request)
    given = await params(request)
    return answer({"authorized": "yes", "echo": str(given.get("echo", ""))})


async def role(core: Core, request: web.Request) -> web.Response:
    who = keypair(request)
    roles = ("superadmin", "admin") if who.is_admin else ("user", "user")
    return answer({"global_role": roles[0], "domain_role": roles[1], "group_role": None})


async def announcement(core: Core, request: web.Request) -> web.Response:
    keypair(request)
    return answer({"enabled": False, "message": ""})


async def slot_types(core: Core, request: web.Request) -> web.Response:
    keypair(request)
    return answer({name: SLOT_TYPES[name] for name in core.capacity.total})


async def slot_details(core: Core, request: web.Request) -> web.Response:
    """Describe each slot for people; a GPU that is none says so."""
    keypair(request)
    return answer({name: _details(core, name) for name in core.capacity.total})


def _details(core: Core, name: str) -> dict[str, Any]:
    simulated = " (simulated)" if core.has_simulated_gpus else ""
    human, description, unit, icon = {
        "cpu": ("CPU", "CPU", "Core", "cpu"),
        "mem": ("RAM", "Memory", "GiB", "ram"),
        SHARES: (f"Fractional GPU{simulated}", f"Shares of a CUDA GPU{simulated}", "fGPU", "gpu1"),
    }[name]
    return {
        "slot_name": name,
        "description": description,
        "human_readable_name": human,
        "display_unit": unit,
        "number_format": {"binary": name == "mem", "round_length": 2 if name == SHARES else 0},
        "display_icon": icon,
    }


def presets(core: Core) -> list[dict[str, Any]]:
    """Return the presets that this computer's slots allow, amounts as text, memory in bytes."""
    known = [SHARES] if core.capacity.known(SHARES) else []
    return [
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"preset:{name}")),
            "name": name,
            "shared_memory": None,
            "resource_slots": {
                **{slot: format_amount(amount) for slot, amount in slots.items()},
                **{slot: "0" for slot in known if slot not in slots},
            },
        }
        for name, slots in sorted(_PRESETS.items())
        if all(core.capacity.known(slot) for slot in slots)
    ]


async def list_presets(core: Core, request: web.Request) -> web.Response:
    keypair(request)
    return answer({"presets": presets(core)})


async def check_presets(core: Core, request: web.Request) -> web.Response:
    """Tell what the keypair may still use and which presets fit (recordings 05 and 68)."""
    who = keypair(request)
    given = await json_body(request)
    if given.get("group") != GROUP:
        raise problems.no_such_project(str(given.get("group")), core.release)
    scaling_group = given.get("scaling_group")
    if scaling_group not in (None, SCALING_GROUP):
        raise problems.no_such_scaling_group(str(scaling_group), core.release)
    free, remaining = _remaining(core, who)
    used = usage(r for r in core.registry if r.owner.access_key == who.access_key)
    allowed = {name: min(free[name], remaining.get(name, free[name])) for name in free}
    hidden = {name: "NaN" for name in free}
    limits = who.policy.total_resource_slots
    return answer(
        {
            "presets": [
                preset | {"allocatable": _fits(preset["resource_slots"], allowed)}
                for preset in presets(core)
            ],
            "keypair_limits": {
                name: "Infinity" if limits is None else _text(limits.get(name, Decimal(0)))
                for name in free
            },
            # Only what sessions use, and every slot when there is no session (recording 05).
            "keypair_using": {name: _text(amount) for name, amount in used.items()}
            or dict.fromkeys(free, "0"),
            "keypair_remaining": {
                name: "Infinity" if limits is None else _text(remaining[name]) for name in free
            },
            "group_limits": hidden,
            "group_using": hidden,
            "group_remaining": hidden,
            "scaling_group_remaining": {name: _text(amount) for name, amount in allowed.items()},
            "scaling_groups": {
                SCALING_GROUP: {
                    "using": {name: _text(used.get(name, Decimal(0))) for name in free},
                    "remaining": {name: _text(amount) for name, amount in allowed.items()},
                }
            },
        }
    )


def _remaining(core: Core, who: KeyPair) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Return what the computer has left, and what the keypair's policy leaves of it."""
    free = core.capacity.free()
    limits = who.policy.total_resource_slots
    if limits is None:
        return free, {}
    used = usage(r for r in core.registry if r.owner.access_key == who.access_key)
    return free, {name: limits.get(name, Decimal(0)) - used.get(name, Decimal(0)) for name in free}


def _fits(slots: Mapping[str, str], allowed: Mapping[str, Decimal]) -> bool:
    return all(Decimal(amount) <= allowed[name] for name, amount in slots.items())


def _text(amount: Decimal) -> str:
    return format_amount(amount)


async def scaling_groups(core: Core, request: web.Request) -> web.Response:
    keypair(request)
    return answer({"scaling_groups": [{"name": SCALING_GROUP}]})


async def vfolder_types(core: Core, request: web.Request) -> web.Response:
    keypair(request)
    return answer(["user", "group"])
