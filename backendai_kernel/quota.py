"""Why a session waits in the queue: what was asked for against what there is.

A server takes requests that can never be fulfilled and leaves them ``PENDING`` without a word
(surprise 14; recordings 62, 63, 67, 68). What it knows can be asked: ``POST
/resource/check-presets`` tells the keypair's limits and use, and the cluster's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from .client import Client
from .errors import QuotaExceeded
from .protocol import calls
from .slots import format_slots, parse_slots

_FINEST = Decimal("0.1")  # of a device


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a session waits for (``note``), or the error that it will never start."""

    note: str = ""
    error: QuotaExceeded | None = None


async def why_pending(
    client: Client, slots: Mapping[str, Decimal], group: str | None = None
) -> Verdict:
    """Compare a request with the limits.

    Args:
        slots: Slot name → amount; memory in bytes.
        group: The project; ``None``: that of the settings.

    Raises:
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    known = await client.send(calls.check_presets(group or client.config.group))
    limits, remaining = parse_slots(known.keypair_limits), parse_slots(known.keypair_remaining)
    if over := _over(slots, limits):
        return _never(f"you may have {format_slots(over)} at the most", slots)
    totals = [
        {
            name: remaining_of.get(name, Decimal(0)) + using.get(name, Decimal(0))
            for name in {*using, *remaining_of}
        }
        for group in known.scaling_groups.values()
        for using, remaining_of in [(parse_slots(group.using), parse_slots(group.remaining))]
    ]
    if totals and all(_over(slots, total) for total in totals):
        most = max(totals, key=lambda total: -len(_over(slots, total)))
        return _never(f"this cluster has {format_slots(_over(slots, most))}", slots)
    if over := _over(slots, remaining):
        left = format_slots(over)
        return Verdict(f"Of your quota {left} is left: end a session that you no longer need.")
    return Verdict("The cluster is busy: the session starts when resources are free.")


def why_creating(slots: Mapping[str, Decimal]) -> Verdict:
    """Tell of a session that an agent has been making for longer than usual.

    Agents give out a device's shares by the tenth and round down without a word; a session that
    gets nothing stays ``CREATING`` for ever (surprise 29; recording 67).

    Args:
        slots: Slot name → amount, as it was asked for.
    """
    for name, amount in slots.items():
        if name.endswith(".shares") and amount < _FINEST:
            return _never(f"{name} is given out by the tenth", slots, "more")
    return Verdict("Its agent takes longer than usual; you may call it off with Interrupt.")


def _over(slots: Mapping[str, Decimal], limits: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return the limits that a request goes beyond; hidden ones (NaN) do not count."""
    return {
        name: limits[name]
        for name, amount in slots.items()
        if name in limits and not limits[name].is_nan() and amount > limits[name]
    }


def _never(reason: str, slots: Mapping[str, Decimal], other: str = "less") -> Verdict:
    return Verdict(
        error=QuotaExceeded(
            f"A session with {format_slots(slots)} can never start: {reason}.",
            status=412,
            slug="quota-exceeded",
            hint=f"Ask for {other} with -r, in `%bai run` or in `backendai-kernel install`.",
        )
    )
