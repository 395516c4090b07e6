"""The list of sessions behind a panel: read, and kept up to date by the server's events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from backendai_kernel import listing
from backendai_kernel.errors import APIError, BackendError
from backendai_kernel.protocol import calls
from backendai_kernel.usage import Usage, read_usage

from .desk import Desk, Message, Part, told
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
_AGAIN = (2.0, 60.0)  # seconds before the next try after an error, the first and the longest

WHICH = {
    "mine": listing.Which.LIVE,
    "running": listing.Which.RUNNING,
    "dead": listing.Which.DEAD,
    "all": listing.Which.ALL,
}


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
        self._is_read = False
        self._problem: Message | None = None
        self._touched: set[str] = set()
        self._stirred = asyncio.Event()
        self._listing = asyncio.Lock()
        self._is_admin: bool | None = None

    def greet(self) -> None:
        if self._is_read:
            self.tell(**self._rows.whole(), **self._state())
        self._stirred.set()

    def _state(self) -> Message:
        return {
            "which": self._which,
            "total": self._total,
            "live": self._is_live,
            "problem": self._problem,
        }

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
                if self._is_live:
                    self._is_live = False
                    self.tell(live=False)
            await asyncio.sleep(pause)

    async def _hear(self, client: Client) -> None:
        async with client.events("", "*") as events:
            self._is_live = True
            self.tell(live=True)
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
                self._show_problem(exc)
                self._touched |= touched or {""}
                await asyncio.sleep(pause)
                pause = min(pause * 2, _AGAIN[1])
                continue
            self._show_problem(None)
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

    def _show_problem(self, error: BackendError | None) -> None:
        problem = None if error is None else told(error)
        if problem != self._problem:
            self._problem = problem
            self.tell(problem=problem)

    async def _look_at_all(self) -> None:
        async with self._listing:
            listed, usage, own_key = await self.use(self._read_list)
            is_first = not self._is_read
            total_before, self._total = self._total, listed.total
            self._known = {session.id: session for session in listed.items}
            self._usage = usage
            changes = self._rows.update(listed.items, usage, own_key=own_key)
            self._is_read = True
        if is_first:
            self.tell(**self._rows.whole(), **self._state())
            return
        if self._total != total_before:
            changes["total"] = self._total
        if changes:
            self.tell(**changes)

    async def _read_list(self, client: Client) -> tuple[listing.Listed, Mapping[str, Usage], str]:
        own_key = await client.access_key()
        whose = "*" if self._which == "all" and await self._may_see_all(client) else None
        query = listing.Query(WHICH[self._which], access_key=whose, limit=MOST)
        listed = await listing.list_sessions(client, query)
        usage: Mapping[str, Usage] = {}
        if any(session.status.is_running for session in listed.items):
            try:
                usage = await read_usage(client, access_key=whose)
            except APIError:
                usage = {}  # a server that does not know these fields; the list is without them
        return listed, usage, own_key

    async def _may_see_all(self, client: Client) -> bool:
        if self._is_admin is None:
            try:
                self._is_admin = (await client.send(calls.get_keypair())).is_admin
            except APIError:
                self._is_admin = False  # a login without a keypair of its own: nobody's but ours
        return self._is_admin

    async def _look_at(self, session_ids: set[str]) -> None:
        """Ask for a few sessions that something has happened to."""

        async def work(client: Client) -> tuple[str, list[tuple[str, Session | None]]]:
            seen = await asyncio.gather(*(client.send(calls.get_session(i)) for i in session_ids))
            return await client.access_key(), list(zip(session_ids, seen, strict=True))

        async with self._listing:
            own_key, found = await self.use(work)
            for session_id, session in found:
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
                if changes.keys() - {"left"}:
                    self.tell(**changes, total=self._total)

    def _belongs(self, session: Session) -> bool:
        """Tell whether the list that is shown has such a session."""
        is_dead = session.status.name in ("TERMINATED", "CANCELLED")
        if self._which == "running":
            return not is_dead and session.status.name not in ("PENDING", "SCHEDULED")
        return {"mine": not is_dead, "dead": is_dead, "all": True}[self._which]
