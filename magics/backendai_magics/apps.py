"""``app``, ``apps``: what a session offers, at a port of this computer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from backendai_kernel import doors, listing
from backendai_kernel.apps import App, find_app, list_apps, read_arguments, read_envs
from backendai_kernel.config import state_dir
from backendai_kernel.errors import ConfigError
from backendai_kernel.links import find_server
from backendai_kernel.opened import OpenApp, close_app, list_open, open_app
from backendai_kernel.tables import Facts
from backendai_kernel.tunnel import Bind

from .asked import Asked

if TYPE_CHECKING:
    from backendai_kernel.client import Client


def app(asked: Asked) -> Any:
    """Open an app at a port, or close ports."""
    options = asked.options
    if options.stop:
        return _stop(asked)
    if options.app is None:
        missing = "SESSION and APP are" if options.session is None else "APP is"
        raise ConfigError(
            f"%bai app: {missing} missing.", hint="`%bai apps SESSION` lists what a session offers."
        )
    bind = Bind.parse(options.bind) if options.bind else Bind()
    arguments, envs = read_arguments(options.arg), read_envs(options.env)
    tell = later(asked.shell)

    async def work(client: Client) -> Facts:
        session = await listing.find_session(client, options.session)
        wanted = App(await find_app(client, session, options.app), arguments, envs)
        opened = await open_app(
            client, session, wanted, bind=bind, state=state_dir(os.environ), on_note=tell
        )
        server = await find_server(os.environ)
        return doors.open_facts(opened, server, is_shared=not bind.is_loopback)

    return asked.use(work)


def apps(asked: Asked) -> Any:
    """Return a table of what is open, or of what a session offers."""
    word = asked.options.session
    if word is None:
        return asked.connection.portal.call(_open())

    async def work(client: Client) -> Any:
        session = await listing.find_session(client, word)
        ports = await list_apps(client, session)
        server = await find_server(os.environ)
        return doors.offered_table(session, ports, list_open(state_dir(os.environ)), server)

    return asked.use(work)


async def _open() -> Any:
    server = await find_server(os.environ)
    return doors.open_table(list_open(state_dir(os.environ)), server)


def _stop(asked: Asked) -> Facts:
    options, state = asked.options, state_dir(os.environ)
    there = list_open(state)
    if options.session is None:
        meant = [each for each in there if each.is_ours]
    else:
        meant = [each for each in there if each.is_meant(options.session, options.app or "")]
        if not meant:
            words = " ".join(filter(None, [options.session, options.app]))
            raise ConfigError(
                f"{words!r} is not open at any port of this computer.",
                hint="`%bai apps` lists what is.",
            )

    async def work() -> list[OpenApp]:
        return [each for each in meant if await close_app(each, state=state)]

    closed = asked.connection.portal.call(work())
    if not closed:
        return Facts("Nothing was open at a port by this kernel.", (), data={"closed": []})
    return Facts(
        "✓ Closed.",
        tuple((str(each.port), f"{each.app} of the session {each.session}") for each in closed),
        data={"closed": [each.port for each in closed]},
    )


def later(shell: Any) -> Callable[[str], None]:
    """Return what shows a sentence under the cell of this moment, also after its end."""
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return lambda note: print(note, file=sys.stderr)  # noqa: T201 -- a terminal
    parent = kernel.get_parent("shell")

    def tell(note: str) -> None:
        content = {"name": "stderr", "text": f"{note}\n"}
        kernel.session.send(kernel.iopub_socket, "stream", content, parent, ident=b"stream.stderr")

    return tell
