"""The life of a session: created, watched, renamed, restarted, ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from ... import model
from ...slots import format_amount
from .base import Call, session_path


def create_session(
    *,
    image: str,
    name: str,
    slots: Mapping[str, Decimal],
    domain: str,
    group: str,
    environ: Mapping[str, str] | None = None,
    mounts: Mapping[str, str] | Sequence[str] = (),
    resource_opts: Mapping[str, str] | None = None,
    reuse: bool = True,
    enqueue_only: bool = True,
    max_wait: int = 0,
    architecture: str | None = None,
    cluster_size: int = 1,
    cluster_mode: str = "single-node",
    tag: str | None = None,
    bootstrap_script: str | None = None,
    scaling_group: str | None = None,
    preopen_ports: Sequence[int] = (),
) -> Call[model.Created]:
    """Ask for a session.

    Args:
        image: Full reference or alias.
        name: 4 to 64 characters; a live session of that name and image is taken when *reuse*.
        slots: Slot name → amount; memory in bytes. Slots left out are the image's minimum.
        mounts: Virtual folders; as a mapping, name → path in the session, ``""`` for the default.
        enqueue_only: Answer at once with ``PENDING``; its start is then watched.
        max_wait: Seconds that the server holds the answer when not *enqueue_only*; 0 for ever.
        architecture: ``None``: the server's own default, ``x86_64``.
        bootstrap_script: Text of a script that runs in the container before anything else.

    Source: API reference 4.3.
    """
    targets = mounts if isinstance(mounts, Mapping) else {}
    body = {
        "image": image,
        "name": name,
        "type": "interactive",
        "domain": domain,
        "group": group,
        "clusterSize": cluster_size,
        "clusterMode": cluster_mode,
        "tag": tag,
        "enqueueOnly": enqueue_only,
        "maxWaitSeconds": max_wait,
        "reuseIfExists": reuse,
        "reuse": reuse,  # the name in 26.x; unknown keys at the top are ignored
        "startupCommand": None,
        "bootstrap_script": bootstrap_script,
        "owner_access_key": None,
        "dependencies": [],
        "config": {
            "mounts": list(mounts),
            "mount_map": {name: path for name, path in targets.items() if path},
            "environ": dict(environ or {}),
            "resources": {slot: format_amount(amount) for slot, amount in slots.items()},
            "resource_opts": dict(resource_opts or {}),
            "scalingGroup": scaling_group,
            "preopen_ports": list(preopen_ports) or None,
        },
    }
    if architecture is not None:
        body["architecture"] = architecture
    return Call("POST", "/session", model.Created, body, what=f"Starting session {name!r}")


def destroy_session(
    session: str, *, forced: bool = False, owner: str | None = None
) -> Call[dict[str, Any]]:
    """End a session, or cancel one that is still queued.

    Args:
        owner: Access key of its owner when that is somebody else; for administrators.

    Source: API reference 4.6; recording 90: a second call is answered 200 as well, so an answer
    that was lost may be asked for again.
    """
    query = {"forced": "true" if forced else None, "owner_access_key": owner}
    path = session_path(session, query=query)
    return Call("DELETE", path, dict[str, Any], what="Ending the session", is_read=True)


def restart_session(session: str, *, owner: str | None = None) -> Call[None]:
    """Restart a session in place; 501 on servers from 26.4.10 on (recording 80)."""
    path = session_path(session, query={"owner_access_key": owner})
    return Call("PATCH", path, type(None), what="Restarting the session")


def rename_session(session: str, name: str, *, owner: str | None = None) -> Call[None]:
    """Give a running session another name.

    The name goes as query and as body: servers up to 26.3 read the one, later ones the other
    (API reference 0.4; recording 33).
    """
    path = session_path(session, "/rename", {"name": name, "owner_access_key": owner})
    return Call("POST", path, type(None), {"name": name}, what=f"Renaming the session to {name!r}")


def get_status_history(session: str) -> Call[dict[str, Any]]:
    """Ask when a session entered each status: name → ISO 8601.

    Servers from 25.9 up to 26.2 wrap it in ``result``; before 25.9 it is a 404.
    """
    return Call(
        "GET",
        session_path(session, "/status-history"),
        dict[str, Any],
        what="Asking for the session's history",
        is_read=True,
    )


def get_logs(session: str, *, owner: str | None = None) -> Call[str]:
    """Ask for the container's log, its last 10 MiB; by UUID that of a dead session, too."""
    return Call(
        "GET",
        session_path(session, "/logs", {"owner_access_key": owner}),
        str,
        inside=("result", "logs"),
        what="Asking for the session's log",
        is_read=True,
    )


def follow_events(session_id: str, name: str, *, owner: str | None = None) -> Call[None]:
    """Follow a session's events as they happen (API reference 5.5; recording 50).

    Servers up to 25.12 go by the id, later ones by the name, which must be that of a live session.

    Args:
        session_id: ``""`` with a *name* of ``*``: the events of all own sessions.
    """
    words = {"sessionName": name, "sessionId": session_id, "scope": "*", "ownerAccessKey": owner}
    query = urlencode({key: value for key, value in words.items() if value})
    return Call(
        "GET",
        f"/events/session?{query}",
        type(None),
        what="Following the session's events",
        is_read=True,
        is_stream=True,
    )
