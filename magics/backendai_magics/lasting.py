"""``keepalive``, ``retry``, ``replay``: how long a notebook's session lasts, and what comes after it."""

from __future__ import annotations

import re
from typing import Any

from backendai_kernel.errors import ConfigError
from backendai_kernel.expiry import roughly
from backendai_kernel.tables import Facts

from .asked import Asked
from .settings import our_kernel

_PERIOD = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?")
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 7 * 86400.0


def keepalive(asked: Asked) -> Facts:
    """Put the end of an idle session off."""
    options = asked.options
    kernel = our_kernel(asked, "keepalive")
    if options.off:
        if options.period is not None:
            raise ConfigError("--off and --for exclude each other.", hint="Choose one.")
        was_kept = kernel.let_expire()
        what = "is kept alive no longer" if was_kept else "was not kept alive"
        return Facts(f"✓ The session {what}.", (), data={"kept": False})
    seconds = 0.0 if options.period is None else _seconds(options.period)
    before = kernel.keep_alive(seconds)
    rows = [("It would have", str(each).replace("ends", "ended", 1)) for each in before]
    rows += [
        ("Not put off by that", str(each)) for each in kernel.time_left() if not each.can_be_put_off
    ]
    if seconds:
        rows.append(
            ("Until", f"{roughly(seconds)} from now, while this kernel lives; --off ends it")
        )
    if not before:
        rows.append(("Limit", "the server names none for this session, or has not counted yet"))
    data = {
        "kept": True,
        "seconds": seconds,
        "before": {each.check: each.seconds for each in before},
    }
    return Facts(
        "✓ The session was used just now; its idle time begins anew.", tuple(rows), data=data
    )


def _seconds(text: str) -> float:
    found = _PERIOD.fullmatch(text.strip().lower())
    seconds = float(found[1]) * _UNITS[found[2] or "s"] if found else 0.0
    if not 0 < seconds <= _LONGEST:
        raise ConfigError(
            f"{text!r} is no time to keep a session for.", hint="Write it as 90m or 8h; 7d at most."
        )
    return seconds


def retry(asked: Asked) -> Any:
    """Have the next session with other resources, and run the lost cell again."""
    options = asked.options
    kernel = our_kernel(asked, "retry")
    resources = kernel.retry(options.resource, is_run=not options.no_run)
    words = " ".join(resources) or "what the image needs"
    if not options.no_run:
        return None  # the card of the new session and the cell's own output follow
    return Facts(
        "✓ The next cell starts a new session.", (("Resources", words),), data={"resources": words}
    )


def replay(asked: Asked) -> None:
    """Show the output of a cell again."""
    our_kernel(asked, "replay").replay(asked.options.cell)
