"""What listens in a container: programs that are started when somebody asks for them, and ports."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from .coderunner import AgentFailure
from .readonly import words_for

SSHD = "sshd"
SSHD_PORT = 2200
"""The port of a server's container; here it is only told, sessions would share it."""

_PATIENCE = 30.0  # seconds for a program to listen
_LOOK_EVERY = 0.02
_START = """\
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from backendai_kernel.local.sshd import main
main()
"""


class Sshd:
    """The SSH server of a container, started once.

    Args:
        folder: Of the container, for its socket.
        modules: ``sys.path`` as JSON.
        read_only: Folders that it may not write to.
    """

    def __init__(
        self,
        folder: Path,
        work: Path,
        environ: Mapping[str, str],
        modules: str,
        log: BinaryIO,
        read_only: Sequence[Path] = (),
    ) -> None:
        self._socket = folder / "sshd.sock"
        self._work = work
        self._environ = environ
        self._modules = modules
        self._log = log
        self._words = [f"--socket={self._socket}", *words_for(read_only)]
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> Path:
        """Return the socket that it listens on.

        Raises:
            AgentFailure: It does not come up.
        """
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._socket.unlink(missing_ok=True)
                await self._spawn()
            return self._socket

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", _START, self._modules, *self._words),
            cwd=self._work,
            env=dict(self._environ),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                while not self._socket.exists():
                    if self._process.returncode is not None:
                        raise AgentFailure("sshd did not start; the session's log tells why")
                    await asyncio.sleep(_LOOK_EVERY)
        except TimeoutError:
            self._process.kill()
            raise AgentFailure("sshd did not listen in time") from None

    async def ended(self) -> None:
        """Wait until its process is gone; the container ends it."""
        if self._process is not None:
            await self._process.wait()
