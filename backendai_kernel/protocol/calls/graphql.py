"""Questions to the server's database (API reference 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from ... import model
from .base import Call

T = TypeVar("T")


def _graphql(
    query: str, variables: Mapping[str, Any], answer: type[T], inside: tuple[str, ...], what: str
) -> Call[T]:
    return Call(
        "POST",
        "/admin/gql",
        answer,
        {"query": query, "variables": dict(variables)},
        inside=("data", *inside),
        what=what,
        is_read=True,
    )


_SESSION_FIELDS = (
    "id name status status_info status_data status_changed created_at terminated_at image type "
    "access_key group_name occupying_slots result tag"
)
_DETAIL_FIELDS = (
    f"{_SESSION_FIELDS} domain_name user_email scaling_group cluster_size cluster_mode "
    "startup_command service_ports mounts idle_checks requested_slots resource_opts "
    "containers { id cluster_role cluster_idx status status_data agent occupied_slots }"
)


class SessionPage(msgspec.Struct, frozen=True):
    """One page of a session list."""

    items: tuple[model.Session, ...]
    total_count: int


def list_sessions(
    *,
    limit: int,
    offset: int = 0,
    status: str | None = None,
    filter: str | None = None,
    order: str | None = None,
    access_key: str | None = None,
) -> Call[SessionPage]:
    """List sessions, newest first unless *order* says otherwise.

    Args:
        limit: 1 to 100.
        status: Comma-joined status names; ``None`` for all.
        filter: In the server's mini-language, such as ``name == "train"`` (8.6).

    Source: API reference 8.2, the query of ``backend.ai ps``.
    """
    query = (
        "query($limit:Int!, $offset:Int!, $status: String, $access_key: String, "
        "$filter: String, $order: String) { compute_session_list(limit:$limit, offset:$offset, "
        "status:$status, access_key:$access_key, filter:$filter, order:$order) "
        f"{{ items {{ {_SESSION_FIELDS} }} total_count }} }}"
    )
    variables = {
        "limit": limit,
        "offset": offset,
        "status": status,
        "access_key": access_key,
        "filter": filter,
        "order": order,
    }
    return _graphql(
        query, variables, SessionPage, ("compute_session_list",), "Listing the sessions"
    )


def get_session(session_id: str) -> Call[model.Session | None]:
    """Describe one session by its UUID, dead ones too; ``None`` when there is none."""
    query = f"query($id: UUID!) {{ compute_session(id: $id) {{ {_SESSION_FIELDS} }} }}"
    return _graphql(
        query,
        {"id": session_id},
        model.Session | None,  # type: ignore[arg-type]  # a union is no class, msgspec reads it
        ("compute_session",),
        "Asking for the session",
    )


class SessionDetails(msgspec.Struct, frozen=True):
    """The answer to `get_session_detail`: one session, or none."""

    items: tuple[model.SessionDetail, ...]


def get_session_detail(session_id: str) -> Call[SessionDetails]:
    """Describe one session by its UUID, with its containers, apps and idle checks.

    It is asked for as a list of one: of a single session, servers tell but the first letter of the
    project (seen with 26.4.16).
    """
    query = (
        "query($filter: String) { compute_session_list(limit: 1, offset: 0, filter: $filter) "
        f"{{ items {{ {_DETAIL_FIELDS} }} }} }}"
    )
    return _graphql(
        query,
        {"filter": f'id == "{session_id}"'},
        SessionDetails,
        ("compute_session_list",),
        "Asking for the session",
    )


class ToldStats(msgspec.Struct, frozen=True):
    """What a container uses, as JSON text: name → ``current``, ``capacity``, ``pct`` …"""

    live_stat: str | None = None


class ToldUsage(msgspec.Struct, frozen=True):
    """What a running session uses, and its idle checks as JSON text."""

    id: str
    name: str = ""
    occupying_slots: str | None = None
    idle_checks: str | None = None
    containers: tuple[ToldStats, ...] | None = ()


def list_usage(*, limit: int, access_key: str | None = None) -> Call[tuple[ToldUsage, ...]]:
    """Ask what running sessions use; a server that keeps no such figures answers null (8.3)."""
    query = (
        "query($limit:Int!, $access_key: String) { compute_session_list(limit:$limit, offset:0, "
        'status:"RUNNING", access_key:$access_key) '
        "{ items { id name occupying_slots idle_checks containers { live_stat } } } }"
    )
    return _graphql(
        query,
        {"limit": limit, "access_key": access_key},
        tuple[ToldUsage, ...],
        ("compute_session_list", "items"),
        "Asking what the sessions use",
    )


def list_images() -> Call[tuple[model.Image, ...]]:
    """List the images that sessions can be made from."""
    query = "query { images { name registry tag architecture aliases size_bytes labels { key value } } }"
    return _graphql(query, {}, tuple[model.Image, ...], ("images",), "Listing the images")


def get_keypair() -> Call[model.KeyPair]:
    """Ask whose keypair this is; the secret is not asked for."""
    query = "query { keypair { user_id access_key is_active is_admin resource_policy } }"
    return _graphql(query, {}, model.KeyPair, ("keypair",), "Checking the keypair")
