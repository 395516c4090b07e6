"""The apps of running sessions: what there is, what is open at a port of this computer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backendai_kernel.apps import App, find_app, list_apps
from backendai_kernel.doors import link_of
from backendai_kernel.links import JupyterServer, find_server
from backendai_kernel.opened import OpenApp, close_app, list_open, open_app

from .choosing import Choosing
from .desk import Desk, Message, Verb

if TYPE_CHECKING:
    from backendai_kernel.client import Client


class Apps(Choosing):
    """Opens apps by the processes that all notebooks and terminals share."""

    name = "apps"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._open: list[Message] | None = None
        self._server: JupyterServer | None = None

    @property
    def verbs(self) -> dict[str, Verb]:
        return {"list": self._list, "open": self._open_one, "close": self._close}

    def greet(self) -> None:
        super().greet()
        if self._open is not None:
            self.tell(open=self._open)

    async def wake(self) -> None:
        self._server = await find_server(self.desk.connection.environ)
        await super().wake()

    async def look(self) -> None:
        there = await asyncio.to_thread(list_open, self.desk.connection.state)
        now = [self._fact(each) for each in there]
        if now != self._open:
            self._open = now
            self.tell(open=now)

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

    # -- intents ------------------------------------------------------------------------------

    async def _list(self, intent: Message) -> list[Message]:
        """Return the apps that a session offers."""

        async def work(client: Client) -> list[Message]:
            ports = await list_apps(client, await self.chosen(client, intent))
            return [
                {"name": port.name, "protocol": port.protocol, "ports": list(port.ports)}
                for port in ports
            ]

        return await self.use(work)

    async def _open_one(self, intent: Message) -> Message:
        def note(text: str) -> None:
            self.tell(said=text)

        async def work(client: Client) -> OpenApp:
            session = await self.chosen(client, intent)
            port = await find_app(client, session, str(intent["app"]))
            state = self.desk.connection.state
            return await open_app(client, session, App(port), state=state, on_note=note)

        opened = await self.use(work)
        await self.look()
        return self._fact(opened)

    async def _close(self, intent: Message) -> None:
        state = self.desk.connection.state
        for each in await asyncio.to_thread(list_open, state):
            if each.pid == int(intent["pid"]):
                await close_app(each, state=state)
        await self.look()
