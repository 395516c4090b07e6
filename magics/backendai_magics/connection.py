"""The client behind ``%bai``: opened when it is first needed, kept, and closed at the end.

All of it lives on the loop of one portal: in our kernel that of the kernel, else one of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backendai_kernel.errors import ConnectError
from backendai_kernel.portal import Portal

if TYPE_CHECKING:
    from backendai_kernel.client import Client
    from backendai_kernel.config import Config

T = TypeVar("T")


class Connection:
    """One client for the settings of the moment; other settings open another."""

    def __init__(self, shell: Any, environ: Mapping[str, str] = os.environ) -> None:
        self._shell = shell
        self.environ = environ
        self._own: Portal | None = None
        self._client: Client | None = None
        self._settings: Config | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._opening: asyncio.Lock | None = None
        self.opened = 0  # how many clients there have been

    @property
    def portal(self) -> Portal:
        """The thread in which all of it happens."""
        kernels = getattr(getattr(self._shell, "kernel", None), "portal", None)
        if isinstance(kernels, Portal):
            return kernels
        if self._own is None:
            self._own = Portal()
        return self._own

    def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do *work* with the client and wait for it, on any thread but the portal's."""
        return self.portal.call(self.use(work))

    async def use(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do *work* with the client; on the portal's loop.

        The manager of this computer ends when nothing has used it for a while: another is started
        then.

        Raises:
            ConfigError: The settings make no sense.
            ConnectError: The server cannot be reached; and whatever *work* raises.
        """
        client = await self._open()
        try:
            return await work(client)
        except ConnectError as exc:
            if exc.sent or not client.config.is_local:
                raise
        await self.forget()
        return await work(await self._open())

    async def _open(self) -> Client:
        from backendai_kernel.config import Config

        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            cwd = here()
            settings = Config.from_env(self.environ, cwd=cwd)
            if self._client is not None and settings == self._settings:
                return self._client
            await self._close()
            from backendai_kernel.connect import open_client

            client = await open_client(self.environ, cwd=cwd)
            self._client, self._settings = client, settings
            self.opened += 1
            self._keeping = asyncio.create_task(self._keep(client))
            await asyncio.sleep(0)  # so that it has begun, and will end by closing the client
            return client

    @staticmethod
    async def _keep(client: Client) -> None:
        """Close the client when the loop ends, or when it is not wanted any more."""
        try:
            await asyncio.Event().wait()
        finally:
            await client.__aexit__(None, None, None)

    @property
    def state(self) -> Path:
        """The folder of this user's state."""
        from backendai_kernel.config import state_dir

        return state_dir(self.environ)

    def place(self) -> str:
        """Return where the server of the moment is, in a word or two.

        Raises:
            ConfigError: The settings make no sense.
        """
        from backendai_kernel.config import Config

        config = Config.from_env(self.environ, cwd=here())
        return "this computer" if config.is_local else config.endpoint.partition("://")[2]

    async def forget(self) -> None:
        """Close the client; the next use opens another."""
        if self._opening is None:
            return
        async with self._opening:
            await self._close()

    async def _close(self) -> None:
        keeping, self._keeping = self._keeping, None
        self._client = self._settings = None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])

    def close(self) -> None:
        """Close the client and end the thread, if it is ours."""
        try:
            if self._client is not None:
                self.portal.call(self.forget())
        finally:
            self._opening = None
            if self._own is not None:
                self._own.close()
                self._own = None


def here() -> Path | None:
    """Return the current folder; ``None`` when it is gone."""
    try:
        return Path.cwd()
    except OSError:
        return None
