"""One function an API operation: what to send, and what the answer is read as.

A `Call` is a value; `backendai_kernel.client.Client` sends it. Paths are relative to the endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from .. import model
from ..slots import format_amount

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and what its answer is read as.

    Attributes:
        method: HTTP method.
        path: Path and query, percent-encoded as it is signed and sent.
        body: JSON to send, or ``None`` for none.
        answer: What the JSON answer is decoded to; ``type(None)`` for an answer without a body.
        inside: Keys to follow from the top of the answer to the value.
        what: What is tried, as the subject of a sentence.
        is_read: Sending it twice does no harm, so it may be sent again when the answer is lost.
        signed: Whether the request carries a signature.
        is_stream: The answer is a stream of events that ends when somebody ends it.
    """

    method: str
    path: str
    answer: type[T]
    body: Mapping[str, Any] | None = field(default=None, repr=False)  # it may be a login's
    inside: tuple[str, ...] = ()
    what: str = "The request"
    is_read: bool = False
    signed: bool = True
    is_stream: bool = False


def _session(session: str, suffix: str = "", query: Mapping[str, str] | None = None) -> str:
    path = f"/session/{quote(session, safe='')}{suffix}"
    return f"{path}?{urlencode(query)}" if query else path


# -- server -----------------------------------------------------------------------------------


def get_version() -> Call[model.ServerVersion]:
    """Ask for the server's API version and release; anybody may."""
    return Call(
        "GET", "/", model.ServerVersion, what="Asking for the version", is_read=True, signed=False
    )


def get_slot_types() -> Call[dict[str, str]]:
    """Ask which resource slots there are: name → ``count`` or ``bytes``."""
    return Call(
        "GET",
        "/config/resource-slots",
        dict[str, str],
        what="Asking for the resource slots",
        is_read=True,
    )


# -- life of a session ------------------------------------------------------------------------


def create_session(
    *,
    image: str,
    name: str,
    slots: Mapping[str, Decimal],
    domain: str,
    group: str,
    environ: Mapping[str, str] | None = None,
    mounts: Sequence[str] = (),
    resource_opts: Mapping[str, str] | None = None,
    reuse: bool = True,
    enqueue_only: bool = True,
    max_wait: int = 0,
) -> Call[model.Created]:
    """Ask for a session.

    Args:
        image: Full reference or alias.
        name: 4 to 64 characters; a live session of that name and image is taken when *reuse*.
        slots: Slot name → amount; memory in bytes. Slots left out are the image's minimum.
        enqueue_only: Answer at once with ``PENDING``; its start is then watched.
        max_wait: Seconds that the server holds the answer when not *enqueue_only*; 0 for ever.

    Source: API reference 4.3.
    """
    body = {
        "image": image,
        "name": name,
        "type": "interactive",
        "domain": domain,
        "group": group,
        "clusterSize": 1,
        "clusterMode": "single-node",
        "tag": None,
        "enqueueOnly": enqueue_only,
        "maxWaitSeconds": max_wait,
        "reuseIfExists": reuse,
        "reuse": reuse,  # the name in 26.x; unknown keys at the top are ignored
        "startupCommand": None,
        "bootstrap_script": None,
        "owner_access_key": None,
        "dependencies": [],
        "config": {
            "mounts": list(mounts),
            "mount_map": {},
            "environ": dict(environ or {}),
            "resources": {slot: format_amount(amount) for slot, amount in slots.items()},
            "resource_opts": dict(resource_opts or {}),
            "scalingGroup": None,
            "preopen_ports": None,
        },
    }
    return Call("POST", "/session", model.Created, body, what=f"Starting session {name!r}")


def destroy_session(session: str, *, forced: bool = False) -> Call[dict[str, Any]]:
    """End a session, or cancel one that is still queued.

    Source: API reference 4.6; recording 90: a second call is answered 200 as well, so an answer
    that was lost may be asked for again.
    """
    path = _session(session, query={"forced": "true"} if forced else None)
    return Call("DELETE", path, dict[str, Any], what="Ending the session", is_read=True)


def restart_session(session: str) -> Call[None]:
    """Restart a session in place; 501 on servers from 26.4.10 on (recording 80)."""
    return Call("PATCH", _session(session), type(None), what="Restarting the session")


def get_status_history(session: str) -> Call[dict[str, Any]]:
    """Ask when a session entered each status: name → ISO 8601.

    Servers from 25.9 up to 26.2 wrap it in ``result``; before 25.9 it is a 404.
    """
    return Call(
        "GET",
        _session(session, "/status-history"),
        dict[str, Any],
        what="Asking for the session's history",
        is_read=True,
    )


def get_logs(session: str) -> Call[str]:
    """Ask for the container's log, its last 10 MiB."""
    return Call(
        "GET",
        _session(session, "/logs"),
        str,
        inside=("result", "logs"),
        what="Asking for the session's log",
        is_read=True,
    )


