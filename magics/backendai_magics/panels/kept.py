"""The list of sessions behind a panel: read, and kept up to date by the server's events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from backendai_kernel import listing
from backendai_kernel.errors import APIError, BackendError
from backendai_kernel.protocol import calls
from backendai_kernel.usage import Usage, read_usage

from .desk import Desk, Message, Part
from .rows import Rows

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.events import SessionEvent
    from backendai_kernel.model import Session

MOST = 1000  # sessions in a list; the newest of them
_BATCH = 0.4  # seconds in which events are gathered, so that a page hears twice a second at most
_ONE_BY_ONE = 6  # sessions that are asked for one by one; of more, the whole list is
_SLOW = 30.0  # seconds between two lists while events are heard …
_QUICK = 8.0  # … and while they are not
_A_PAGE = 15.0  # seconds more for each hundred sessions: a server counts requests
_MOST_OPEN = 8  # sessions that are open in pages and looked at when no list has them
_AGAIN = (2.0, 60.0)  # seconds before the next try after an error, the first and the longest

WHICH = {
    "mine": listing.Which.LIVE,
    "running": listing.Which.RUNNING,
    "dead": listing.Which.DEAD,
    "all": listing.Which.ALL,
}


_GONE = ("TERMINATED", "CANCELLED")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A list as the server has it.

    Attributes:
        apart: Sessions by their ids that are open in a page and not in the list; ``None`` for one
            that the server does not know any more.
    """

    listed: listing.Listed
    usage: Mapping[str, Usage]
    own_key: str
    apart: Mapping[str, Session | None] = field(default_factory=dict)


