"""One request for a session, and what has become of it when its answer is lost."""

from __future__ import annotations

import asyncio
import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from .client import Client
from .errors import BackendError, ConnectError, NotFound, ServerError
from .model import Created, Session
from .protocol import calls
from .session import destroy

_SENT = 3  # times that a request for a session is sent whose answer is lost and that made none
_SOON = 0.3  # seconds until what such a request has made can be seen, times its number
_SAME_TIME = 2.0  # seconds by which the server's clock, as its answers tell it, may be off
_PERHAPS = (502, 503, 504)  # from a proxy that knows not whether the server has acted
_GOODBYE = 5.0  # seconds for ending a session that is not wanted any more


@dataclass(frozen=True, slots=True)
class Request:
    """What kind of session is wanted.

    Attributes:
        image: Full reference or alias.
        wanted: Resource name → amount as `slots.parse_words` gives it; ``gpu`` becomes the slot
            that the server has.
        environ: Environment variables for the session.
        mounts: Virtual folder → path in the session, ``""`` for the default.
        resource_opts: Such as ``shmem`` → ``64m``.
        bootstrap_script: Text of a script that runs in the container before anything else.
        scaling_group: ``None``: any that is allowed.
        domain, group: ``None``: those of the settings.
    """

    image: str
    wanted: Mapping[str, Decimal] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)
    resource_opts: Mapping[str, str] = field(default_factory=dict)
    architecture: str | None = None
    cluster_size: int = 1
    cluster_mode: str = "single-node"
    tag: str | None = None
    bootstrap_script: str | None = None
    scaling_group: str | None = None
    preopen_ports: tuple[int, ...] = ()
    domain: str | None = None
    group: str | None = None


async def create(
    client: Client, request: Request, slots: Mapping[str, Decimal], name: str, *, reuse: bool
) -> Created:
    """Ask for a session; what is made without our hearing of it is found again.

    A request whose answer is lost is sent once more only when it has made nothing.

    Args:
        slots: What *request* wants, as the server calls it.
        reuse: A live session of that name will do.

    Raises:
        NotFound: No such image; the hint names close ones.
        ConnectError: Nobody can tell what has come of it.
        APIError, ProtocolError: As `Client.send`.
    """
    call = calls.create_session(
        image=request.image,
        name=name,
        slots=slots,
        domain=request.domain or client.config.domain,
        group=request.group or client.config.group,
        environ=request.environ,
        mounts={**dict.fromkeys(client.config.mounts, ""), **request.mounts},
        reuse=reuse,
        resource_opts=request.resource_opts,
        architecture=request.architecture,
        cluster_size=request.cluster_size,
        cluster_mode=request.cluster_mode,
        tag=request.tag,
        bootstrap_script=request.bootstrap_script,
        scaling_group=request.scaling_group,
        preopen_ports=request.preopen_ports,
    )
    for attempt in itertools.count(1):
        since = _server_time(client)
        try:
            return await client.send(call)
        except NotFound as exc:
            if "image" in exc.title.lower() or "image" in exc.msg.lower():
                raise await _no_such_image(client, request.image, exc) from exc
            raise
        except (ConnectError, ServerError) as exc:
            is_lost = exc.sent if isinstance(exc, ConnectError) else exc.status in _PERHAPS
            if not is_lost:
                raise
            await asyncio.sleep(_SOON * attempt)
            if (made := await _made_since(client, name, since, exc)) is not None:
                return Created(
                    session_id=made.id, session_name=made.name, status_name=made.status_name
                )
            if attempt == _SENT:
                raise
        except asyncio.CancelledError:
            await _abandon(client, name, since)
            raise
    raise AssertionError  # not reached


def _server_time(client: Client) -> datetime:
    skew = client.clock.skew or client.clock.correction
    return datetime.now(UTC) + timedelta(seconds=skew)


async def _made_since(
    client: Client, name: str, since: datetime, lost: BackendError
) -> Session | None:
    """Return the session that a request has made whose answer was lost; ``None``: it has made none.

    One of that name that is older is somebody's, and perhaps full of variables.
    """
    try:
        page = await client.send(calls.list_sessions(limit=5, filter=f'name == "{name}"'))
    except BackendError:
        lost.hint = f"{lost.hint} The session may be there all the same: `%bai ps` tells.".strip()
        raise lost from None
    earliest = since - timedelta(seconds=_SAME_TIME)
    for session in page.items:
        made_at = session.created_at
        if not session.status.is_ending and made_at is not None and made_at >= earliest:
            return session
    return None


async def _no_such_image(client: Client, image: str, cause: NotFound) -> NotFound:
    try:
        known = await client.send(calls.list_images())
    except BackendError:
        known = ()  # the first answer says enough
    names = sorted({word for item in known for word in (*item.aliases, item.reference) if word})
    close = difflib.get_close_matches(image, names, n=3, cutoff=0.4)
    if close:
        hint = f"Did you mean {' or '.join(close)}?"
    elif names:
        hint = f"There is {', '.join(names[:8])}{' …' if len(names) > 8 else ''}."
    else:
        hint = "Ask the cluster's administrator which images there are."
    return NotFound(
        f"There is no image {image!r} on this server.",
        status=cause.status,
        hint=hint,
        slug=cause.slug,
        title=cause.title,
        msg=cause.msg,
    )


async def _abandon(client: Client, name: str, since: datetime) -> None:
    """End what a request has made that nobody waits for any more."""
    gone = ConnectError("nobody asks", sent=True)
    try:
        async with asyncio.timeout(_GOODBYE):
            if (made := await _made_since(client, name, since, gone)) is not None:
                await destroy(client, made.id)
    except (BackendError, TimeoutError):
        return  # the connection is what failed; the caller is told that
