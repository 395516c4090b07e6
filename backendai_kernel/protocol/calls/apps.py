"""The apps of a session, and connections to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from ... import model
from .base import Call, session_path


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
    query = {"app": app} | _start_options(arguments, envs)
    return Call(
        "GET",
        f"/stream/session/{quote(session, safe='')}/tcpproxy?{urlencode(query)}",
        type(None),
        what=f"Connecting to the app {app!r}",
        is_stream=True,
    )


def start_service(
    session: str,
    app: str,
    *,
    arguments: Mapping[str, str | Sequence[str] | None] | None = None,
    envs: Mapping[str, str] | None = None,
) -> Call[model.AppProxy]:
    """Start an app for the cluster's own app proxy, and ask where that is (API reference 6.4).

    A cluster without one answers 503.
    """
    return Call(
        "POST",
        session_path(session, "/start-service"),
        model.AppProxy,
        body={"app": app} | _start_options(arguments, envs),
        what=f"Starting the app {app!r}",
    )


def _start_options(
    arguments: Mapping[str, str | Sequence[str] | None] | None, envs: Mapping[str, str] | None
) -> dict[str, Any]:
    given = {"arguments": arguments, "envs": envs}
    return {name: msgspec.json.encode(value).decode() for name, value in given.items() if value}
