"""The process of one open app: it listens, says so, and ends with whoever has asked for it.

`opened.open_app` starts it and writes one line of JSON, the job, to its standard input; that stays
open as long as the asker lives. It answers with lines of JSON: ``opened`` or ``error`` first, then
``note``, sentences for the user.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

from .apps import App
from .client import Client
from .config import Config
from .errors import BackendError
from .model import ServicePort, Session
from .opened import OpenApp, recorded
from .tunnel import Bind, Tunnel

_LOOK_FOR_PARENT = 2.0  # seconds; a pipe may be held open by other children of a parent that died


async def carry(
    client: Client,
    session: Session,
    app: App,
    *,
    bind: Bind,
    state: Path,
    on_opened: Callable[[OpenApp], None],
    on_note: Callable[[str], None],
    until: Callable[[], Awaitable[str]] | None = None,
) -> str:
    """Open an app in this process; return why it is over: the session's end, or a signal.

    Args:
        until: Ends it, too, and says why.

    Raises:
        ConfigError: The port cannot be listened on.
    """
    told = _told_to_end()  # who reads that it is open may send a signal at once
    async with Tunnel(client, session, app, bind=bind, on_note=on_note) as tunnel:
        opened = OpenApp.of(client, session, app.port, tunnel.address)
        opened = replace(opened, was_taken=tunnel.was_taken)
        with recorded(opened, state):
            on_opened(opened)
            return await _until_over(tunnel, told, until)


def _told_to_end() -> asyncio.Future[str]:
    loop = asyncio.get_running_loop()
    told: asyncio.Future[str] = loop.create_future()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        # Windows has no SIGHUP, and no handlers: Ctrl-C raises there, as everywhere else.
        with suppress(NotImplementedError, AttributeError):
            loop.add_signal_handler(getattr(signal, name), _settle, told)
    return told


def _settle(told: asyncio.Future[str]) -> None:
    if not told.done():
        told.set_result("The port is closed.")


async def _until_over(
    tunnel: Tunnel, told: asyncio.Future[str], until: Callable[[], Awaitable[str]] | None
) -> str:
    waiting: list[asyncio.Future[str]] = [told, asyncio.ensure_future(tunnel.ended())]
    if until is not None:
        waiting.append(asyncio.ensure_future(until()))
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
    return next(iter(done)).result()


# -- the process ------------------------------------------------------------------------------


def main() -> int:
    """Do the job that comes on standard input; return the exit status."""
    return asyncio.run(_main())


async def _main() -> int:
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    job = json.loads(await reader.readline())
    config = job["config"]
    config["cookie_file"] = config["cookie_file"] and Path(config["cookie_file"])
    config["mounts"] = tuple(config["mounts"])
    state = Path(job["state"])
    try:
        async with Client(Config(**config), state=state) as client:
            goodbye = await carry(
                client,
                msgspec.convert(job["session"], Session),
                App(msgspec.convert(job["port"], ServicePort), job["arguments"], job["envs"]),
                bind=Bind(**job["bind"]),
                state=state,
                on_opened=lambda opened: _say(opened=asdict(opened)),
                on_note=lambda note: _say(note=note),
                until=lambda: _parent_gone(reader),
            )
    except BackendError as exc:
        _say(error=exc.message, hint=exc.hint)
        return 1
    if goodbye:
        _say(note=goodbye)
    return 0


async def _parent_gone(reader: asyncio.StreamReader) -> str:
    parent = os.getppid()
    reading = asyncio.ensure_future(reader.read())
    while os.getppid() == parent:
        done, _ = await asyncio.wait([reading], timeout=_LOOK_FOR_PARENT)
        if done:
            break
    reading.cancel()
    return ""


def _say(**said: Any) -> None:
    with suppress(BrokenPipeError):  # nobody listens any more: the pipe's end says the rest
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
