"""The sessions of a panel, and what can be done with them."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from backendai_kernel import ending, follow, listing
from backendai_kernel.errors import BackendError, ConfigError, NotFound
from backendai_kernel.perform import open_session
from backendai_kernel.protocol import calls

from .desk import Desk, Message, Verb, told
from .kept import WHICH, KeptList

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.model import Session

UNDO = 6.0  # seconds in which ending sessions can be called off
_LOG_KEPT = 200_000  # characters of a log that a page is sent at first


class Sessions(KeptList):
    """Shows one list, ends what is in it, and opens one session after the other."""

    name = "sessions"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._ending: dict[str, tuple[list[str], asyncio.Task[None]]] = {}
        self._log: asyncio.Task[None] | None = None

    @property
    def verbs(self) -> dict[str, Verb]:
        return {
            "list": self._list,
            "refresh": self._refresh,
            "end": self._end,
            "undo": self._undo,
            "log": self._open_log,
            "unlog": self._close_log,
            "shut": self._shut,
            "rename": self._rename,
            "restart": self._restart,
            "interrupt": self._interrupt,
            "info": self._info,
        }

    def greet(self) -> None:
        super().greet()
        self._tell_ending()

    async def wake(self) -> None:
        try:
            await super().wake()
        finally:
            if self._log is not None:
                self._log.cancel()

    async def _list(self, intent: Message) -> None:
        """Show another list."""
        which = str(intent["which"])
        if which not in WHICH:
            raise ConfigError(f"There is no list {which!r}.")
        await self.show_list(which)

    async def _refresh(self, intent: Message) -> None:
        await self._look_at_all()
        self.show_problem(None)

    def _session(self, intent: Message) -> Session:
        session = self._known_session(str(intent["session"]))
        if session is None:
            raise NotFound(
                "That session is not in the list any more.", status=404, hint="It may have ended."
            )
        return session

    async def _end(self, intent: Message) -> str:
        """End sessions after a moment in which it can be called off; return the moment's name."""
        ids = [str(each) for each in intent["sessions"]]
        known = [self._known_session(each) for each in ids]
        names = [
            each[:8] if one is None else one.name for each, one in zip(ids, known, strict=True)
        ]
        token = secrets.token_hex(4)
        task = self.spawn(self._end_soon(token, ids, bool(intent.get("forced"))))
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
        self._keep_open(intent, session)
        if self._log is not None:
            self._log.cancel()
        self._log = self.spawn(self._follow_log(session))

    async def _close_log(self, intent: Message) -> None:
        if self._log is not None:
            self._log.cancel()
            self._log = None

    async def _shut(self, intent: Message) -> None:
        """A view does not show a session any more."""
        self._opened.pop(str(intent.get("view") or ""), None)
        await self._close_log(intent)

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
        if (session := self._known_session(session_id)) is not None:
            self._keep_open(intent, session)
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
