"""From settings to an open client; with no endpoint configured, to this computer's own manager."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .client import Client
from .config import LOCAL, Config, state_dir
from .errors import BackendError, ConfigError

if TYPE_CHECKING:
    from .local.discovery import Endpoint

_SWEEP_EVERY = 60.0  # seconds
_SWEEP_ENDS_WITHIN = 1.0  # … that a short command waits for the first look


class TidyClient(Client):
    """A client that removes the SSH keys of sessions that have ended: at once, then now and then.

    A key is kept for OpenSSH, which is no program of ours; so no place sees each session's end. As
    long as there are no keys, nothing is sent.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        *,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        super().__init__(config, state=state_dir(environ), on_wait=on_wait)
        self._environ = environ
        self._sweeping: asyncio.Task[None] | None = None
        self._has_looked = asyncio.Event()

    async def __aenter__(self) -> TidyClient:
        await super().__aenter__()
        self._sweeping = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(self, *exc: object) -> None:
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None:
            with contextlib.suppress(TimeoutError):  # the next program looks, too
                async with asyncio.timeout(_SWEEP_ENDS_WITHIN):
                    await self._has_looked.wait()
            sweeping.cancel()
            await asyncio.wait([sweeping])
        await super().__aexit__(*exc)

    async def _sweep(self) -> None:
        from .sshkeys import Place, sweep

        place = Place.of(self.config, self._environ)
        while True:
            with contextlib.suppress(BackendError, OSError):  # out of reach: it is tried again
                await sweep(self, place)
            self._has_looked.set()
            await asyncio.sleep(_SWEEP_EVERY)


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
    return await TidyClient(config, environ, on_wait=on_wait).__aenter__()


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
    return at_manager(config, endpoint)


def at_manager(config: Config, endpoint: Endpoint) -> Config:
    """Return the settings for an embedded manager of this computer."""
    return replace(
        config,
        endpoint=endpoint.url,
        endpoint_type=LOCAL,
        access_key=endpoint.access_key,
        secret_key=endpoint.secret_key,
    )
