"""``ssh``, ``ssh-key``: OpenSSH into sessions, and keys of the user's own."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from backendai_kernel import listing, sshconfig
from backendai_kernel.errors import ConfigError
from backendai_kernel.ownkeys import use_key
from backendai_kernel.sshaccess import prepare
from backendai_kernel.sshhosts import fingerprint, host_fingerprint, is_configured, write_hosts
from backendai_kernel.sshkeys import Place, host_of
from backendai_kernel.sshwords import access_facts, own_keys_facts

from .asked import Asked

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.tables import Facts


def ssh(asked: Asked) -> Facts:
    """Fetch a session's key, prove its host key, and tell what to type."""
    options = asked.options
    config: Path | None = None
    if options.config is not None:
        config = Path(options.config).expanduser().absolute() if options.config else _default()

    async def work(client: Client) -> Facts:
        session = await listing.find_session(client, options.session)
        if not session.status.is_running:
            raise ConfigError(
                f"The session {session.name} does not run: it is {session.status_name.lower()}.",
                hint=f"`%bai events {session.name}` tells when it does.",
            )
        place, host = Place.of(client.config, os.environ), host_of(session.name)
        written = (await write_hosts(client, os.environ, config))[0] if config else []
        await prepare(client, session, place)
        return access_facts(
            session.name,
            place,
            is_configured=await asyncio.to_thread(is_configured, config or _default()),
            key=await fingerprint(place.key(host)),
            host_key=host_fingerprint(place, host),
            written=written,
        )

    return asked.use(work)


def _default() -> Path:
    return sshconfig.default_config()


def ssh_key(asked: Asked) -> Facts:
    """Have new sessions let a key in."""
    path = Path(asked.options.file)

    async def work(client: Client) -> Facts:
        return own_keys_facts(await use_key(client, path))

    return asked.use(work)
