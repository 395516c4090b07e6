"""``backendai-kernel apps`` and ``app``: what a session offers, and a port that leads there."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from .client import Client
    from .model import Session
    from .opened import OpenApp

Say = Callable[..., None]


def add_app(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``app``."""
    parser.epilog = (
        "Example: backendai-kernel app train jupyterlab -b 8080; Ctrl-C closes the port."
    )
    add = parser.add_argument
    add("session", metavar="SESSION", help="name or id")
    add("app", metavar="APP", help="as `backendai-kernel apps SESSION` lists it")
    add(
        *("-b", "--bind"),
        metavar="[ADDRESS:]PORT",
        help="where to listen (default: 127.0.0.1 and the app's own port); a port that is taken is "
        "replaced by the next one that is free",
    )
    add(
        "--arg",
        action="append",
        default=[],
        metavar="--OPTION[=VALUE]",
        help="an argument for the app's start; may be repeated",
    )
    add(
        *("-e", "--env"),
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an environment variable for the app's start; may be repeated",
    )


def add_apps(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``apps``."""
    parser.epilog = (
        "Example: backendai-kernel apps train; backendai-kernel apps --stop train jupyterlab"
    )
    add = parser.add_argument
    add("session", nargs="?", metavar="SESSION", help="name or id: what it offers")
    add("app", nargs="?", metavar="APP", help="with --stop: this one alone")
    add(
        "--stop",
        action="store_true",
        help="close the ports that notebooks and terminals have opened, those of SESSION, or the "
        "one with the number SESSION",
    )


async def found(client: Client, word: str) -> Session:
    """Return the live session that a word of the command line means."""
    from .listing import find_session

    return await find_session(client, word)


async def apps(options: argparse.Namespace, say: Say) -> int:
    """List the apps of a session, or what is open here; or close that."""
    if options.stop:
        return await _stop(options, say)
    if options.session is None:
        return _open(say)
    if options.app is not None:
        raise ConfigError(
            "APP belongs to --stop.", hint="To open an app: backendai-kernel app SESSION APP"
        )
    from .apps import list_apps
    from .connect import open_client
    from .opened import list_open

    client = await open_client(os.environ, cwd=Path.cwd(), on_note=say)
    try:
        session = await found(client, options.session)
        ports = await list_apps(client, session)
    finally:
        await client.__aexit__()
    if not ports:
        say(f"The session {session.name} offers no apps.")
        return 0
    where = {each.app: each.url for each in list_open(_state()) if each.session_id == session.id}
    rows = [("APP", "PROTOCOL", "PORT", "OPEN AT")]
    rows += [
        (port.name, port.protocol, ", ".join(map(str, port.ports)), where.get(port.name, ""))
        for port in ports
    ]
    _table(rows, say)
    return 0


def _state() -> Path:
    from .config import state_dir

    return state_dir(os.environ)


def _open(say: Say) -> int:
    from .opened import list_open

    there = list_open(_state())
    if not there:
        say("No app is open at a port of this computer.")
        return 0
    rows = [("SESSION", "APP", "OPEN AT", "PROCESS")]
    rows += [(each.session, each.app, each.url, str(each.pid)) for each in there]
    _table(rows, say)
    return 0


async def _stop(options: argparse.Namespace, say: Say) -> int:
    from .opened import close_app, list_open

    there = list_open(_state())
    if options.session is not None:
        meant = [each for each in there if each.is_meant(options.session, options.app or "")]
        if not meant:
            words = " ".join(filter(None, [options.session, options.app]))
            raise ConfigError(
                f"{words!r} is not open at any port of this computer.",
                hint="`backendai-kernel apps` lists what is.",
            )
        there = tuple(meant)
    for each in there:
        await close_app(each, state=_state())
        say(f"The port {each.port} of the app {each.app} of the session {each.session} is closed.")
    if not there:
        say("No app is open at a port of this computer.")
    return 0


def _table(rows: Sequence[Sequence[str]], say: Say) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


async def app(options: argparse.Namespace, say: Say, warn: Say) -> int:
    """Listen for an app until Ctrl-C, the end of the session, or `apps --stop`."""
    from .apps import App, find_app, read_arguments, read_envs
    from .carrier import carry
    from .connect import open_client
    from .tunnel import Bind

    bind = Bind.parse(options.bind) if options.bind else Bind()
    arguments, envs = read_arguments(options.arg), read_envs(options.env)

    def tell(opened: OpenApp) -> None:
        if opened.was_taken is not None:
            warn(f"Port {opened.was_taken} is taken: listening on {opened.port} instead.")
        say(f"The app {options.app} of the session {opened.session}: {opened.url}")
        if not bind.is_loopback:
            warn(f"Everybody who reaches {bind.host} can use this port.")

    client = await open_client(os.environ, cwd=Path.cwd(), on_note=warn)
    try:
        session = await found(client, options.session)
        port = await find_app(client, session, options.app)
        goodbye = await carry(
            client,
            session,
            App(port, arguments, envs),
            bind=bind,
            state=_state(),
            on_opened=tell,
            on_note=warn,
        )
    finally:
        await client.__aexit__()
    warn(goodbye)
    return 0
