"""Which sessions there are, and which one a word means."""

from __future__ import annotations

import asyncio
import difflib
import enum
import re
import uuid
from dataclasses import dataclass

from .client import Client
from .errors import APIError, ConfigError, Conflict, NotFound
from .model import Session, SessionStatus
from .protocol import calls

PAGE = 100
"""The largest page that servers give (API reference 8.6)."""

_LIKE_AN_ID = re.compile(r"[0-9a-f][0-9a-f-]{3,35}", re.IGNORECASE)
_STATUS = re.compile(r"[A-Z_]+")


class Which(enum.Enum):
    """A choice of sessions by their status.

    Where it can, a choice says which statuses are left out, so that a newer server's unknown ones
    are shown and an older server is not asked for a status that it does not have, which it refuses
    (API reference 8.5).
    """

    LIVE = "live"
    RUNNING = "running"
    DEAD = "dead"
    ALL = "all"


_DEAD = ("CANCELLED", "TERMINATED")
_NO_STATUS = ("UNKNOWN", "TIMEOUT")  # words of ours, or of another answer
_RUNNING = ("PREPARING", "PULLING", "RUNNING", "RUNNING_DEGRADED")
_RUNNING_SINCE_24_12 = ("PREPARED", "CREATING")


@dataclass(frozen=True, slots=True)
class Query:
    """What is to be listed.

    Attributes:
        statuses: Status names in place of *which*.
        access_key: Whose sessions; ``None``: our own, ``"*"``: everybody's, for administrators.
        filter: In the server's language, such as ``name ilike "nb-%"`` (API reference 8.6).
        order: Such as ``-created_at,name``; ``""``: newest change of status first.
        limit: How many at the most; ``None``: all.
    """

    which: Which = Which.LIVE
    statuses: tuple[str, ...] = ()
    access_key: str | None = None
    filter: str = ""
    order: str = ""
    offset: int = 0
    limit: int | None = 10


@dataclass(frozen=True, slots=True)
class Listed:
    """Sessions, and how many there are in all that the query is about."""

    items: tuple[Session, ...]
    total: int


async def list_sessions(client: Client, query: Query) -> Listed:
    """List sessions; one request, or for more than 100 of them pages of 100 at once.

    A session whose status changes meanwhile is listed once, as it was last seen.

    Raises:
        APIError: Also for a filter, an order or a status that the server does not understand.
        ConnectError, ProtocolError: As `Client.send`.
    """
    try:
        return await _listed(client, query)
    except APIError as exc:
        if told := _not_understood(query, exc.msg):
            said = exc.msg.strip().partition("\n")[0].strip()
            raise APIError(
                f"The server does not understand {told[0]} ({said}).",
                status=exc.status,
                hint=told[1],
                slug=exc.slug,
                title=exc.title,
                msg=exc.msg,
            ) from exc
        raise


def _not_understood(query: Query, said: str) -> tuple[str, str] | None:
    """Return what of a query the server says that it cannot read, and how to write it."""
    if query.filter and "filter" in said:
        return f"the filter {query.filter!r}", "Write it as 'name ilike \"nb-%\"'."
    if query.order and "order" in said:
        return f"the order {query.order!r}", "Write it as -created_at,name."
    if strange := [name for name in query.statuses if f"'{name}'" in said]:
        known = ", ".join(status for status in SessionStatus if status not in _NO_STATUS)
        return f"the status {strange[0]}", f"There is {known}."
    return None


async def _listed(client: Client, query: Query) -> Listed:
    status, condition = await _choice(client, query)
    access_key = query.access_key or await client.access_key()

    async def page(offset: int, limit: int) -> calls.SessionPage:
        return await client.send(
            calls.list_sessions(
                limit=limit,
                offset=offset,
                status=status,
                filter=condition,
                order=query.order or None,
                access_key=None if access_key == "*" else access_key,
            )
        )

    first = await page(query.offset, min(PAGE, PAGE if query.limit is None else query.limit))
    wanted = first.total_count - query.offset
    if query.limit is not None:
        wanted = min(wanted, query.limit)
    offsets = range(PAGE, wanted, PAGE)
    pages = await asyncio.gather(
        *(page(query.offset + offset, min(PAGE, wanted - offset)) for offset in offsets)
    )
    found = {session.id: session for each in (first, *pages) for session in each.items}
    if pages and len(found) < wanted:  # one moved to the front while the pages were fetched
        again = await page(query.offset, PAGE)
        found |= {session.id: session for session in again.items}
    total = max(first.total_count, query.offset + len(found))
    items = list(found.values())
    if pages and not query.order:
        items.sort(key=_changed, reverse=True)
    return Listed(tuple(items[:wanted] if query.limit is not None else items), total)


