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
import fcntl
import os
import pwd
import re
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from .client import Client
from .config import Config, state_dir, write_private
from .download import read_file
from .errors import ConfigError, ConnectError, NotFound, ProtocolError
from .listing import Query, Which, list_sessions
from .model import Session
from .ownkeys import has_keys
from .tunnel import App, Bind, Tunnel, find_app

PREFIX = "bai-"
KEY = "id_container"
USER = "work"
APP = "sshd"
_KEYS = ("keys", "new")  # folders of keys
_SAFE = re.compile(r"[A-Za-z0-9._-]")
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


def host_of(name: str) -> str:
    """Return the host name that stands for a session; characters that no host has are escaped."""
    safe = (c if _SAFE.match(c) else "".join(f"+{b:02X}" for b in c.encode()) for c in name)
    return PREFIX + "".join(safe)


def session_of(host: str) -> str:
    """Return the session's name that a host name stands for.

    Raises:
        ConfigError: It is none of ours.
    """
    rest = host.removeprefix(PREFIX)
    escaped = re.sub(r"\+([0-9A-Fa-f]{2})", r"%\1", rest.replace("%", "%25"))
    if rest == host or not rest:
        raise ConfigError(f"{host!r} stands for no session.", hint=f"A session's is {PREFIX}NAME.")
    return unquote_to_bytes(escaped).decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Place:
    """Where keys and host keys of one endpoint's sessions are kept, for their owner alone."""

    folder: Path

    @classmethod
    def of(cls, config: Config, environ: Mapping[str, str]) -> Place:
        """Return the place for an endpoint; the embedded manager's stays the same."""
        name = "local" if config.is_local else config.identity
        return cls(state_dir(environ) / "ssh" / name)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def key(self, host: str) -> Path:
        return self.folder / "keys" / host

    def new_key(self, host: str) -> Path:
        """Where a key lies that has just replaced another one; see `prepare`."""
        return self.folder / "new" / host

    def settle(self, host: str) -> None:
        """The connection that needed a key in both places is over."""
        self.new_key(host).unlink(missing_ok=True)

    def make(self) -> None:
        """Make the folders.

        Raises:
            ConfigError: They cannot be made, or others may look into them.
        """
        try:
            for folder in (self.folder.parent, self.folder, *map(self.folder.joinpath, _KEYS)):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
        except OSError as exc:
            raise ConfigError(f"{self.folder} cannot be made: {exc.strerror}.") from exc

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the place; others of our programs wait."""
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def pinned(self, host: str) -> str | None:
        """Return the id of the session whose host key is pinned for that host."""
        for line in self._lines():
            words = line.split()
            if len(words) == 4 and words[0] == host:
                return words[3]
        return None

    def pin(self, host: str, key: str, session_id: str) -> None:
        """Keep a host key, in place of an older one."""
        lines = [line for line in self._lines() if line.split()[0] != host]
        self._write([*lines, f"{host} {key} {session_id}"])

    def forget(self, host: str) -> None:
        """Remove the key and the host key of a session that is over."""
        self.key(host).unlink(missing_ok=True)
        self.settle(host)
        if self.pinned(host) is not None:
            self._write([line for line in self._lines() if line.split()[0] != host])

    def session_ids(self) -> set[str]:
        """Return the ids of the sessions whose host keys are pinned."""
        return {words[3] for line in self._lines() if len(words := line.split()) == 4}

    def forget_sessions(self, ids: Collection[str]) -> list[str]:
        """Forget sessions by their ids; return the hosts that were forgotten."""
        pinned = [line.split() for line in self._lines()]
        gone = [words[0] for words in pinned if len(words) == 4 and words[3] in ids]
        for host in gone:
            self.forget(host)
        return gone

    def unpin(self) -> None:
        """Forget all host keys; each is proved anew when it is needed."""
        self.known_hosts.unlink(missing_ok=True)

    def keep_only(self, hosts: Sequence[str]) -> list[str]:
        """Forget all other sessions; return those that were forgotten."""
        kept = {path.name for keys in _KEYS for path in (self.folder / keys).glob(f"{PREFIX}*")}
        kept |= {line.split()[0] for line in self._lines()}
        gone = sorted(kept - set(hosts))
        for host in gone:
            self.forget(host)
        return gone

    def _lines(self) -> list[str]:
        try:
            text = self.known_hosts.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [line for line in text.splitlines() if line.strip()]

    def _write(self, lines: Sequence[str]) -> None:
        write_private(self.known_hosts, "".join(f"{line}\n" for line in lines).encode())


async def prepare(client: Client, session: Session, place: Place) -> bool:
    """See to it that OpenSSH can reach a session; return whether there was anything to do.

    Raises:
        ConfigError: It does not run, has no SSH server, or there is no `ssh` here.
        ConnectError, APIError, ProtocolError: As `Client.send`; what answered may be no session.
    """
    host = host_of(session.name)
    place.make()
    async with _held(place):
        if place.pinned(host) == session.id and place.key(host).exists():
            return False
        is_replaced = place.key(host).exists()  # by that of a newer session of the same name
        await _sweep(client, place)
        place.forget(host)
        key = await _read_key(client, session)
        write_private(place.key(host), key)
        if is_replaced:
            # The ssh that waits for us has the old public key in mind. It reads a second file, of
            # which there was none when it started, only when it comes to it.
            write_private(place.new_key(host), key)
        place.pin(host, await _prove(client, session, place), session.id)
    return True


async def forget_ended(place: Place, ids: Collection[str]) -> None:
    """Remove the keys of sessions that were just ended, where there are any."""
    if place.known_hosts.exists():
        async with _held(place):
            place.forget_sessions(ids)


async def _sweep(client: Client, place: Place) -> None:
    """Remove the keys of sessions that have ended meanwhile, by whatever hand."""
    kept = place.session_ids()
    if kept:
        found = await list_sessions(client, Query(Which.LIVE, limit=None))
        place.forget_sessions(kept - {each.id for each in found.items})


@contextlib.asynccontextmanager
async def _held(place: Place) -> AsyncIterator[None]:
    hold = place.locked()
    await asyncio.to_thread(hold.__enter__)
    try:
        yield
    finally:
        hold.__exit__(None, None, None)


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
        *(("IdentityFile", quoted(place.folder / keys, "/%n")) for keys in _KEYS),
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
