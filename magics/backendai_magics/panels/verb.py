"""``%bai panel``."""

from __future__ import annotations

from typing import Any

from ..asked import Asked
from . import show


def panel(asked: Asked) -> Any:
    """Return the panel that was asked for; beside the notebook it needs no output."""
    return show(
        asked.options.part or "", sidecar=asked.options.sidecar, connection=asked.connection
    )
