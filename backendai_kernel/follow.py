"""What goes on in a session, as it happens: its log as it grows, its life as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from .client import Client
from .errors import APIError, ConfigError, ConnectError, NotFound
from .events import SessionEvent
from .model import Session, SessionDetail, session_name
from .protocol import calls

_PAUSE = 1.0  # seconds between two looks at a log that grows, growing while nothing comes up to …
_LONGEST_PAUSE = 5.0
_KNOWN = 4096  # characters at the end by which a log is found again after its beginning was cut

_OVER = ("session_terminated", "session_cancelled")
_STARTED = "session_started"


async def read_log(client: Client, session: Session, *, owner: str | None = None) -> str:
    """Return the log of a session's container, its last 10 MiB; of a dead one, too.

    Raises:
        NotFound: It has none: it was never started.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    try:
        text = await client.send(calls.get_logs(session.id, owner=owner))
    except NotFound as exc:
        raise NotFound(
            f"The session {session.name} has no log: it is {session.status_name.lower()}.",
            status=exc.status,
            hint=f"`%bai info {session.name}` tells more." if not session.status.is_over else "",
            slug=exc.slug,
            title=exc.title,
            msg=exc.msg,
        ) from exc
    return text.replace("\r\n", "\n")


async def follow_log(
    client: Client, session: Session, *, owner: str | None = None
) -> AsyncIterator[str]:
    """Yield the log and then what is added to it, until the session is over.

    There is no stream for it: it is asked for again and again, more slowly while nothing comes.

    Raises:
        As `read_log`.
    """
    seen, pause = "", _PAUSE
    while True:
        is_over = session.status.is_over
        text = await read_log(client, session, owner=owner)
        if fresh := _added(seen, text):
            yield fresh
            pause = _PAUSE
        seen = text or seen
        if is_over:
            return
        await asyncio.sleep(max(pause, client.rate.gap()))
        pause = min(pause * 1.3, _LONGEST_PAUSE)
        session = await _look(client, session)


def _added(seen: str, text: str) -> str:
    """Return what *text* has more than *seen*; the beginning of a long log is cut by the server."""
    if text.startswith(seen):
        return text[len(seen) :]
    position = text.rfind(seen[-_KNOWN:])
    return text if position < 0 else text[position + len(seen[-_KNOWN:]) :]


async def follow_events(
    client: Client,
    session: Session | None,
    *,
    owner: str | None = None,
    is_whole: bool = False,
) -> AsyncIterator[SessionEvent]:
    """Yield what happens to a session, first of all the status it has now.

    Events are not kept by servers, so the status of the moment is told as an event of its own,
    ``session_`` and the status in small letters. A stream that breaks is opened again.

    Args:
        session: ``None``: all own sessions, without an end.
        is_whole: Go on to its end; else until it runs or ends, whichever is first.

    Raises:
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    told = ""
    while session is None or not session.status.is_over:
        try:
            async with client.events(*_whose(session), owner=owner) as events:
                if session is not None:
                    # Asked after the stream stands, so that nothing falls in between.
                    session = await _look(client, session)
                    if session.status_name != told:
                        told = session.status_name
                        yield _now(session)
                    if _is_enough(session, is_whole):
                        return
                async for event in events:
                    if session is None:
                        yield event
                    elif event.session_id in ("", session.id):
                        yield event
                        if event.name in _OVER or (event.name == _STARTED and not is_whole):
                            return
        except ConnectError as exc:
            if not exc.sent:
                raise
        except NotFound:  # newer servers find no name for a session that is over
            if session is None or not (session := await _look(client, session)).status.is_over:
                raise
            continue
        # It was ended by the server, a proxy or the network.
        await asyncio.sleep(_PAUSE)
        session = session and await _look(client, session)
    if session is not None and session.status_name != told:
        yield _now(session)


def _whose(session: Session | None) -> tuple[str, str]:
    return ("", "*") if session is None else (session.id, session.name)


async def _look(client: Client, session: Session) -> Session:
    now = await client.send(calls.get_session(session.id))
    return session if now is None else now


def _is_enough(session: Session, is_whole: bool) -> bool:
    return session.status.is_over or (session.status.is_running and not is_whole)


def _now(session: Session) -> SessionEvent:
    return SessionEvent(
        f"session_{session.status_name.lower()}",
        session.id,
        session.name,
        session.status_info or "",
    )


async def describe(client: Client, session_id: str) -> SessionDetail:
    """Return all that the server tells of a session.

    Raises:
        NotFound: It knows no such session any more.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    found = await client.send(calls.get_session_detail(session_id))
    if not found.items:
        raise NotFound(f"There is no session with the id {session_id} any more.", status=404)
    return found.items[0]


async def interrupt(client: Client, session: Session, *, owner: str | None = None) -> None:
    """Interrupt whatever runs in a session.

    Raises:
        APIError: The session does not run.
        ConnectError, ProtocolError: As `Client.send`.
    """
    _check_runs(session)
    await client.send(calls.interrupt(session.id, owner=owner))


async def rename(client: Client, session: Session, name: str, *, owner: str | None = None) -> None:
    """Give a session another name; servers do that while it runs (API reference 4.7).

    Raises:
        ConfigError: It is no name.
        APIError: The session does not run, or the name is taken.
        ConnectError, ProtocolError: As `Client.send`.
    """
    if session_name(name) != name:
        raise ConfigError(
            f"{name!r} is no name for a session.",
            hint="It takes 4 to 64 letters, digits, dots, dashes and underscores of ASCII.",
        )
    try:
        await client.send(calls.rename_session(session.id, name, owner=owner))
    except APIError:
        _check_runs(session)  # for one that does not run a server has only its status 500
        raise


def _check_runs(session: Session) -> None:
    if not session.status.is_running:
        raise APIError(
            f"The session {session.name} does not run: it is {session.status_name.lower()}.",
            status=409,
            hint=f"`%bai events {session.name}` waits for it.",
        )
