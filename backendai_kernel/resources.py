"""What a keypair may use, what it uses, and what is free."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from .client import Client
from .protocol import calls
from .slots import parse_slots


@dataclass(frozen=True, slots=True)
class SlotUse:
    """One resource slot; amounts as in `slots`, ``None`` for no limit or where nobody tells.

    Attributes:
        name: ``cpu``, ``mem``, ``cuda.shares`` …
        limit: What the keypair may use at once.
        used: What its sessions use.
        left: What of the limit is left.
        free: What is free in the scaling group that was asked for, or in the one that has most.
        where: That scaling group.
    """

    name: str
    limit: Decimal | None
    used: Decimal
    left: Decimal | None
    free: Decimal | None
    where: str


@dataclass(frozen=True, slots=True)
class Resources:
    """The slots of a server, and the presets: name → whether it can be had now."""

    group: str
    slots: tuple[SlotUse, ...]
    presets: tuple[calls.Preset, ...]


async def read_resources(
    client: Client, group: str | None = None, *, scaling_group: str | None = None
) -> Resources:
    """Return what may be used and what is free.

    Args:
        group: The project; ``None``: that of the settings.
        scaling_group: Where a session is to run; ``None``: anywhere.

    Raises:
        ConnectError, APIError, ProtocolError: As `Client.send`.

    Source: API reference 9.2; recordings 05 and 68.
    """
    group = group or client.config.group
    return of_check(group, await client.send(calls.check_presets(group, scaling_group)))


def of_check(group: str, check: calls.PresetCheck) -> Resources:
    """Return what a server's answer says of a project."""
    limits, used = parse_slots(check.keypair_limits), parse_slots(check.keypair_using)
    left = parse_slots(check.keypair_remaining)
    free = {name: parse_slots(each.remaining) for name, each in check.scaling_groups.items()}
    names = {*limits, *used, *left, *(slot for each in free.values() for slot in each)}
    slots = []
    for name in sorted(names, key=lambda name: (name not in ("cpu", "mem"), name)):
        offers = [(each[name], where) for where, each in free.items() if name in each]
        most = max(offers, default=(None, ""), key=lambda offer: _or_zero(offer[0]))
        slots.append(
            SlotUse(
                name,
                _told(limits.get(name)),
                _or_zero(used.get(name)),
                _told(left.get(name)),
                _told(most[0]),
                most[1],
            )
        )
    return Resources(group, tuple(slots), check.presets)


def _told(amount: Decimal | None) -> Decimal | None:
    return amount if amount is not None and amount.is_finite() else None


def _or_zero(amount: Decimal | None) -> Decimal:
    return amount if amount is not None and not amount.is_nan() else Decimal(0)
