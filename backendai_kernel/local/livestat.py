"""What the processes of a session use, as an agent tells it: JSON text under ``live_stat``.

A figure is an object of strings: ``current``, ``capacity`` and ``pct`` (API reference 8.3). The use
of the processor is that since the question before, as long as that was about this container.
"""

from __future__ import annotations

import json
import time
from weakref import WeakKeyDictionary

import psutil

from .agent import Container
from .processes import members
from .sessions import SessionRecord

_before: WeakKeyDictionary[Container, tuple[float, float]] = WeakKeyDictionary()


def live_stat(record: SessionRecord) -> str | None:
    """Return what a running session uses; ``None`` for one that does not run."""
    container = record.container
    if container is None or not record.status.is_running:
        return None
    cpu, memory = _used(record.kernel_id, container.pid)
    now = time.monotonic()
    since, spent = _before.get(container, (now, cpu))
    _before[container] = (now, cpu)
    share = max(0.0, (cpu - spent) / (now - since)) * 100 if now > since else 0.0
    cores = float(record.occupied.get("cpu", 1))
    limit = float(record.occupied.get("mem", 0))
    return json.dumps(
        {
            "cpu_util": _figure(share, cores * 100, "percent"),
            "cpu_used": _figure(cpu * 1000, None, "msec"),
            "mem": _figure(memory, limit, "bytes"),
        }
    )


def _used(kernel_id: str, runner: int) -> tuple[float, float]:
    """Return the seconds of a processor that live processes have used, and the bytes they hold."""
    cpu = memory = 0.0
    for pid in members(kernel_id, runner):
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            cpu += times.user + times.system
            memory += process.memory_info().rss
        except psutil.Error:
            continue  # it ended while we looked
    return cpu, memory


def _figure(current: float, capacity: float | None, unit: str) -> dict[str, str | None]:
    share = current / capacity * 100 if capacity else 0.0
    return {
        "current": f"{current:.3f}".rstrip("0").rstrip("."),
        "capacity": None if capacity is None else f"{capacity:.0f}",
        "pct": f"{share:.2f}",
        "unit_hint": unit,
    }
