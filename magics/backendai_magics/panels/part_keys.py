"""SSH into sessions: keys, the line to copy, OpenSSH's configuration, the key as a download.

A private key goes to the page only when its button is pressed, as the buffer of that one answer: it
is no part of the widget's state and of nothing else that a notebook keeps.
"""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import TYPE_CHECKING, cast

from backendai_kernel import sshconfig
from backendai_kernel.sshaccess import prepare
from backendai_kernel.sshhosts import fingerprint, host_fingerprint, is_configured, write_hosts
from backendai_kernel.sshkeys import Place, host_of

from .choosing import Choosing
from .desk import Attached, Message, Verb

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.model import Session

    from .form_keys import KeysForm


class Keys(Choosing):
    """Keeps nothing: keys are where `sshaccess` has them, for their owner alone."""

    name = "keys"
    is_form = True

    @property
    def verbs(self) -> dict[str, Verb]:
        return {
            "look": self._look_at,
            "fetch": self._fetch,
            "download": self._download,
            "config": self._write_config,
            "form": self.open_form,
            "want": self._want,
        }

    def make_form(self) -> KeysForm:
        from .form_keys import KeysForm

        return KeysForm(self)

    async def _want(self, intent: Message) -> None:
        """Have the form show a session that somebody has asked for elsewhere."""
        await self.open_form(intent)
        cast("KeysForm", self.form).want(str(intent["session"]), str(intent["name"]))

    async def _look_at(self, intent: Message) -> Message:
        """Return what this computer has of a session's keys."""

        async def work(client: Client) -> Message:
            session = await self.chosen(client, intent)
            return await self._facts(client, session)

        return await self.use(work)

    async def _facts(self, client: Client, session: Session) -> Message:
        place, host = Place.of(client.config, self.desk.connection.environ), host_of(session.name)
        path = place.key(host)
        is_there = place.pinned(host) == session.id and path.exists()
        own = sshconfig.default_config()
        return {
            "host": host,
            "line": f"ssh {host}",
            "command": f"backendai-kernel ssh {session.name}",
            "fetched": is_there,
            "path": _short(path) if is_there else "",
            "mode": f"{stat.S_IMODE(path.stat().st_mode):04o}" if is_there else "",
            "fingerprint": await fingerprint(path) if is_there else "",
            "host_fingerprint": host_fingerprint(place, host) if is_there else "",
            "config": _short(own),
            "configured": await asyncio.to_thread(is_configured, own),
        }

    async def _fetch(self, intent: Message) -> Message:
        """Fetch the key, prove the host key, and return what there is then."""

        async def work(client: Client) -> Message:
            session = await self.chosen(client, intent)
            await prepare(client, session, Place.of(client.config, self.desk.connection.environ))
            return await self._facts(client, session)

        return await self.use(work)

    async def _download(self, intent: Message) -> Attached:
        """Return the private key, to be saved by the page."""

        async def work(client: Client) -> Attached:
            session = await self.chosen(client, intent)
            place = Place.of(client.config, self.desk.connection.environ)
            await prepare(client, session, place)
            host = host_of(session.name)
            key = await asyncio.to_thread(place.key(host).read_bytes)
            facts = await self._facts(client, session)
            return Attached({**facts, "name": host, "size": len(key)}, (key,))

        return await self.use(work)

    async def _write_config(self, intent: Message) -> Message:
        """Write OpenSSH's configuration for all sessions that run."""

        async def work(client: Client) -> Message:
            written, hosts = await write_hosts(client, self.desk.connection.environ)
            return {"written": [_short(path) for path in written], "hosts": hosts}

        return await self.use(work)


def _short(path: Path) -> str:
    """Return a path as people write it, with ``~`` for the home folder."""
    for home in (Path.home(), sshconfig.default_config().parent.parent):
        if path.is_relative_to(home):
            return f"~/{path.relative_to(home)}"
    return str(path)
