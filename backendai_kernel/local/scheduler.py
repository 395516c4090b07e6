"""Who may start: the slots of this computer, its simulated devices, and each keypair's policy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from decimal import ROUND_DOWN, Decimal

import psutil

from .auth import KeyPairPolicy
from .sessions import SessionRecord

SHARES = "cuda.shares"
_STEP = Decimal("0.1")

SLOT_TYPES: dict[str, str] = {"cpu": "count", "mem": "bytes", SHARES: "count"}
"""Slot name → what it counts, as ``GET /config/resource-slots`` answers."""


def machine_slots(gpus: int) -> dict[str, Decimal]:
    """Return what this computer offers: its cores, its memory in bytes, and *gpus* simulated GPUs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    slots = {"cpu": Decimal(cores or 1), "mem": Decimal(psutil.virtual_memory().total)}
    if gpus:
        slots[SHARES] = Decimal(gpus)
    return slots


class Capacity:
    """The slots of this computer and what of them is taken.

    A device gives tenths of itself: what is asked for is rounded down to 0.1 on each device
    without a word (surprise 29; recordings 04 and 67).
    """

    def __init__(self, total: Mapping[str, Decimal]) -> None:
        self.total = dict(total)
        self.used = {name: Decimal(0) for name in total}
        self._devices = {index: Decimal(1) for index in range(int(total.get(SHARES, 0)))}

    def known(self, name: str) -> bool:
        return name in self.total

    def free(self) -> dict[str, Decimal]:
        return {name: self.total[name] - self.used[name] for name in self.total}

    def fits(self, wanted: Mapping[str, Decimal]) -> bool:
        """There is room for *wanted* now."""
        free = self.free()
        if any(amount > free.get(name, Decimal(0)) for name, amount in wanted.items()):
            return False
        return self._place(wanted.get(SHARES, Decimal(0))) is not None

    def take(self, record: SessionRecord) -> None:
        """Give a session what it asked for; `fits` has said that there is room."""
        allocated = dict(record.wanted.slots)
        devices = self._place(allocated.get(SHARES, Decimal(0))) or {}
        if SHARES in allocated:
            allocated[SHARES] = sum(devices.values(), Decimal(0))
        for name, amount in allocated.items():
            self.used[name] += amount
        for index, amount in devices.items():
            self._devices[index] -= amount
        record.allocated = allocated
        record.devices = devices

    def give_back(self, record: SessionRecord) -> None:
        for name, amount in record.allocated.items():
            self.used[name] -= amount
        for index, amount in record.devices.items():
            self._devices[index] += amount
        record.devices = {}

    def _place(self, shares: Decimal) -> dict[int, Decimal] | None:
        """Spread shares evenly over as few devices as can hold them; ``None``: no room."""
        if not shares:
            return {}
        by_room = sorted(self._devices.items(), key=lambda item: (-item[1], item[0]))
        for count in range(1, len(by_room) + 1):
            each = (shares / count).quantize(_STEP, rounding=ROUND_DOWN)
            chosen = by_room[:count]
            if shares / count <= 1 and all(room >= each for _, room in chosen):
                return {index: each for index, _ in sorted(chosen)}
        return None


def within_policy(
    policy: KeyPairPolicy, wanted: Mapping[str, Decimal], used: Mapping[str, Decimal]
) -> bool:
    """Whether a policy lets *wanted* start beside what its keypair uses already."""
    limits = policy.total_resource_slots
    if limits is None:
        return True
    return all(
        used.get(name, Decimal(0)) + amount <= limits.get(name, Decimal(0))
        for name, amount in wanted.items()
        if amount
    )


def usage(records: Iterable[SessionRecord]) -> dict[str, Decimal]:
    """Return slot name → what these sessions take together."""
    total: dict[str, Decimal] = {}
    for record in records:
        if record.holds_slots:
            for name, amount in record.allocated.items():
                total[name] = total.get(name, Decimal(0)) + amount
    return total
