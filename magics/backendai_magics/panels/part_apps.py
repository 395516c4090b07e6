"""The apps of running sessions: what there is, what is open at a port of this computer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backendai_kernel import listing
from backendai_kernel.apps import App, find_app, list_apps
from backendai_kernel.doors import link_of
from backendai_kernel.errors import BackendError, ConfigError
from backendai_kernel.links import JupyterServer, find_server
from backendai_kernel.opened import OpenApp, close_app, list_open, open_app

from .desk import Desk, Message, Part, Verb, told

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.model import Session

_LOOK = 3.0  # seconds between two looks at what is open: records of this computer, no request
_SESSIONS_EVERY = 5  # looks
_MOST = 100  # sessions to choose from


class Apps(Part):
    """Opens apps by the processes that all notebooks and terminals share."""

    name = "apps"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._sessions: dict[str, Session] = {}
        self._is_read = False
        self._open: list[Message] | None = None
        self._problem: Message | None = None
        self._server: JupyterServer | None = None

    @property
    def verbs(self) -> dict[str, Verb]:
        return {"list": self._list, "open": self._open_one, "close": self._close}

    def greet(self) -> None:
        if self._is_read:
            self.tell(sessions=self._choice())
        if self._open is not None:
            self.tell(open=self._open)

    def _choice(self) -> list[list[str]]:
        return [[each.id, each.name] for each in self._sessions.values()]

    async def wake(self) -> None:
        self._server = await find_server(self.desk.connection.environ)
        looks = 0
        while True:
            try:
                if looks % _SESSIONS_EVERY == 0:
                    await self.use(self._look)
                await self._tell_open()
                self._show_problem(None)
            except BackendError as exc:
                self._show_problem(exc)
            looks += 1
            await asyncio.sleep(_LOOK)

    def _show_problem(self, error: BackendError | None) -> None:
        problem = None if error is None else told(error)
        if problem != self._problem:
            self._problem = problem
            self.tell(problem=problem)

    async def _look(self, client: Client) -> None:
        query = listing.Query(listing.Which.RUNNING, limit=_MOST)
        running = (await listing.list_sessions(client, query)).items
        sessions = {each.id: each for each in running if each.status.is_running}
        before = self._choice()
        self._sessions = sessions
        if self._choice() != before or not self._is_read:
            self._is_read = True
            self.tell(sessions=self._choice())

    async def _tell_open(self) -> None:
        there = await asyncio.to_thread(list_open, self.desk.connection.state)
        now = [self._fact(each) for each in there]
        if now != self._open:
            self._open = now
            self.tell(open=now)

    # -- intents ------------------------------------------------------------------------------

    def _session(self, intent: Message) -> Session:
        session = self._sessions.get(str(intent["session"]))
        if session is None:
            raise ConfigError("That session does not run any more.", hint="Choose another one.")
        return session

    async def _list(self, intent: Message) -> list[Message]:
        """Return the apps that a session offers."""

        async def work(client: Client) -> list[Message]:
            if str(intent["session"]) not in self._sessions:
                await self._look(client)
            ports = await list_apps(client, self._session(intent))
            return [
                {"name": port.name, "protocol": port.protocol, "ports": list(port.ports)}
                for port in ports
            ]

        return await self.use(work)

    async def _open_one(self, intent: Message) -> Message:
        session, name = self._session(intent), str(intent["app"])

        def note(text: str) -> None:
            self.tell(said=text)

        async def work(client: Client) -> OpenApp:
            port = await find_app(client, session, name)
            state = self.desk.connection.state
            return await open_app(client, session, App(port), state=state, on_note=note)

        opened = await self.use(work)
        await self._tell_open()
        return self._fact(opened)

    async def _close(self, intent: Message) -> None:
        state = self.desk.connection.state
        for each in await asyncio.to_thread(list_open, state):
            if each.pid == int(intent["pid"]):
                await close_app(each, state=state)
        await self._tell_open()

    def _fact(self, opened: OpenApp) -> Message:
        return {
            "session": opened.session,
            "session_id": opened.session_id,
            "app": opened.app,
            "link": link_of(opened, self._server),
            "host": opened.host,
            "port": opened.port,
            "web": opened.is_web,
            "pid": opened.pid,
        }