class KeptList(Part):
    """Keeps one list, of the kind that was last asked for, while a view shows it."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._rows = Rows()
        self._which = "mine"
        self._total = 0
        self._known: dict[str, Session] = {}
        self._usage: Mapping[str, Usage] = {}
        self._is_live = False
        self._told_pace: Message = {}
        self._is_read = False
        self._touched: set[str] = set()
        self._stirred = asyncio.Event()
        self._listing = asyncio.Lock()
        self._is_admin: bool | None = None
        self._opened: dict[str, Session] = {}  # view → the session that it has opened

    def greet(self) -> None:
        if self._is_read:
            self.tell(**self._rows.whole(), **self._state())
        self._stirred.set()

    def _state(self) -> Message:
        return {
            "which": self._which,
            "total": self._total,
            "problem": self._problem,
            **self._pace(),
        }

    def _pace(self) -> Message:
        """Return how soon a page learns of what happens.

        ``live``: events are heard; ``every``: seconds between two lists; ``own``: others' sessions
        are in the list, and events are of our own only.
        """
        is_wider = self._which == "all" and bool(self._is_admin)
        return {"live": self._is_live, "every": self._rest(), "own": is_wider}

    def _tell_pace(self) -> None:
        if (pace := self._pace()) != self._told_pace:
            self._told_pace = pace
            self.tell(**pace)

    async def wake(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen())
                group.create_task(self._keep())
        finally:
            self._is_live = False

    async def _listen(self) -> None:
        """Take note of which sessions events are about."""
        pause = _AGAIN[0]
        while True:
            try:
                await self.desk.connection.use(self._hear)
                pause = _AGAIN[0]
            except BackendError:
                pause = min(pause * 2, _AGAIN[1])  # the list is asked for more often meanwhile
            finally:
                self._is_live = False
                self._tell_pace()
            await asyncio.sleep(pause)

    async def _hear(self, client: Client) -> None:
        async with client.events("", "*") as events:
            self._is_live = True
            self._tell_pace()
            self._stir()  # what happened before is not told again
            async for event in events:
                self._note(event)

    def _note(self, event: SessionEvent) -> None:
        self._stir(event.session_id)

    def _stir(self, session_id: str = "") -> None:
        """Have a session looked at soon, or without an id all of them."""
        self._touched.add(session_id)
        self._stirred.set()

    async def _keep(self) -> None:
        pause = _AGAIN[0]
        while True:
            touched, self._touched = self._touched, set()
            self._stirred.clear()
            try:
                if not touched or "" in touched or len(touched) > _ONE_BY_ONE:
                    await self._look_at_all()
                else:
                    await self._look_at(touched)
            except BackendError as exc:
                self.show_problem(exc)
                self._touched |= touched or {""}
                await asyncio.sleep(pause)
                pause = min(pause * 2, _AGAIN[1])
                continue
            self.show_problem(None)
            self._tell_pace()
            pause = _AGAIN[0]
            try:
                async with asyncio.timeout(self._rest()):
                    await self._stirred.wait()
                await asyncio.sleep(_BATCH)
            except TimeoutError:
                pass  # nothing was heard: time for the whole list

    def _rest(self) -> float:
        pages = max(1, -(-len(self._rows) // listing.PAGE))
        return (_SLOW if self._is_live else _QUICK) + (pages - 1) * _A_PAGE

    async def _look_at_all(self) -> None:
        async with self._listing:
            seen = await self.use(lambda client: self._read_list(client, self._which))
            is_first = not self._is_read
            total_before = self._total
            changes = self._take(seen)
        if is_first:
            self.tell(**self._rows.whole(), **self._state())
            return
        if self._total != total_before:
            changes["total"] = self._total
        if changes:
            self.tell(**changes)

    def _take(self, seen: _Seen) -> Message:
        """Take a list as it is now; return what the page has to change."""
        self._total = seen.listed.total
        self._known = {session.id: session for session in seen.listed.items}
        self._usage = seen.usage
        self._is_read = True
        changes = self._rows.update(seen.listed.items, seen.usage, own_key=seen.own_key)
        for view, opened in self._opened.items():
            self._opened[view] = self._known.get(opened.id, opened)
        if apart := self._changed_apart(seen.apart):
            changes["apart"] = apart
        return changes

    async def show_list(self, which: str) -> None:
        """Show another list. When it cannot be had, the one that was there stays, also in the page.

        Raises:
            BackendError: As `list_sessions` does.
        """
        async with self._listing:
            try:
                seen = await self.use(lambda client: self._read_list(client, which))
            except BackendError:
                self.tell(which=self._which)
                raise
            self._which = which
            self._rows.clear()
            apart = self._take(seen).get("apart", [])
            self.tell(**self._rows.whole(), **self._state(), apart=apart)

    async def _read_list(self, client: Client, which: str) -> _Seen:
        own_key = await client.access_key()
        whose = "*" if which == "all" and await self._may_see_all(client) else None
        query = listing.Query(WHICH[which], access_key=whose, limit=MOST)
        listed = await listing.list_sessions(client, query)
        usage: Mapping[str, Usage] = {}
        if any(session.status.is_running for session in listed.items):
            try:
                usage = await read_usage(client, access_key=whose)
            except APIError:
                usage = {}  # a server that does not know these fields; the list is without them
        there = {session.id for session in listed.items}
        open_ids = {each.id for each in self._opened.values() if each.status_name not in _GONE}
        apart = await self._ask_each(client, open_ids - there)
        return _Seen(listed, usage, own_key, apart)

    async def _ask_each(self, client: Client, ids: set[str]) -> dict[str, Session | None]:
        seen = await asyncio.gather(*(client.send(calls.get_session(each)) for each in ids))
        return dict(zip(ids, seen, strict=True))

    async def _may_see_all(self, client: Client) -> bool:
        if self._is_admin is None:
            try:
                self._is_admin = (await client.send(calls.get_keypair())).is_admin
            except APIError:
                self._is_admin = False  # a login without a keypair of its own: nobody's but ours
        return self._is_admin

    async def _look_at(self, session_ids: set[str]) -> None:
        """Ask for a few sessions that something has happened to."""

        async def work(client: Client) -> tuple[str, dict[str, Session | None]]:
            return await client.access_key(), await self._ask_each(client, session_ids)

        async with self._listing:
            own_key, found = await self.use(work)
            for session_id, session in found.items():
                if session is not None and self._belongs(session):
                    is_new = session_id not in self._known
                    self._known[session_id] = session
                    changes = self._rows.update(
                        [session], self._usage, own_key=own_key, is_all=False
                    )
                    self._total += is_new
                else:
                    changes = self._rows.remove(session_id)
                    self._total -= self._known.pop(session_id, None) is not None
                    if session is not None:
                        changes["left"] = [session.name, session.status_name, session.status_info]
                    if apart := self._changed_apart({session_id: session}):
                        changes["apart"] = apart
                if changes.keys() - {"left"}:
                    self.tell(**changes, total=self._total)

    def _belongs(self, session: Session) -> bool:
        """Tell whether the list that is shown has such a session."""
        is_dead = session.status.name in _GONE
        if self._which == "running":
            return not is_dead and session.status.name not in ("PENDING", "SCHEDULED")
        return {"mine": not is_dead, "dead": is_dead, "all": True}[self._which]

    # -- sessions that are open in a page -----------------------------------------------------

    def _keep_open(self, intent: Message, session: Session) -> None:
        """Keep an eye on a session that a view shows, whatever list is beside it."""
        view = str(intent.get("view") or "")
        self._opened.pop(view, None)
        self._opened[view] = session
        if len(self._opened) > _MOST_OPEN:  # views that were closed without a word
            del self._opened[next(iter(self._opened))]

    def _known_session(self, session_id: str) -> Session | None:
        """Return a session that is in the list or open in a page."""
        opened = (each for each in self._opened.values() if each.id == session_id)
        return self._known.get(session_id) or next(opened, None)

    def _changed_apart(self, found: Mapping[str, Session | None]) -> list[list[str]]:
        """Take open sessions that are not in the list; return how those are that have changed."""
        changed = {}
        for view, before in self._opened.items():
            if before.id not in found:
                continue
            now = found[before.id] or msgspec.structs.replace(before, status_name=_GONE[0])
            self._opened[view] = now
            if (now.name, now.status_name) != (before.name, before.status_name):
                changed[now.id] = [now.id, now.name, now.status_name, now.status_info or ""]
        return list(changed.values())
