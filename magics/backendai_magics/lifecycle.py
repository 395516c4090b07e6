"""``rm``, ``gc``, ``logs``, ``events``, ``interrupt``, ``restart``, ``rename``: a session that is there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from backendai_kernel import ending, follow, listing
from backendai_kernel.errors import ConfigError
from backendai_kernel.outcomes import ended_table
from backendai_kernel.perform import open_session
from backendai_kernel.protocol import calls
from backendai_kernel.tables import Facts, Text

from .asked import Asked
from .connection import here
from .stage import Interrupted

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.events import SessionEvent
    from backendai_kernel.model import Session


async def _found(client: Client, asked: Asked, *, dead: bool = False) -> tuple[Session, str | None]:
    """Return the session that is meant, and the owner to name in requests about it."""
    options = asked.options
    session = await listing.find_session(client, options.session, dead=dead, owner=options.owner)
    return session, await listing.owner_of(client, session)


def rm(asked: Asked) -> Any:
    """End sessions; return what became of each."""
    from backendai_kernel.sshkeys import Place, forget_ended

    options = asked.options

    async def work(client: Client) -> Any:
        ended = await ending.end_sessions(
            client, options.sessions, owner=options.owner, forced=options.forced
        )
        place = Place.of(client.config, os.environ)
        await forget_ended(place, [each.session_id for each in ended])
        return ended

    return ended_table(asked.use(work))


def gc(asked: Asked) -> Any:
    """End sessions that were left behind; return what became of each."""
    from backendai_kernel.orphans import collect
    from backendai_kernel.outcomes import orphan_table

    options = asked.options
    stage = asked.stage()
    work = collect(os.environ, cwd=here(), is_dry=options.dry_run, is_all=options.all)
    return orphan_table(stage.perform(work), is_dry=options.dry_run)


def logs(asked: Asked) -> Any:
    """Return the log of a session, or show it as it grows."""
    if asked.options.follow:
        return _follow_logs(asked)

    async def work(client: Client) -> Any:
        session, owner = await _found(client, asked, dead=True)
        return Text(await follow.read_log(client, session, owner=owner))

    return asked.use(work)


def _follow_logs(asked: Asked) -> None:
    stage = asked.stage()

    async def work(client: Client) -> None:
        session, owner = await _found(client, asked, dead=True)
        async for text in follow.follow_log(client, session, owner=owner):
            stage.write("stdout", text)

    try:
        stage.perform(asked.connection.use(work))
    except Interrupted:
        return  # that is how one stops to follow


def events(asked: Asked) -> None:
    """Show what happens to a session, or to all of them, a line for each event."""
    options = asked.options
    if options.session is None and not options.all:
        raise ConfigError(
            "%bai events: SESSION is missing.", hint="Name one, or follow all of them with --all."
        )
    stage = asked.stage()

    async def work(client: Client) -> None:
        session = owner = None
        if options.session is not None:
            session, owner = await _found(client, asked, dead=True)
        async for event in follow.follow_events(
            client, session, owner=owner or options.owner, is_whole=options.all
        ):
            stage.write("stdout", _told(event, with_name=session is None))

    try:
        stage.perform(asked.connection.use(work))
    except Interrupted:
        return  # that is how one stops to follow


def _told(event: SessionEvent, *, with_name: bool) -> str:
    from datetime import datetime

    whose = f"  {event.session_name}" if with_name else ""
    reason = f"  ({event.reason})" if event.reason else ""
    return f"{datetime.now():%H:%M:%S}  {event.name}{whose}{reason}\n"


def interrupt(asked: Asked) -> Facts:
    """Interrupt what runs in a session."""

    async def work(client: Client) -> Session:
        session, owner = await _found(client, asked)
        await follow.interrupt(client, session, owner=owner)
        return session

    session = asked.use(work)
    return _done(
        session, "was sent an interrupt; servers do not tell whether its code has heeded it"
    )


def restart(asked: Asked) -> Facts:
    """Give a session a fresh interpreter."""
    stage = asked.stage()

    async def work(client: Client) -> Session:
        found, owner = await _found(client, asked)
        if owner is not None:
            await client.send(calls.restart_session(found.id, owner=owner))
            return found
        stage.line(f"… Restarting the interpreter of {found.name}")
        session = await open_session(client, found)
        await session.restart()
        return found

    return _done(
        stage.perform(asked.connection.use(work)), "has a fresh interpreter; its files are kept"
    )


def rename(asked: Asked) -> Facts:
    """Give a session another name."""
    name = asked.options.name

    async def work(client: Client) -> Session:
        session, owner = await _found(client, asked)
        await follow.rename(client, session, name, owner=owner)
        return session

    session = asked.use(work)
    return _done(session, f"is now named {name}", name=name)


def _done(session: Session, what: str, **more: str) -> Facts:
    data = {"session_id": session.id, "session": session.name, **more}
    return Facts(f"✓ The session {session.name} {what}.", (), data=data)
