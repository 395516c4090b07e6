"""The kernels that are compared, each in a folder of its own and with the same interpreter."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from backendai_kernel.local.environment import environment_of
from backendai_kernel.local.manager import LocalManager

ROOT = Path(__file__).resolve().parents[2]
_STRANGERS = ("BACKEND", "SORNA", "JUPYTER", "IPYTHON", "JPY", "PYTEST", "XDG", "MPL")
_PLAIN = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
_OURS = ["-m", "backendai_kernel", "-f", "{connection_file}", "--profile", "python"]

ROOMY = {"cpu": Decimal(8), "mem": Decimal(32 * 2**30)}
"""Slots enough, whatever the computer has."""


class Kernel(AsyncKernelManager):
    """One kernel process, started in *cwd* with *environ*; what it says itself goes to a log."""

    def __init__(
        self, argv: list[str], folder: Path, cwd: Path, environ: Mapping[str, str]
    ) -> None:
        cwd.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            connection_file=str(folder / f"kernel-{os.urandom(16).hex()}.json"),
            transport="ipc",
            ip=str(folder / f"k{os.urandom(3).hex()}"),
        )
        self.cwd = cwd
        self.environ = dict(environ)
        self.log_path = folder / "kernel.log"
        self._kernel_spec = KernelSpec(
            argv=[sys.executable, *argv],
            display_name="Python",
            language="python",
            interrupt_mode="message",
        )

    async def start_kernel(self, **words: object) -> None:  # type: ignore[override]
        with self.log_path.open("ab") as log:
            await super().start_kernel(
                **{**words, "env": self.environ, "cwd": self.cwd, "stdout": log, "stderr": log}
            )


def plain_kernel(folder: Path) -> Kernel:
    """Return an ipykernel on this computer, in the environment that a session's has."""
    work = folder / "work"
    environ = environment_of(
        os.environ,
        session_id="none",
        kernel_id="none",
        name="plain",
        image="none",
        access_key="none",
        work=work,
        python=sys.executable,
        slots={"cpu": Decimal(1)},
        given={},
    )
    return Kernel(_PLAIN, folder, work, environ)


def our_kernel(folder: Path, server: Mapping[str, str], image: str) -> Kernel:
    """Return a kernel of ours; *server* are the settings that name its manager."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith(_STRANGERS)}
    environ = {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "magics")]),
        "BACKENDAI_KERNEL_STATE": str(folder / "state"),
        "BACKENDAI_KERNEL_CONFIG": str(folder / "config.toml"),
        "IPYTHONDIR": str(folder / "ipython"),
        **server,
    }
    words = [*_OURS, "--image", image]
    return Kernel(words, folder, folder, environ)


def settings_of(manager: LocalManager) -> dict[str, str]:
    """Return the settings by which a kernel finds *manager*."""
    return {
        "BACKEND_ENDPOINT": manager.url,
        "BACKEND_ENDPOINT_TYPE": "api",
        "BACKEND_ACCESS_KEY": manager.access_key,
        "BACKEND_SECRET_KEY": manager.secret_key,
    }


def settings_of_cluster() -> dict[str, str]:
    """Return the settings of the cluster that the environment names."""
    return {name: value for name, value in os.environ.items() if name.startswith("BACKEND_")}
