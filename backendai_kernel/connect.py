"""From settings to an open client; with no endpoint configured, to this computer's own manager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from .client import Client
from .config import LOCAL, Config, state_dir
from .errors import ConfigError


async def open_client(
    environ: Mapping[str, str],
    *,
    cwd: Path | None = None,
    on_note: Callable[[str], None] = lambda note: None,
    on_wait: Callable[[float], None] | None = None,
) -> Client:
    """Read the settings and return an open client, to be closed with its ``__aexit__``.

    Args:
        environ: The environment, such as ``os.environ``.
        cwd: Where the search for a ``.env`` file begins.
        on_note: Told in a sentence when the embedded manager had to be started.
        on_wait: As for `Client`.

    Raises:
        ConfigError: A setting makes no sense, or the embedded manager cannot be started.
    """
    config = Config.from_env(environ, cwd=cwd)
    if config.is_local:
        config = await asyncio.to_thread(use_local, config, environ, on_note)
    client = Client(config, state=state_dir(environ), on_wait=on_wait)
    return await client.__aenter__()


def use_local(
    config: Config,
    environ: Mapping[str, str],
    on_note: Callable[[str], None] = lambda note: None,
) -> Config:
    """Return the settings with the embedded manager's address and keypair; start it if need be.

    Raises:
        ConfigError: It cannot be started; the hint says what is missing.
    """
    from .local import discovery

    state = state_dir(environ) / "local"
    try:
        endpoint = discovery.find(state)
        if endpoint is None:
            on_note("No Backend.AI endpoint is configured: starting a manager on this computer.")
            endpoint = discovery.start(state)
    except (OSError, TimeoutError, RuntimeError) as exc:
        raise ConfigError(
            f"The embedded manager could not be started: {exc}",
            hint="Try it by hand: backendai-kernel serve. Or set BACKEND_ENDPOINT.",
        ) from exc
    return replace(
        config,
        endpoint=endpoint.url,
        endpoint_type=LOCAL,
        access_key=endpoint.access_key,
        secret_key=endpoint.secret_key,
    )
