"""An optional provisioner: a Jupyter server that waits longer for the end of a kernel of ours.

A server starts kernels by itself and grants them 2.5 s for their end. A kernelspec that was written
by ``backendai-kernel install --provisioner`` names this class instead. It grants ten seconds, and
has a session ended whose kernel was killed. Where the kernel runs is not changed by it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from .leases import Lease, hand_over, name_of

NAME = "backendai-provisioner"
"""Its name in a kernelspec, and among the entry points of this package."""

_WAIT = 22.0  # seconds; half of it until SIGTERM, the other half until SIGKILL
_FOR_THE_KERNEL = 10.0


class BackendProvisioner(LocalProvisioner):
    """Starts the kernel on this computer, as Jupyter's own does."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._environ: dict[str, str] = {}
        self._session_name = ""
        self._folder: str | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Tell the kernel how much time it has."""
        prepared: dict[str, Any] = await super().pre_launch(**kwargs)
        self._environ = prepared.setdefault("env", {})
        self._environ["BACKENDAI_KERNEL_SHUTDOWN"] = f"{_FOR_THE_KERNEL:g}"
        return prepared

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Note which session will be the kernel's; its manager forgets the file before the end."""
        self._folder = kwargs.get("cwd")
        if "-f" in cmd[:-1]:
            self._session_name = name_of(cmd[cmd.index("-f") + 1])
        return await super().launch_kernel(cmd, **kwargs)

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        """Return the seconds until a kernel is killed."""
        return max(recommended, _WAIT)

    async def cleanup(self, restart: bool = False) -> None:
        """Have the session ended of a kernel that is gone and could not do it."""
        await super().cleanup(restart)
        if restart or not self._session_name:
            return
        if Lease(self._environ, self._session_name).is_there:
            process = hand_over(self._session_name, self._environ, cwd=self._folder)
            await asyncio.to_thread(process.wait)  # it makes another that is nobody's child
