"""Quota, use and what is free, and what each running session uses of what it was given."""

from __future__ import annotations

import asyncio
from collections import deque
from decimal import Decimal
from typing import Any

from backendai_kernel.client import Client
from backendai_kernel.errors import BackendError
from backendai_kernel.resources import Resources as Known
from backendai_kernel.resources import read_resources
from backendai_kernel.usage import Usage, read_usage

from .desk import Desk, Message, Part, Verb
from .rows import amount_text

_LOOK = 10.0  # seconds between two figures of a sparkline
_QUOTA_EVERY = 3  # looks
_KEPT = 60  # figures of a sparkline: ten minutes
_MOST = 100  # running sessions with a sparkline, the newest: what one request gives
_AGAIN = 10.0

LABELS = {"cpu": "CPU", "mem": "Memory", "cuda.shares": "GPU shares", "cuda.device": "GPUs"}
"""Slot → what people call it; another accelerator goes by its own name."""


class Resources(Part):
    """Looks at the limits and at the running sessions while it is shown."""

    name = "resources"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._slots: list[Message] = []
        self._group = ""
        self._usage: dict[str, Usage] = {}
        self._past: dict[str, deque[list[float | None]]] = {}
        self._is_read = False

    @property
    def verbs(self) -> dict[str, Verb]:
        return {"refresh": self._refresh}

    def greet(self) -> None:
        if self._is_read:
            self.tell(**self._whole())

    def _whole(self) -> Message:
        return {
            "slots": self._slots,
            "group": self._group,
            "every": _LOOK,
            "newest": _MOST if len(self._usage) >= _MOST else 0,  # 0: there are no others
            "sessions": [
                {**_session(session_id, usage), "past": list(self._past[session_id])}
                for session_id, usage in self._usage.items()
            ],
        }

    async def wake(self) -> None:
        looks = 0
        while True:
            try:
                await self.use(self._read_all if looks % _QUOTA_EVERY == 0 else self._read_usage)
                self.show_problem(None)
                looks += 1
                await asyncio.sleep(_LOOK)
            except BackendError as exc:
                self.show_problem(exc)
                await asyncio.sleep(_AGAIN)

    async def _refresh(self, intent: Message) -> None:
        await self.use(self._read_all)
        self.show_problem(None)

    async def _read_all(self, client: Client) -> None:
        known = await read_resources(client, None)
        slots = slot_facts(known)
        if slots != self._slots or not self._is_read:
            self._slots, self._group = slots, known.group
            self.tell(slots=slots, group=known.group)
        await self._read_usage(client)

    async def _read_usage(self, client: Client) -> None:
        usage = await read_usage(client, limit=_MOST)
        same = usage.keys() == self._usage.keys() and self._is_read
        for session_id in self._past.keys() - usage.keys():
            del self._past[session_id]
        figures = {}
        for session_id, each in usage.items():
            now = [each.cpu, each.mem, each.gpu]
            self._past.setdefault(session_id, deque(maxlen=_KEPT)).append(now)
            if any(figure is not None for figure in now):
                figures[session_id] = now
        self._usage, self._is_read = usage, True
        if not same:
            self.tell(**self._whole())
        elif figures:
            self.tell(figures=figures)


def _session(session_id: str, usage: Usage) -> Message:
    gpus = sum(
        (amount for slot, amount in usage.slots.items() if slot not in ("cpu", "mem")), Decimal(0)
    )
    return {
        "id": session_id,
        "name": usage.name,
        "cpu": float(usage.slots.get("cpu", 0)),
        "mem": int(usage.slots.get("mem", 0)),
        "gpu": float(gpus),
    }


def slot_facts(known: Known) -> list[Message]:
    """Return slots as a page shows them: words for people, and a share of the limit, 0 to 1."""
    return [_fact(slot) for slot in known.slots]


def _fact(slot: Any) -> Message:
    name = slot.name
    limit = slot.limit
    most = limit if limit is not None else _sum(slot.used, slot.free)
    return {
        "name": name,
        "label": LABELS.get(name, name),
        "used": amount_text(name, slot.used),
        "limit": amount_text(name, limit),
        "left": amount_text(name, slot.left),
        "free": amount_text(name, slot.free, none=""),
        "where": slot.where,
        "share": float(min(slot.used / most, Decimal(1))) if most else 0.0,
    }


def _sum(one: Decimal, other: Decimal | None) -> Decimal:
    return one if other is None else one + other
