"""The sessions of a panel: listed, kept up to date, and what can be done with them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from backendai_kernel import ending, follow, listing
from backendai_kernel.errors import APIError, BackendError, ConfigError, NotFound
from backendai_kernel.perform import open_session
from backendai_kernel.protocol import calls
from backendai_kernel.usage import Usage, read_usage

from .desk import Desk, Message, Part, Verb, told
from .rows import Rows

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.events import SessionEvent
    from backendai_kernel.model import Session

MOST = 1000  # sessions in a list; the newest of them
UNDO = 6.0  # seconds in which ending sessions can be called off
_BATCH = 0.4  # seconds in which events are gathered, so that a page hears twice a second at most
_ONE_BY_ONE = 6  # sessions that are asked for one by one; of more, the whole list is
_SLOW = 30.0  # seconds between two lists while events are heard …
_QUICK = 8.0  # … and while they are not
_A_PAGE = 15.0  # seconds more for each hundred sessions: a server counts requests
_AGAIN = (2.0, 60.0)  # seconds before the next try after an error, the first and the longest
_LOG_KEPT = 200_000  # characters of a log that a page is sent at first

_WHICH = {
    "mine": listing.Which.LIVE,
    "running": listing.Which.RUNNING,
    "dead": listing.Which.DEAD,
    "all": listing.Which.ALL,
}


class Sessions(Part):
    """Keeps one list, of the kind that was last asked for."""

    name = "sessions"

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
        self._ending: dict[str, tuple[list[str], asyncio.Task[None]]] = {}
        self._log: asyncio.Task[None] | None = None
        self._is_admin: bool | None = None

    @property
    def verbs(self) -> dict[str, Verb]:
        return {
            "list": self._list,
            "refresh": self._refresh,
            "end": self._end,
            "undo": self._undo,
            "log": self._open_log,
            "unlog": self._close_log,
            "rename": self._rename,
            "restart": self._restart,
            "interrupt": self._interrupt,
            "info": self._info,
        }

    # -- keeping it up to date ----------------------------------------------------------------

    def greet(self) -> None:
        if self._is_read:
            self.tell(**self._rows.whole(), **self._state())
        self._tell_ending()
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
            if self._log is not None:
                self._log.cancel()

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
        query = listing.Query(_WHICH[self._which], access_key=whose, limit=MOST)
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

    # -- intents ------------------------------------------------------------------------------

    async def _list(self, intent: Message) -> None:
        """Show another list."""
        which = str(intent["which"])
        if which not in _WHICH:
            raise ConfigError(f"There is no list {which!r}.")
        async with self._listing:
            self._which = which
            self._rows.clear()
            self._known = {}
            self._is_read = False
        await self._look_at_all()

    async def _refresh(self, intent: Message) -> None:
        await self._look_at_all()
        self._show_problem(None)

    def _session(self, intent: Message) -> Session:
        session = self._known.get(str(intent["session"]))
        if session is None:
            raise NotFound(
                "That session is not in the list any more.", status=404, hint="It may have ended."
            )
        return session

    async def _end(self, intent: Message) -> str:
        """End sessions after a moment in which it can be called off; return the moment's name."""
        ids = [str(each) for each in intent["sessions"]]
        names = [self._known[each].name if each in self._known else each[:8] for each in ids]
        token = secrets.token_hex(4)
        task = self.desk.spawn(self._end_soon(token, ids, bool(intent.get("forced"))))
        self._ending[token] = (names, task)
        self._tell_ending()
        return token

    async def _end_soon(self, token: str, ids: list[str], forced: bool) -> None:
        try:
            await asyncio.sleep(UNDO)
            del self._ending[token]
            self._tell_ending()
            outcomes = await self.use(
                lambda client: ending.end_sessions(client, ids, forced=forced)
            )
        except BackendError as exc:
            self.tell(failed=told(exc))
        else:
            self.tell(said=_ended(outcomes))
        finally:
            self._ending.pop(token, None)
            for session_id in ids:
                self._stir(session_id)

    async def _undo(self, intent: Message) -> None:
        entry = self._ending.pop(str(intent["token"]), None)
        if entry is None:
            raise ConfigError("It is too late: the sessions are being ended.")
        names, task = entry
        task.cancel()
        self._tell_ending()
        self.tell(said=f"{_list_of(names)}: not ended.")

    def _tell_ending(self) -> None:
        pending = [[token, names, UNDO] for token, (names, _) in self._ending.items()]
        self.tell(ending=pending)

    async def _open_log(self, intent: Message) -> None:
        """Show a log, and what is added to it."""
        session = self._session(intent)
        if self._log is not None:
            self._log.cancel()
        self._log = self.desk.spawn(self._follow_log(session))

    async def _close_log(self, intent: Message) -> None:
        if self._log is not None:
            self._log.cancel()
            self._log = None

    async def _follow_log(self, session: Session) -> None:
        async def work(client: Client) -> None:
            owner = await listing.owner_of(client, session)
            is_first = True
            async for text in follow.follow_log(client, session, owner=owner):
                cut = max(0, len(text) - _LOG_KEPT) if is_first else 0
                self.tell(log=session.id, text=text[cut:], cut=cut, first=is_first)
                is_first = False

        try:
            await self.use(work)
            self.tell(log=session.id, over=True)
        except BackendError as exc:
            self.tell(log=session.id, error=told(exc))

    async def _rename(self, intent: Message) -> None:
        session, name = self._session(intent), str(intent["name"]).strip()

        async def work(client: Client) -> None:
            owner = await listing.owner_of(client, session)
            await follow.rename(client, session, name, owner=owner)

        await self.use(work)
        self._stir(session.id)

    async def _restart(self, intent: Message) -> None:
        session = self._session(intent)

        async def work(client: Client) -> None:
            owner = await listing.owner_of(client, session)
            if owner is not None:
                await client.send(calls.restart_session(session.id, owner=owner))
            else:
                await (await open_session(client, session)).restart()

        await self.use(work)
        self._stir(session.id)

    async def _interrupt(self, intent: Message) -> None:
        session = self._session(intent)

        async def work(client: Client) -> None:
            owner = await listing.owner_of(client, session)
            await follow.interrupt(client, session, owner=owner)

        await self.use(work)

    async def _info(self, intent: Message) -> list[list[str]]:
        """Return all there is to say of a session: pairs of a label and a text."""
        from backendai_kernel import describe

        session_id = str(intent["session"])
        detail = await self.use(lambda client: follow.describe(client, session_id))
        return [list(row) for row in describe.session_facts(detail).rows]


def _ended(outcomes: tuple[ending.Ended, ...]) -> str:
    cancelled = [each.name for each in outcomes if each.outcome == "cancelled"]
    ended = [each.name for each in outcomes if each.outcome == "ended"]
    words = []
    if ended:
        words.append(f"Ending {_list_of(ended)}.")
    if cancelled:
        words.append(f"Cancelled {_list_of(cancelled)}.")
    return " ".join(words)


def _list_of(names: list[str]) -> str:
    if len(names) > 3:
        return f"{', '.join(names[:2])} and {len(names) - 2} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