def _changed(session: Session) -> float:
    """Return when the status changed last; servers sort by it, and no client can ask for it."""
    return session.status_changed.timestamp() if session.status_changed is not None else 0.0


async def _choice(client: Client, query: Query) -> tuple[str | None, str | None]:
    """Return the ``status`` and the ``filter`` to ask for."""
    if query.statuses:
        return ",".join(query.statuses), query.filter or None
    if query.which is Which.DEAD:
        return ",".join(_DEAD), query.filter or None
    if query.which is Which.ALL:
        return None, query.filter or None
    if query.which is Which.RUNNING:
        names: tuple[str, ...] = _RUNNING
        if _release((await client.version()).manager) >= (24, 12):
            names += _RUNNING_SINCE_24_12
        return ",".join(names), query.filter or None
    alive = " & ".join(f'(status != "{name}")' for name in _DEAD)
    return None, f"({query.filter}) & {alive}" if query.filter else alive


def _release(manager: str) -> tuple[int, ...]:
    """Return ``26.4.16`` as numbers to compare."""
    return tuple(int(part) for part in re.findall(r"\d+", manager)[:2])


# -- one session ------------------------------------------------------------------------------


async def find_session(
    client: Client,
    word: str,
    *,
    dead: bool = False,
    broken: bool = False,
    owner: str | None = None,
) -> Session:
    """Return the session that a name, an id or the beginning of an id means.

    A live session wins over a dead one of the same name, and a newer one over an older.

    Args:
        dead: Whether a dead session will do.
        broken: Whether one in ERROR will do: nothing runs in it, and yet it is there to be ended.
        owner: Access key of its owner; ``None``: ours.

    Raises:
        NotFound: There is none; the hint names close ones.
        Conflict: The beginning of an id is that of several.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    try:
        session_id = str(uuid.UUID(word))
    except ValueError:
        session_id = ""
    if session_id:
        seen = await client.send(calls.get_session(session_id))
        if seen is None:
            raise NotFound(f"There is no session with the id {session_id}.", status=404, hint=_LIST)
        return _alive(seen, dead=dead, broken=broken)
    if found := await _named(client, word, owner):
        return _alive(found[0], dead=dead, broken=broken)
    which = Which.ALL if dead else Which.LIVE
    known = await list_sessions(client, Query(which, access_key=owner, limit=5 * PAGE))
    if _LIKE_AN_ID.fullmatch(word):
        begin_so = [s for s in known.items if s.id.startswith(word.lower())]
        if len(begin_so) > 1:
            raise Conflict(
                f"{len(begin_so)} sessions have an id that begins with {word}.", status=404
            )
        if begin_so:
            return begin_so[0]
    close = difflib.get_close_matches(word, [session.name for session in known.items], n=2)
    hint = f"Did you mean {' or '.join(close)}?" if close else _LIST
    raise NotFound(f"There is no session {word!r}.", status=404, hint=hint)


_LIST = "`%bai ps` lists what there is."


async def _named(client: Client, name: str, owner: str | None) -> list[Session]:
    if '"' in name or "\\" in name:
        return []  # no session has such a name, and a filter could not say it
    query = Query(Which.ALL, access_key=owner, filter=f'name == "{name}"', limit=PAGE)
    found = list((await list_sessions(client, query)).items)
    return sorted(found, key=lambda session: session.status.is_over)


def _alive(session: Session, *, dead: bool, broken: bool) -> Session:
    is_enough = dead or (broken and session.status is SessionStatus.ERROR)
    if session.status.is_over and not is_enough:
        when = session.status_name.lower()
        raise NotFound(
            f"The session {session.name} has ended ({session.status_info or when}).",
            status=404,
            hint=f"{_LIST} `%bai logs {session.id[:8]}` still has its log.",
        )
    return session


async def owner_of(client: Client, session: Session) -> str | None:
    """Return the access key to name as a session's owner: ``None`` when it is ours.

    Raises:
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    own = await client.access_key()
    return session.access_key if session.access_key not in ("", own) else None


def parse_statuses(text: str) -> tuple[str, ...]:
    """Return the names in a comma-joined list, in capitals.

    Raises:
        ConfigError: A word is no status, whatever server it is.
    """
    names = tuple(name.strip().upper() for name in text.split(",") if name.strip())
    for name in names:
        if not _STATUS.fullmatch(name):
            raise ConfigError(f"{name!r} is no status.", hint="Write it as in -s RUNNING,ERROR.")
    return names