def follow_events(session_id: str, name: str) -> Call[None]:
    """Follow a session's events as they happen (API reference 5.5; recording 50).

    Servers up to 25.12 go by the id, later ones by the name, which must be that of a live session.
    """
    query = urlencode({"sessionName": name, "sessionId": session_id, "scope": "*"})
    return Call(
        "GET",
        f"/events/session?{query}",
        type(None),
        what="Following the session's events",
        is_read=True,
        is_stream=True,
    )


# -- running code -----------------------------------------------------------------------------


def execute(
    session: str,
    run_id: str,
    mode: str,
    code: str = "",
    options: Mapping[str, Any] | None = None,
) -> Call[model.RunAnswer]:
    """Send code, input, or a request for more output of a run.

    The run id goes under both names: servers up to 26.2 read ``runId`` and insist on it, later ones
    read ``run_id`` (API reference 0.4; recording 14a).

    Args:
        mode: ``query``, ``batch``, ``continue`` or ``input``.
        options: For ``batch``: ``clean``, ``build``, ``buildLog``, ``exec``.
    """
    body: dict[str, Any] = {"mode": mode, "code": code, "runId": run_id, "run_id": run_id}
    if options is not None:
        body["options"] = dict(options)
    return Call(
        "POST",
        _session(session),
        model.RunAnswer,
        body,
        inside=("result",),
        what="Running code in the session",
    )


def list_files(session: str, path: str) -> Call[model.Listing]:
    """Ask what is in a folder of the session, relative to its work folder; links are followed.

    Servers up to 26.2 read the path from the body, later ones from the query (API reference 0.4).
    """
    return Call(
        "GET",
        _session(session, "/files", {"path": path}),
        model.Listing,
        {"path": path},
        what=f"Listing {path!r} in the session",
        is_read=True,
    )


def interrupt(session: str) -> Call[None]:
    """Interrupt the code that runs; the answer says nothing about success (10.6)."""
    return Call(
        "POST",
        _session(session, "/interrupt"),
        type(None),
        what="Interrupting the session",
        is_read=True,
    )


# -- GraphQL ----------------------------------------------------------------------------------


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
    "access_key group_name occupying_slots result"
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


def list_images() -> Call[tuple[model.Image, ...]]:
    """List the images that sessions can be made from."""
    query = "query { images { name registry tag architecture aliases labels { key value } } }"
    return _graphql(query, {}, tuple[model.Image, ...], ("images",), "Listing the images")


def get_keypair() -> Call[model.KeyPair]:
    """Ask whose keypair this is; the secret is not asked for."""
    query = "query { keypair { user_id access_key is_active is_admin resource_policy } }"
    return _graphql(query, {}, model.KeyPair, ("keypair",), "Checking the keypair")


# -- login through a web server ---------------------------------------------------------------


LOGIN = "/server/login"


class LoginAnswer(msgspec.Struct, frozen=True):
    """Whether the login was accepted, and why not."""

    authenticated: bool
    data: dict[str, Any] | None = None


def login(username: str, password: str, otp: str | None = None) -> Call[LoginAnswer]:
    """Log in to a web server; the cookie comes as a header (API reference 2.11)."""
    body = {"username": username, "password": password} | ({"otp": otp} if otp else {})
    return Call("POST", LOGIN, LoginAnswer, body, what="Logging in", signed=False)


def check_login() -> Call[LoginAnswer]:
    """Ask whether the cookie is still good."""
    return Call(
        "POST",
        "/server/login-check",
        LoginAnswer,
        what="Checking the login",
        is_read=True,
        signed=False,
    )


def logout() -> Call[None]:
    """End the login that the cookie stands for."""
    return Call("POST", "/server/logout", type(None), what="Logging out", signed=False)


# -- resources --------------------------------------------------------------------------------


class ScalingGroupUse(msgspec.Struct, frozen=True):
    """What a scaling group's sessions use, and what is free: slot name → decimal string."""

    using: dict[str, Any] = {}
    remaining: dict[str, Any] = {}


class PresetCheck(msgspec.Struct, frozen=True):
    """What the keypair may have and has: slot name → decimal string, ``Infinity`` for no limit."""

    keypair_limits: dict[str, Any] = {}
    keypair_using: dict[str, Any] = {}
    keypair_remaining: dict[str, Any] = {}
    scaling_groups: dict[str, ScalingGroupUse] = {}


def check_presets(group: str) -> Call[PresetCheck]:
    """Ask for limits, use and rest of the keypair and of the scaling groups (9.2)."""
    return Call(
        "POST",
        "/resource/check-presets",
        PresetCheck,
        {"group": group},
        what="Asking what is free",
        is_read=True,
    )
