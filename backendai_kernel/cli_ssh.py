"""``backendai-kernel ssh``, ``ssh-config`` and ``ssh-proxy``: OpenSSH into sessions."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import BackendError, ConfigError, NotFound

if TYPE_CHECKING:
    from .client import Client
    from .model import Session
    from .sshkeys import Place

Say = Callable[..., None]


def add_ssh(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``ssh``."""
    parser.epilog = "Example: backendai-kernel ssh train nvidia-smi"
    parser.add_argument("session", metavar="SESSION", help="name or id")
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="what to run there; nothing: a shell. Options of ssh may stand before it",
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``ssh-config``."""
    parser.epilog = "Then `ssh bai-NAME`, `scp`, `rsync`, VS Code and JetBrains know your sessions."
    add = parser.add_argument
    add("--dry-run", action="store_true", help="show what would change, and change nothing")
    add("--remove", action="store_true", help="take away everything of ours, keys too")
    add("--inline", action="store_true", help="write into the file itself, in place of an Include")
    add("--config", type=Path, metavar="FILE", help="another file than ~/.ssh/config")


def add_proxy(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``ssh-proxy``."""
    parser.add_argument("host", metavar="HOST", help="such as bai-train")
    parser.add_argument("--place", help=argparse.SUPPRESS)


def add_key(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``ssh-key``."""
    parser.epilog = "Example: backendai-kernel ssh-key use ~/.ssh/id_ed25519.pub"
    parser.add_argument("action", choices=("use",), help="use: new sessions let this key in")
    parser.add_argument("file", type=Path, metavar="FILE", help="the public key")


async def key(options: argparse.Namespace, say: Say) -> int:
    """Have new sessions let a key of the user's own in."""
    from .connect import open_client
    from .ownkeys import use_key
    from .sshwords import own_keys_facts

    client = await open_client(os.environ, cwd=Path.cwd(), on_note=say)
    try:
        say(repr(own_keys_facts(await use_key(client, options.file))))
    finally:
        await client.__aexit__()
    return 0


async def ssh(options: argparse.Namespace, warn: Say) -> int:
    """Become OpenSSH, connected with a session."""
    from .connect import open_client
    from .listing import find_session
    from .sshaccess import options_of, prepare, proxy_command
    from .sshkeys import Place, host_of

    program = shutil.which("ssh")
    if program is None:
        raise ConfigError("There is no ssh on this computer.", hint="Install OpenSSH's client.")
    client = await open_client(os.environ, cwd=Path.cwd(), on_note=warn)
    try:
        session = _running(await find_session(client, options.session))
        place = Place.of(client.config, os.environ)
        await prepare(client, session, place)
    finally:
        await client.__aexit__()
    told = [f"-o{name}={value}" for name, value in options_of(place, proxy_command(place))]
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    sys.stdout.flush()
    os.execv(program, [program, *told, host_of(session.name), *words])


def _running(session: Session) -> Session:
    if not session.status.is_running:
        raise ConfigError(
            f"The session {session.name} does not run: it is {session.status_name.lower()}."
        )
    return session


async def proxy(options: argparse.Namespace, warn: Say) -> int:
    """Relay between standard input and output and a session's SSH server."""
    from .connect import open_client
    from .listing import find_session
    from .protocol import calls
    from .sshaccess import APP, check_place, prepare
    from .sshkeys import Place, held, session_of
    from .stdio import bridge

    client = await open_client(os.environ, cwd=Path.cwd(), on_note=warn)
    try:
        place = Place.of(client.config, os.environ)
        if options.place is not None:
            await check_place(client, place, options.place)
        try:
            session = _running(await find_session(client, session_of(options.host)))
        except NotFound:
            if place.folder.exists():
                async with held(place):
                    place.forget(options.host)
            raise
        await prepare(client, session, place, is_awaited=True)
        error = await bridge(client, calls.open_app(session.id, APP))
        await _tidy(client, session, place, options.host, error)
    finally:
        await client.__aexit__()
    return 0


async def _tidy(
    client: Client, session: Session, place: Place, host: str, error: BackendError | None
) -> None:
    """After the connection: remove the key of a session that has ended, and tell what broke.

    Raises:
        BackendError: The connection broke.
    """
    from .protocol import calls
    from .sshkeys import forget_ended

    place.settle(host)
    try:
        seen = await client.send(calls.get_session(session.id))
    except BackendError:
        if error is None:
            return  # the connection was in order; whether the session is over is seen later
        raise
    has_ended = seen is None or seen.status.is_ending
    if has_ended:
        await forget_ended(place, [session.id])
    if error is not None:
        raise ConfigError(f"The session {session.name} has ended.") if has_ended else error


async def config(options: argparse.Namespace, say: Say) -> int:
    """Write OpenSSH's configuration for the sessions that run."""
    from . import sshconfig

    path = (options.config or sshconfig.default_config()).expanduser().absolute()
    if options.remove and options.inline:
        raise ConfigError("--remove takes away either form.", hint="Leave --inline out.")
    text = None if options.remove else await _text(say, is_dry=options.dry_run)
    if options.dry_run:
        changes = sshconfig.plan(path, text, inline=options.inline)
        shown = "".join(change.diff() for change in changes)
        say(shown.rstrip("\n") or "Nothing would change.")
        return 0
    with sshconfig.locked(path):
        written = sshconfig.apply(sshconfig.plan(path, text, inline=options.inline))
    for file in written:
        say(f"✓ {'Removed' if not file.exists() else 'Wrote'} {file}.")
    if not written:
        say("Everything was as it should be.")
    if options.remove:
        _remove_keys(say)
    return 0


def _remove_keys(say: Say) -> None:
    from .config import state_dir

    folder = state_dir(os.environ) / "ssh"
    if folder.exists():
        shutil.rmtree(folder)
        say(f"✓ Removed the keys in {folder}.")


async def _text(say: Say, *, is_dry: bool) -> str:
    from .connect import open_client
    from .sshhosts import hosts_text

    client = await open_client(os.environ, cwd=Path.cwd(), on_note=say)
    try:
        text, hosts = await hosts_text(client, os.environ, is_dry=is_dry)
    finally:
        await client.__aexit__()
    if not is_dry:
        for host in hosts:
            say(f"  ssh {host}")
    return text
