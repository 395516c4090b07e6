"""``backendai-kernel apps`` and ``app``: what a session offers, and a port that leads there."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from .client import Client
    from .model import Session
    from .tunnel import Arguments, Tunnel

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
    # For programs that start this one: a line of JSON, and an end when their pipe ends.
    add("--json", action="store_true", help=argparse.SUPPRESS)
    add("--until-stdin-ends", action="store_true", help=argparse.SUPPRESS)


def add_apps(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``apps``."""
    parser.add_argument("session", metavar="SESSION", help="name or id")


async def found(client: Client, word: str) -> Session:
    """Return the live session that a word of the command line means."""
    from .listing import find_session

    return await find_session(client, word)


async def apps(options: argparse.Namespace, say: Say) -> int:
    """List the apps of a session."""
    from .connect import open_client
    from .tunnel import list_apps

    client = await open_client(os.environ, cwd=Path.cwd(), on_note=say)
    try:
        session = await found(client, options.session)
        ports = await list_apps(client, session)
    finally:
        await client.__aexit__()
    if not ports:
        say(f"The session {session.name} offers no apps.")
        return 0
    rows = [("APP", "PROTOCOL", "PORT")]
    rows += [(port.name, port.protocol, ", ".join(map(str, port.ports))) for port in ports]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


async def app(options: argparse.Namespace, say: Say, warn: Say) -> int:
    """Listen for an app until Ctrl-C, the end of the session, or that of our parent."""
    from .connect import open_client
    from .tunnel import App, Bind, Tunnel, find_app

    bind = Bind.parse(options.bind) if options.bind else Bind()
    arguments, envs = read_arguments(options.arg), read_envs(options.env)
    client = await open_client(os.environ, cwd=Path.cwd(), on_note=warn)
    try:
        session = await found(client, options.session)
        port = await find_app(client, session, options.app)
        tunnel = Tunnel(client, session, App(port, arguments, envs), bind=bind, on_note=warn)
        async with tunnel:
            _announce(options, session, tunnel, say, warn)
            if not bind.is_loopback:
                warn(f"Everybody who reaches {bind.host} can use this port.")
            goodbye = await _until_over(options, tunnel)
    finally:
        await client.__aexit__()
    warn(goodbye)
    return 0


def _announce(
    options: argparse.Namespace, session: Session, tunnel: Tunnel, say: Say, warn: Say
) -> None:
    host, number = tunnel.address
    if tunnel.was_taken is not None:
        warn(f"Port {tunnel.was_taken} is taken: listening on {number} instead.")
    if options.json:
        told = {"host": host, "port": number, "url": tunnel.url, "pid": os.getpid()}
        say(json.dumps(told))
    else:
        say(f"The app {options.app} of the session {session.name}: {tunnel.url}")


async def _until_over(options: argparse.Namespace, tunnel: Tunnel) -> str:
    """Return why it is over: a signal, the session's end, or our parent's."""
    loop = asyncio.get_running_loop()
    told = loop.create_future()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(NotImplementedError):  # Windows: Ctrl-C raises there, as everywhere else
            loop.add_signal_handler(number, _settle, told)
    waiting: list[asyncio.Future[str]] = [told, asyncio.ensure_future(tunnel.ended())]
    if options.until_stdin_ends:
        waiting.append(asyncio.ensure_future(_parent_gone()))
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
    return next(iter(done)).result()


def _settle(told: asyncio.Future[str]) -> None:
    if not told.done():
        told.set_result("The port is closed.")


async def _parent_gone() -> str:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while await reader.read(4096):
        continue
    return "Who asked for the port has gone: it is closed."


def read_arguments(words: Sequence[str]) -> Arguments:
    """Return option → value of ``--option=value`` or ``--option value``; repeated ones as a list.

    Raises:
        ConfigError: A word is no option.
    """
    read: dict[str, str | list[str] | None] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if " " in name:
            name, equals, value = word.partition(" ")
        if not name.startswith("-"):
            raise ConfigError(
                f"{word!r} is no argument of an app.", hint="Write it as --arg=--option=value."
            )
        given = value.strip() if equals else None
        before = read.get(name)
        if given is None or name not in read or before is None:
            read[name] = given
        else:
            read[name] = [*([before] if isinstance(before, str) else before), given]
    return read


def read_envs(words: Sequence[str]) -> dict[str, str]:
    """Return the variables of ``NAME=VALUE``; a value may have ``=`` in it.

    Raises:
        ConfigError: There is no name, or no ``=``.
    """
    read = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(
                f"{name!r} is no environment variable.", hint="Write it as -e NAME=value."
            )
        read[name] = value
    return read
