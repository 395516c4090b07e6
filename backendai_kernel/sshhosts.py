"""OpenSSH's configuration for the sessions that run, and fingerprints of the keys."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from . import sshconfig
from .client import Client
from .errors import ConfigError
from .listing import Query, Which, list_sessions
from .sshaccess import options_of, proxy_command
from .sshkeys import PREFIX, Place, held, host_of


async def hosts_text(
    client: Client, environ: Mapping[str, str], *, is_dry: bool = False
) -> tuple[str, list[str]]:
    """Return the configuration's text and the hosts in it, one for each session that runs.

    Args:
        is_dry: Touch nothing; else keys of sessions that are over are removed, and host keys are
            proved anew when they are needed.

    Raises:
        ConfigError: The folder for keys cannot be made.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    found = await list_sessions(client, Query(Which.LIVE, limit=None))
    place = Place.of(client.config, environ)
    running = sorted((s for s in found.items if s.status.is_running), key=lambda s: s.name)
    hosts = {host_of(s.name): f"{s.name} ({s.image or 'session'})" for s in running}
    if not is_dry:
        place.make()
        async with held(place):
            place.keep_only(list(hosts))
            place.unpin()
    printable = [(host, remark.encode("unicode_escape").decode()) for host, remark in hosts.items()]
    text = sshconfig.blocks(options_of(place, proxy_command(place)), printable, f"{PREFIX}*")
    return text, list(hosts)


async def write_hosts(
    client: Client, environ: Mapping[str, str], config: Path | None = None
) -> tuple[list[Path], list[str]]:
    """Write the configuration; return the files that were written, and the hosts.

    Args:
        config: ``None``: the user's own.

    Raises:
        ConfigError: A file is not what it should be or cannot be written.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    path = config or sshconfig.default_config()
    text, hosts = await hosts_text(client, environ)

    def write() -> list[Path]:
        with sshconfig.locked(path):
            return sshconfig.apply(sshconfig.plan(path, text))

    return await asyncio.to_thread(write), hosts


def is_configured(config: Path) -> bool:
    """Tell whether OpenSSH knows our hosts."""
    try:
        changes = sshconfig.plan(config, None)
    except ConfigError:
        return False  # that is told when it is to be written
    return any(change.is_needed for change in changes)


async def fingerprint(key: Path) -> str:
    """Return the fingerprint of a private key's file, ``""`` where there is no ``ssh-keygen``."""
    program = shutil.which("ssh-keygen")
    if program is None:
        return ""
    process = await asyncio.create_subprocess_exec(
        *(program, "-l", "-E", "sha256", "-f", str(key)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await process.communicate()
    words = said.decode(errors="replace").split()
    return words[1] if len(words) > 1 and words[1].startswith("SHA256:") else ""


def host_fingerprint(place: Place, host: str) -> str:
    """Return the fingerprint of the host key that was proved to be a session's, or ``""``."""
    try:
        lines = place.known_hosts.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    for line in lines:
        words = line.split()
        if len(words) >= 3 and words[0] == host:
            digest = hashlib.sha256(base64.b64decode(words[2])).digest()
            return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
    return ""
