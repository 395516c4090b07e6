"""What OpenSSH needs to reach a session: its key, and its host key, known for certain.

The private key is a file of the session, read over the authenticated API. So is the proof of the
host key: who holds it is sent a secret word over SSH and must write it into the session's work
folder, where it is read over the API. Who sits in between could not: it cannot log in to the
session in our name, so it cannot write there. This needs no interpreter and works beside a cell
that runs, with servers old and new.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import secrets
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from .client import Client
from .config import write_private
from .download import read_file
from .errors import ConfigError, ConnectError, NotFound, ProtocolError
from .model import Session
from .ownkeys import has_keys
from .sshkeys import FOLDERS, Place, held, host_of, sweep_held
from .tunnel import App, Bind, Tunnel, find_app

KEY = "id_container"
USER = "work"
APP = "sshd"
_PATIENCE = 60.0  # seconds for a session's SSH server to start and to answer
_KEY_TRIES = 3  # the key is there a moment after the session runs
_READY = b"written"

# Waits for the word, writes it, and takes it away again when we have read it. Then the session lets
# in the user's own keys, too (see `ownkeys`).
_SCRIPT = (
    'read -r word; umask 077; printf %s "$word" > {name}; echo written; read -r end; rm -f {name}; '
    "k=.bai-ssh/authorized_keys; a=.ssh/authorized_keys; "
    'if [ "$end" = keys ] && [ -r $k ]; then while IFS= read -r l; do '
    'grep -qxF -e "$l" $a || printf "%s\\n" "$l" >> $a; done < $k; fi'
)


async def prepare(
    client: Client, session: Session, place: Place, *, is_awaited: bool = False
) -> bool:
    """See to it that OpenSSH can reach a session; return whether there was anything to do.

    Args:
        is_awaited: An ssh that has begun already waits for the key.

    Raises:
        ConfigError: It does not run, has no SSH server, or there is no `ssh` here.
        ConnectError, APIError, ProtocolError: As `Client.send`; what answered may be no session.
    """
    host = host_of(session.name)
    place.make()
    async with held(place):
        if place.pinned(host) == session.id and place.key(host).exists():
            return False
        await sweep_held(client, place)
        place.forget(host)
        key = await _read_key(client, session)
        write_private(place.key(host), key)
        if is_awaited:
            # It may have the key of an older session of the same name in mind. It reads a second file, of
            # which there was none when it started, only when it comes to it.
            write_private(place.new_key(host), key)
        place.pin(host, await _prove(client, session, place), session.id)
    return True


async def _read_key(client: Client, session: Session) -> bytes:
    for attempt in range(_KEY_TRIES):
        try:
            key = await read_file(client, session.id, KEY)
        except NotFound as exc:
            if attempt + 1 == _KEY_TRIES:
                raise ConfigError(
                    f"The session {session.name} has no key of its own ({KEY}).",
                    hint="Sessions with a .ssh folder of yours use the keys in there.",
                ) from exc
            await asyncio.sleep(1.0)
            continue
        if b"PRIVATE KEY-----" not in key:
            raise ProtocolError(f"What the session {session.name} has as {KEY} is no private key.")
        return key if key.endswith(b"\n") else key + b"\n"
    raise AssertionError("not reached")


async def _prove(client: Client, session: Session, place: Place) -> str:
    """Return the session's host key, as a line of known_hosts has it, after it was proved."""
    program = shutil.which("ssh")
    if program is None:
        raise ConfigError("There is no ssh on this computer.", hint="Install OpenSSH's client.")
    host = host_of(session.name)
    name, word = f".bai-{secrets.token_hex(8)}", secrets.token_hex(32)
    app = App(await find_app(client, session, APP))
    with tempfile.TemporaryDirectory(prefix="bai-") as folder:
        seen = Path(folder, "known_hosts")
        notes: list[str] = []
        tunnel = Tunnel(client, session, app, bind=Bind(port=0), on_note=notes.append)
        async with tunnel:
            port = tunnel.address[1]
            options = [
                f"Port={port}",
                f"HostKeyAlias={host}",
                f"IdentityFile={place.key(host)}",
                f"UserKnownHostsFile={seen}",
                *("User=work", "StrictHostKeyChecking=accept-new", "IdentitiesOnly=yes"),
                *("BatchMode=yes", "LogLevel=ERROR", "UpdateHostKeys=no", "HashKnownHosts=no"),
                *("IdentityAgent=none", "GlobalKnownHostsFile=none", "ControlMaster=no"),
            ]
            script = f"exec sh -c {shlex.quote(_SCRIPT.format(name=name))}"
            process = await asyncio.create_subprocess_exec(
                *(program, "-F", "none", *(f"-o{option}" for option in options)),
                *("127.0.0.1", script),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(_PATIENCE):
                    await _exchange(client, session, process, name, word)
            except TimeoutError:
                raise ConnectError(
                    f"The SSH server of {session.name} does not answer.", sent=True
                ) from None
            except ConfigError as exc:
                exc.hint = " ".join(notes) or exc.hint
                raise
            finally:
                await _end(process)
        return _only_key(seen)


async def _exchange(
    client: Client,
    session: Session,
    process: asyncio.subprocess.Process,
    name: str,
    word: str,
) -> None:
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    with contextlib.suppress(ConnectionError):  # it has ended: what it says is read below
        process.stdin.write(f"{word}\n".encode())
        await process.stdin.drain()
    if (await process.stdout.readline()).strip() != _READY:
        complaint = (await process.stderr.read()).decode(errors="replace").strip()
        raise ConfigError(
            f"The session {session.name} does not let us in over SSH"
            f"{': ' + complaint.splitlines()[-1] if complaint else ''}.",
            hint="Its own .ssh folder may have other keys.",
        )
    try:
        said = await read_file(client, session.id, name)
    except NotFound:
        said = b""
    if not secrets.compare_digest(said, word.encode()):
        raise ConnectError(
            f"What answers as the SSH server of {session.name} is not that session.",
            hint="Somebody may sit between the server and the session: tell its administrator.",
            sent=True,
        )
    last = b"keys\n" if await has_keys(client) else b"\n"
    with contextlib.suppress(ConnectionError):
        process.stdin.write(last)
        process.stdin.close()
        await process.wait()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


def _only_key(seen: Path) -> str:
    for line in seen.read_text(encoding="utf-8").splitlines():
        _, kind, key = line.split()[:3]
        return f"{kind} {key}"
    raise ProtocolError("The SSH server showed no host key.")


def options_of(place: Place, proxy: str) -> list[tuple[str, str]]:
    """Return OpenSSH's options for sessions: name and value.

    Args:
        proxy: The command that connects, with ``%n`` for the host.
    """
    return [
        ("User", USER),
        *(("IdentityFile", quoted(place.folder / keys, "/%n")) for keys in FOLDERS),
        ("IdentitiesOnly", "yes"),
        ("StrictHostKeyChecking", "yes"),
        ("UserKnownHostsFile", quoted(place.known_hosts)),
        ("UpdateHostKeys", "no"),
        ("ServerAliveInterval", "15"),
        ("ProxyCommand", proxy),
    ]


def quoted(path: Path, rest: str = "") -> str:
    """Return a path as OpenSSH's configuration has it, with ``~`` for the user's home folder.

    OpenSSH takes the home folder of the user's account, whatever ``HOME`` says.

    Raises:
        ConfigError: It has a character that OpenSSH cannot be told.
    """
    home = pwd.getpwuid(os.getuid()).pw_dir
    text = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
    if any(c in text for c in '"\\\n'):
        raise ConfigError(f"OpenSSH cannot be told of a folder with such a name: {text}.")
    return '"' + text.replace("%", "%%") + rest + '"'


def proxy_command(place: Place) -> str:
    """Return the command line that connects standard input and output with a session."""
    words = [sys.executable, "-m", "backendai_kernel.cli", "ssh-proxy", "--place", place.name]
    return " ".join(shlex.quote(word).replace("%", "%%") for word in words) + " %n"


async def check_place(client: Client, place: Place, wanted: str) -> None:
    """Refuse a host that belongs to another endpoint than the one that is configured.

    Raises:
        ConfigError: It does.
    """
    if place.name != wanted:
        raise ConfigError(
            f"This host belongs to another server than {client.config.endpoint}.",
            hint="Set BACKEND_ENDPOINT and the keypair to that of the host, or log in to it with "
            "`backendai-kernel login`; then `backendai-kernel ssh-config` writes the hosts anew.",
        )
