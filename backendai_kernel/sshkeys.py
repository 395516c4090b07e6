"""The keys of sessions and their proved host keys: where they lie, and when they go.

A key is worth nothing once its session is over. So every program of ours that is connected with the
server looks, now and then, which of the sessions whose keys are kept are still there.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from .client import Client
from .config import Config, state_dir, write_private
from .errors import ConfigError
from .listing import Query, Which, list_sessions

PREFIX = "bai-"
FOLDERS = ("keys", "new")
"""Folders of keys; `Place.new_key` tells about the second."""
_SAFE = re.compile(r"[A-Za-z0-9._-]")


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
        """Where a key lies that was fetched while an ssh waited for it; see `prepare`."""
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
            for folder in (self.folder.parent, self.folder, *map(self.folder.joinpath, FOLDERS)):
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
        gone = sorted(self.hosts() - set(hosts))
        for host in gone:
            self.forget(host)
        return gone

    def hosts(self) -> set[str]:
        """Return the hosts that there are keys or host keys of."""
        found = {path.name for keys in FOLDERS for path in (self.folder / keys).glob(f"{PREFIX}*")}
        return found | {line.split()[0] for line in self._lines()}

    def _lines(self) -> list[str]:
        try:
            text = self.known_hosts.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [line for line in text.splitlines() if line.strip()]

    def _write(self, lines: Sequence[str]) -> None:
        write_private(self.known_hosts, "".join(f"{line}\n" for line in lines).encode())


async def forget_ended(place: Place, ids: Collection[str]) -> None:
    """Remove the keys of sessions that were just ended, where there are any."""
    if place.known_hosts.exists():
        async with held(place):
            place.forget_sessions(ids)


async def sweep(client: Client, place: Place) -> None:
    """Remove the keys of sessions that have ended, by whatever hand; with no keys nobody is asked.

    Raises:
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    gone = await _gone(client, place)
    if any(gone):
        async with held(place):
            _forget(place, *gone)


async def sweep_held(client: Client, place: Place) -> None:
    """As `sweep`, for one who holds the place."""
    _forget(place, *await _gone(client, place))


async def _gone(client: Client, place: Place) -> tuple[set[str], set[str]]:
    """Return the hosts and the session ids that something is kept of, and that are over."""
    # Read first: a session that is reached while the server answers is not to be judged by that.
    hosts, ids = await asyncio.to_thread(lambda: (place.hosts(), place.session_ids()))
    if not hosts and not ids:
        return hosts, ids
    found = (await list_sessions(client, Query(Which.LIVE, limit=None))).items
    return hosts - {host_of(each.name) for each in found}, ids - {each.id for each in found}


def _forget(place: Place, hosts: Collection[str], ids: Collection[str]) -> None:
    place.forget_sessions(ids)
    for host in hosts:
        if place.pinned(host) is None:  # a key that never led anywhere
            place.forget(host)


@contextlib.asynccontextmanager
async def held(place: Place) -> AsyncIterator[None]:
    """Hold the place as `Place.locked` does, and let the loop run meanwhile."""
    hold = place.locked()
    await asyncio.to_thread(hold.__enter__)
    try:
        yield
    finally:
        hold.__exit__(None, None, None)
