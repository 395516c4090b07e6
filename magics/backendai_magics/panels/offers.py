"""What a launcher offers: images, folders, and how far its sliders go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from backendai_kernel import vfolders
from backendai_kernel.errors import APIError, ConfigError
from backendai_kernel.model import Image
from backendai_kernel.protocol import calls
from backendai_kernel.resources import Resources, SlotUse, read_resources
from backendai_kernel.slots import parse_size, parse_slots

from .part_resources import LABELS
from .rows import amount_text

if TYPE_CHECKING:
    from backendai_kernel.client import Client

    from .desk import Message

MIB = 2**20
_SHARED = 64.0  # MiB of shared memory when nobody asks for more (recording 62)
_UNKNOWN_MOST = {"cpu": Decimal(64), "mem": Decimal(256 * 2**30)}
_OTHER_MOST = Decimal(8)
_ENDLESS = Decimal(2**63)  # no slider goes so far, nor does any computer; it stands for no limit
_STEPS = {"cpu": Decimal(1), "mem": Decimal(256 * MIB)}


async def read_choice(client: Client) -> Message:
    """Return what a form offers that seldom changes: images, folders."""
    images = await client.send(calls.list_images())
    try:
        folders = await vfolders.list_folders(client)
    except APIError:
        folders = []  # a server without storage
    return {
        "images": [_image(image) for image in newest_first(images)],
        "folders": sorted({folder.name for folder in folders}),
        "project": client.config.group,
    }


async def read_offer(
    client: Client, project: str, group: str, groups: list[str] | None = None
) -> Message:
    """Return what can be had in a project and a scaling group; of none, any is meant.

    A scaling group that is not the project's counts for none.

    Args:
        groups: The project's scaling groups, where they are known.

    Raises:
        BackendError: As `read_resources`.
    """
    if groups is None:
        try:
            named = await client.send(calls.list_scaling_groups(project or client.config.group))
        except APIError:
            named = ()  # a project that has none: the server decides
        groups = [each.name for each in named]
    where = group if group in groups else None
    known = await read_resources(client, project or None, scaling_group=where)
    place = {"project": known.group, "scaling_group": where or "", "scaling_groups": groups}
    return {**place, **offer_of(known)}


def newest_first(images: Sequence[Image]) -> list[Image]:
    """Return images by name, of each the newest version first, as far as tags tell."""

    def version(image: Image) -> tuple[tuple[int, ...], str]:
        return tuple(map(int, re.findall(r"\d+", image.tag or ""))), image.tag or ""

    newest = sorted(images, key=version, reverse=True)
    return sorted(newest, key=lambda image: image.name)


def _image(image: Image) -> Message:
    weight = image.size_bytes or 0
    size = f"{weight / 1e9:.1f} GB" if weight > 1e8 else ""
    accelerators = image.label("accelerators")
    about = [
        image.label("runtime-type"),
        image.label("base-distro"),
        image.architecture,
        f"for {accelerators.replace(',', ', ')}" if accelerators else "",
        size,
    ]
    least = {slot: _units(slot, amount) for slot, amount in _least(image).items()}
    if "mem" in least:
        least["mem"] += _SHARED  # servers add it to what the image says
    return {
        "reference": image.reference,
        "name": image.name.rpartition("/")[2],
        "tag": image.tag or "",
        "aliases": list(image.aliases),
        "about": " · ".join(filter(None, about)),
        "least": least,
    }


def _least(image: Image) -> dict[str, Decimal]:
    found = {}
    for label in image.labels:
        slot = label.key.removeprefix("ai.backend.resource.min.")
        if slot == label.key or not label.value:
            continue
        try:
            found[slot] = parse_size(label.value) if slot == "mem" else Decimal(label.value)
        except (ConfigError, ArithmeticError):
            continue  # an image that says nonsense has no minimum; the server has the last word
    return found


def offer_of(known: Resources) -> Message:
    """Return what is left, slot by slot, and the presets; amounts in the form's own units."""
    return {
        "slots": [_slot(slot) for slot in known.slots],
        "presets": [
            {
                "name": preset.name,
                "free": preset.allocatable,
                "slots": {
                    slot: _units(slot, amount)
                    for slot, amount in parse_slots(preset.resource_slots).items()
                    if amount.is_finite()
                },
            }
            for preset in known.presets
        ],
    }


def _slot(slot: SlotUse) -> Message:
    name = slot.name
    bounds = [each for each in (slot.left, slot.free) if each is not None and each < _ENDLESS]
    left = max(min(bounds), Decimal(0)) if bounds else None
    most = left if left is not None else _UNKNOWN_MOST.get(name, _OTHER_MOST)
    step = _STEPS.get(name, Decimal("0.1") if name.endswith(".shares") else Decimal(1))
    return {
        "name": name,
        "label": LABELS.get(name, name),
        "step": _units(name, step),
        "most": _units(name, most - most % step),
        "left": left_text(name, left, step),
    }


def left_text(slot: str, left: Decimal | None, step: Decimal) -> str:
    """Return what is left of a slot, as stands beside its slider: ``4 left``."""
    if left is None:
        return "no limit"
    if not left:
        return "none left"
    return f"{amount_text(slot, left)} left{', less than a step' if left < step else ''}"


def _units(slot: str, amount: Decimal) -> float:
    return float(amount / MIB if slot == "mem" else amount)
