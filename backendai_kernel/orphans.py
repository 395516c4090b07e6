"""Sessions that a killed kernel, server or computer left behind: found, ended, accounted for.

What is known of them lies in leases (`leases.py`). The server is asked as well, for sessions with a
notebook's name that no lease knows: they are told of and left alone, since a notebook on another
computer may use them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from . import leases
from .client import Client
from .config import LOCAL, Config, state_dir
from .connect import at_manager
from .errors import BackendError, ConfigError, NotFound
from .leases import Found, Lease, Standing, Terms
from .listing import Query, Which, find_session, list_sessions
from .model import Session
from .session import destroy
from .sshkeys import Place, forget_ended, sweep

_OURS = re.compile(r"nb-[0-9a-f]{16}")
_MOST = 200  # sessions of the server that are looked at
_PATIENCE = 600.0  # seconds for which a finisher tries
_OWNER_LEAVES = 30.0  # seconds for the kernel that handed over to be gone
_FIRST_PAUSE = 0.5  # seconds between two tries, doubled up to …
_LONGEST_PAUSE = 30.0
_UNBORN = 6.0  # seconds in which a session may still come up that was asked for

ENDED, GONE, KEPT, FAILED = "ended", "gone", "kept", "failed"


@dataclass(frozen=True, slots=True)
class Orphan:
    """One session that was looked at, and what became of it.

    Attributes:
        found: Its lease; one made up of the server's words where there is none.
        outcome: `ENDED`; `GONE` (it was over already, and its lease is removed); `KEPT`, for the
            reason in ``note``; `FAILED`, for that reason.
        is_orphan: Nobody on this computer answers for it.
    """

    found: Found
    outcome: str
    note: str = ""
    is_orphan: bool = True

    @property
    def name(self) -> str:
        return self.found.terms.name

    @property
    def session_id(self) -> str:
        return self.found.terms.session_id


_WHY_KEPT = {
    Standing.HELD: "its kernel runs",
    Standing.RETURNING: "its kernel was killed a moment ago and may come back",
    Standing.ELSEWHERE: "its kernel runs on another computer",
    Standing.SILENT: "its kernel on another computer gives no sign of life; --all ends it",
}


async def collect(
    environ: Mapping[str, str],
    *,
    cwd: Path | None = None,
    is_dry: bool = False,
    is_all: bool = False,
) -> tuple[Orphan, ...]:
    """End what was left behind, and return all sessions that there are leases or suspicions of.

    Args:
        is_dry: Nothing is ended and no lease removed.
        is_all: Also those of other computers that have given no sign of life for ten minutes, and
            those of kernels that may come back.

    Raises:
        ConfigError: The settings make no sense.
        ConnectError, APIError, ProtocolError: As `Client.send`, for the question what is there;
            an end that fails is in its outcome.
    """
    config = Config.from_env(environ, cwd=cwd)
    ending = {Standing.LEFT} | ({Standing.SILENT, Standing.RETURNING} if is_all else set())
    found = leases.survey(environ)
    outcomes: list[Orphan] = []
    async with _Clients(config, environ) as clients:
        for each in found:
            if each.standing not in ending:
                is_orphan = each.standing is Standing.SILENT
                outcomes.append(Orphan(each, KEPT, _WHY_KEPT[each.standing], is_orphan))
            else:
                outcomes.append(await _collect(each, clients, environ, is_dry))
        outcomes += await _strays(clients, {each.terms.name for each in found})
    return tuple(outcomes)


async def _collect(
    found: Found, clients: _Clients, environ: Mapping[str, str], is_dry: bool
) -> Orphan:
    terms = found.terms
    if why := clients.why_not(terms):
        return Orphan(found, KEPT, why)
    try:
        with leases.seized(environ, terms.name) as lease:
            if lease is None:
                return Orphan(found, KEPT, _WHY_KEPT[Standing.HELD], is_orphan=False)
            client = await clients.get(is_local=terms.is_local)
            session = None if client is None else await _find(client, lease.read())
            if client is None or session is None:
                if not is_dry:
                    lease.end()
                return Orphan(found, GONE)
            found = replace(found, terms=replace(terms, session_id=session.id))
            if is_dry:
                return Orphan(found, KEPT, f"it is {session.status_name.lower()}")
            await destroy(client, session.id)
            await forget_ended(Place.of(client.config, environ), [session.id])
            lease.end()
            return Orphan(found, ENDED)
    except BackendError as exc:
        return Orphan(found, FAILED, exc.message)


async def _find(client: Client, terms: Terms) -> Session | None:
    """Return the live session of a lease; ``None`` when it is over or never came to be."""
    try:
        found = await find_session(client, terms.session_id or terms.name)
    except NotFound:
        return None
    return None if found.status.is_ending else found


async def _strays(clients: _Clients, known: set[str]) -> list[Orphan]:
    """Return live sessions that have a notebook's name and no lease here."""
    client = await clients.get(is_local=clients.config.is_local)
    if client is None:
        return []
    listed = await list_sessions(client, Query(Which.LIVE, limit=_MOST))
    return [
        Orphan(
            Found(Terms(name=each.name, session_id=each.id), Standing.ELSEWHERE, 0.0),
            KEPT,
            f"no kernel of this computer knows it; `%bai rm {each.name}` ends it",
        )
        for each in listed.items
        if _OURS.fullmatch(each.name) and each.name not in known and not each.status.is_ending
    ]


