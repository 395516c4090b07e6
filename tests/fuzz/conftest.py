"""How much is tried: a little, the same each time, or with ``BACKENDAI_FUZZ=long`` much more."""

from __future__ import annotations

import importlib.util
import os


def _choose() -> None:
    from hypothesis import HealthCheck, settings

    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    settings.register_profile(
        "short",
        max_examples=60,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=slow,
    )
    settings.register_profile(
        "long", max_examples=4000, database=None, deadline=None, suppress_health_check=slow
    )
    settings.load_profile("long" if os.environ.get("BACKENDAI_FUZZ") == "long" else "short")


if importlib.util.find_spec("hypothesis") is not None:  # else the tests say what they lack
    _choose()
