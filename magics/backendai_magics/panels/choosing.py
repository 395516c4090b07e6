"""A part that is about one running session, which is chosen from those that there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backendai_kernel import listing
from backendai_kernel.errors import BackendError, ConfigError

from .desk import Desk, Message, Part

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.model import Session

LOOK = 3.0  # seconds between two looks at what this computer knows, which cost no request
_SESSIONS_EVERY = 5  # looks …
_A_PAGE = 5  # … and as many more for each further hundred sessions: a server counts requests
_MOST = 1000  # sessions to choose from; the newest of them


class Choosing(Part):
    """Knows the running sessions; subclasses redefine `look` for what else they show."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._sessions: dict[str, Session] = {}
        self._is_read = False
        self._pages = 1  # requests that a look at the sessions takes

    def greet(self) -> None:
        if self._is_read:
            self.tell(sessions=self._choice())

    async def look(self) -> None:
        """Tell what has changed on this computer."""

    async def wake(self) -> None:
        looks = 0  # until the sessions are asked for again
        while True:
            try:
                if looks == 0:
                    looks = _SESSIONS_EVERY
                    await self.use(self.read_sessions)
                    looks += (self._pages - 1) * _A_PAGE
                await self.look()
                self.show_problem(None)
            except BackendError as exc:
                self.show_problem(exc)
            looks -= 1
            await asyncio.sleep(LOOK)

    def _choice(self) -> list[list[str]]:
        return [[each.id, each.name] for each in self._sessions.values()]

    async def read_sessions(self, client: Client) -> None:
        """Ask which sessions run, and tell it when it has changed."""
        query = listing.Query(listing.Which.RUNNING, limit=_MOST)
        running = (await listing.list_sessions(client, query)).items
        self._pages = max(1, -(-len(running) // listing.PAGE))
        before = self._choice()
        self._sessions = {each.id: each for each in running if each.status.is_running}
        if self._choice() != before or not self._is_read:
            self._is_read = True
            self.tell(sessions=self._choice())

    async def chosen(self, client: Client, intent: Message) -> Session:
        """Return the session that an intent is about.

        Raises:
            ConfigError: It does not run.
        """
        if str(intent["session"]) not in self._sessions:
            await self.read_sessions(client)
        session = self._sessions.get(str(intent["session"]))
        if session is None:
            raise ConfigError("That session does not run any more.", hint="Choose another one.")
        return session