class _Clients:
    """The servers that leases may name: the configured one, and the manager of this computer."""

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self.config = config
        self._environ = environ
        self._open: dict[bool, Client | None] = {}

    async def __aenter__(self) -> _Clients:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for client in self._open.values():
            if client is not None:
                with suppress(BackendError):  # keys of other sessions: what is left goes later
                    await sweep(client, Place.of(client.config, self._environ))
                await client.__aexit__(None, None, None)

    def why_not(self, terms: Terms) -> str:
        """Return why nothing can be done about a session from here, ``""`` when something can."""
        if terms.is_local or not terms.endpoint:
            return ""
        if terms.endpoint != self.config.endpoint:
            return f"it is on another server, {terms.endpoint}"
        own = self.config.access_key
        if own and terms.access_key and own != terms.access_key:
            return f"it belongs to another keypair, {terms.access_key[:8]}…"
        return ""

    async def get(self, *, is_local: bool) -> Client | None:
        """Return a client; ``None`` where no manager runs on this computer, and so no session."""
        if is_local not in self._open:
            config: Config | None = self.config
            if is_local:
                config = await asyncio.to_thread(_running_manager, self.config, self._environ)
            client = None if config is None else Client(config, state=state_dir(self._environ))
            self._open[is_local] = None if client is None else await client.__aenter__()
        return self._open[is_local]


def _running_manager(config: Config, environ: Mapping[str, str]) -> Config | None:
    """Return the settings for this computer's manager if it runs; it is not started to be asked."""
    from .local import discovery

    endpoint = discovery.find(state_dir(environ) / LOCAL)
    return None if endpoint is None else at_manager(config, endpoint)


# -- the end of a session that a kernel had no time for ---------------------------------------


async def finish(name: str, environ: Mapping[str, str], *, cwd: Path | None = None) -> bool:
    """End the session of a lease, however slow or far away the server is; false: not in ten minutes.

    The kernel that handed it over is waited for. Should another kernel of that name have taken the
    session up meanwhile, it is left alone. What could not be ended keeps its lease, for `collect`.
    """
    lease = Lease(environ, name)
    loop = asyncio.get_running_loop()
    give_up_holder, give_up = loop.time() + _OWNER_LEAVES, loop.time() + _PATIENCE
    while not lease.hold():
        if loop.time() > give_up_holder:
            return False
        await asyncio.sleep(0.1)
    unborn_until = loop.time() + (0.0 if lease.read().session_id else _UNBORN)
    pause = _FIRST_PAUSE
    try:
        while loop.time() < give_up:
            try:
                was_there = await _finish(lease, environ, cwd)
                if was_there or loop.time() >= unborn_until:
                    lease.end()
                    return True
            except BackendError:
                pause = min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause)
            lease.beat()
        return False
    finally:
        lease.release()


async def _finish(lease: Lease, environ: Mapping[str, str], cwd: Path | None) -> bool:
    """End the session if it is there; say whether it was.

    Raises:
        BackendError: The server cannot be reached, or refuses.
    """
    terms = lease.read()
    async with _Clients(Config.from_env(environ, cwd=cwd), environ) as clients:
        if why := clients.why_not(terms):
            raise ConfigError(f"The session {terms.name} cannot be ended: {why}.")
        client = await clients.get(is_local=terms.is_local)
        if client is None:
            return True  # the manager of this computer has taken its sessions with it
        session = await _find(client, terms)
        if session is not None:
            await destroy(client, session.id)
            await forget_ended(Place.of(client.config, environ), [session.id])
        return session is not None or bool(terms.session_id)
