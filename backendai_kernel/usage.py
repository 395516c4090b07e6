"""What running sessions use of what they were given, and when they end for doing nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from .client import Client
from .expiry import read_deadlines
from .protocol import calls
from .slots import Slots, parse_slots

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Usage:
    """What one session uses at the moment; ``None`` where the server does not tell.

    Attributes:
        name: The session's.
        slots: What it was given: slot → amount.
        cpu: Processors that are busy, 1.5 for one and a half.
        mem: Bytes of memory.
        gpu: Share of its accelerators that is busy, 0 to 1.
        gpu_mem: Bytes of the accelerators' memory.
        ends_at: Seconds since the epoch when the first idle check ends it, 0 for never.
        read_at: Seconds since the epoch when all of this was so, 0 where nobody has asked.
    """

    name: str = ""
    slots: Slots = field(default_factory=dict)
    cpu: float | None = None
    mem: int | None = None
    gpu: float | None = None
    gpu_mem: int | None = None
    ends_at: int = 0
    read_at: float = 0.0

    @property
    def text(self) -> str:
        """Return it in one line, rounded so that it does not waver: ``0.3 CPU · 210 MiB``."""
        words = []
        if self.cpu is not None:
            words.append(f"{self.cpu:.1f} CPU")
        if self.mem is not None:
            words.append(_memory(self.mem))
        if self.gpu is not None:
            words.append(f"GPU {self.gpu:.0%}")
        return " · ".join(words)


def _memory(size: int) -> str:
    if size < 1000 * _MIB:
        return f"{round(size / _MIB, -1):.0f} MiB"
    return f"{size / 2**30:.1f} GiB"


async def read_usage(
    client: Client, *, limit: int = 100, access_key: str | None = None
) -> dict[str, Usage]:
    """Return session id → what it uses, of at most *limit* (up to 100) running sessions.

    Args:
        access_key: Whose sessions; ``None``: our own.

    Raises:
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    key = access_key or await client.access_key()
    page = await client.send(calls.list_usage(limit=limit, access_key=None if key == "*" else key))
    now = time.time()
    return {each.id: _usage(each, now) for each in page}


def _usage(told: calls.ToldUsage, now: float) -> Usage:
    cpu = mem = gpu = gpu_mem = None
    for container in told.containers or ():
        stats = _read(container.live_stat)
        cpu = _sum(cpu, _scaled(_figure(stats, "cpu_util", "current"), 100))
        mem = _sum(mem, _figure(stats, "mem", "current"))
        for name in stats:
            if name.endswith("_util") and name != "cpu_util":
                share = _figure(stats, name, "pct")
                gpu = max(filter(None, (gpu, _scaled(share, 100))), default=gpu)
            elif name.endswith("_mem"):
                gpu_mem = _sum(gpu_mem, _figure(stats, name, "current"))
    return Usage(
        told.name,
        parse_slots(_read(told.occupying_slots)),
        cpu,
        None if mem is None else int(mem),
        gpu,
        None if gpu_mem is None else int(gpu_mem),
        _ends_at(told.idle_checks, now),
        now,
    )


def _ends_at(idle_checks: str | None, now: float) -> int:
    deadlines = read_deadlines(idle_checks)
    return int(now + deadlines[0].seconds) if deadlines else 0


def _read(text: str | None) -> Mapping[str, Any]:
    try:
        told = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}  # some servers cut it; it is only a figure in a table
    return told if isinstance(told, dict) else {}


def _figure(stats: Mapping[str, Any], name: str, key: str) -> float | None:
    entry = stats.get(name)
    try:
        amount = Decimal(str(entry[key])) if isinstance(entry, dict) else None
    except (KeyError, InvalidOperation):
        return None
    is_amount = amount is not None and amount.is_finite() and amount.adjusted() < 36
    return float(amount) if amount is not None and is_amount else None


def _scaled(figure: float | None, divisor: float) -> float | None:
    return None if figure is None else figure / divisor


def _sum(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other
