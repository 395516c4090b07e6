"""The apps of a session, and connections to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from ... import model
from .base import Call


def list_apps(session: str) -> Call[tuple[model.ServicePort, ...]]:
    """Ask which apps a running session offers (API reference 5.4)."""
    return Call(
        "GET",
        f"/stream/session/{quote(session, safe='')}/apps",
        tuple[model.ServicePort, ...],
        what="Asking for the session's apps",
        is_read=True,
    )


def open_app(
    session: str,
    app: str,
    *,
    arguments: Mapping[str, str | Sequence[str] | None] | None = None,
    envs: Mapping[str, str] | None = None,
) -> Call[None]:
    """Open one connection to an app: a websocket whose binary frames are its bytes.

    The app is started if it does not run yet (API reference 5.3; recordings 40, 44).

    Args:
        arguments: Option → value, several values, or ``None`` for an option without.
        envs: Environment variables for its start.
    """
    query: dict[str, Any] = {"app": app}
    for name, given in (("arguments", arguments), ("envs", envs)):
        if given:
            query[name] = msgspec.json.encode(given).decode()
    return Call(
        "GET",
        f"/stream/session/{quote(session, safe='')}/tcpproxy?{urlencode(query)}",
        type(None),
        what=f"Connecting to the app {app!r}",
        is_stream=True,
    )
