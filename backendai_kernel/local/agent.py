"""The agent of this computer: a container is a process tree with a folder of its own.

The root of the tree is the runner, a child process in its own session. It is joined to us by a
socket; when that closes, because we close it or die in whatever way, the runner ends the tree.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from .coderunner import AgentFailure, CodeRunner
from .environment import environment_of
from .keys import has_sshd, write_keys
from .processes import end_all
from .readonly import words_for
from .services import Sshd

__all__ = ["AgentFailure", "Container", "ContainerSpec", "start_container"]

LOG_SIZE = 10 * 2**20  # bytes of a container's log that are shown
_END_PATIENCE = 5.0  # seconds for a runner to end by itself
_NOT_STARTED = 127  # exit status of a command that was not found
# The runner is started apart from the session's environment, which is meant for another interpreter,
# and finds modules where we find them.
_RUNNER = """\
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from backendai_kernel.local.runner import main
main()
"""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a container is made from.

    Attributes:
        kernel_id: The container's id; for the only container of a session, the session's.
        work: The session's ``/home/work`` on this computer: home and current folder of the code.
        slots: Slot name → amount, memory in bytes. Recorded and told to the code, not enforced.
        environ: The user's own variables.
        bootstrap_script: Text of a shell script that runs before the session does.
        python: The interpreter of the session's image.
        exit_codes: Whether an exception gives exit code 1; servers up to 25.10 always give 0.
        patience: Seconds until an interpreter that does not answer is given up: every run then
            ends at once with exit code 127. The server waits 10 s, which a busy computer can need.
        service_ports: The variable of that name, ``name:protocol:port`` separated by commas.
        preopen_ports: Ports that the user asked for.
        mounts: Path below the work folder → folder on this computer that is to be there, as a link.
        read_only: Those of them that the container may only read; see `readonly`.
        keeps_steps: Whether output between the steps of a batch run is kept; see `CodeRunner`.
    """

    session_id: str
    kernel_id: str
    name: str
    image: str
    access_key: str
    work: Path
    slots: Mapping[str, Decimal]
    environ: Mapping[str, str] = field(repr=False)  # may hold a secret
    bootstrap_script: str | None = field(repr=False)
    python: str
    exit_codes: bool = True
    patience: float = 30.0
    service_ports: str = ""
    preopen_ports: tuple[int, ...] = ()
    keeps_steps: bool = field(default=True, kw_only=True)
    mounts: Mapping[str, Path] = field(default_factory=dict, kw_only=True)
    read_only: tuple[Path, ...] = field(default=(), kw_only=True)


async def start_container(spec: ContainerSpec) -> Container:
    """Return a container whose runner serves; its interpreter has come up, or never will.

    Cancelling leaves nothing behind.

    Raises:
        AgentFailure: The runner did not start.
    """
    container = Container(spec)
    await container._start()  # noqa: SLF001 -- a container that was not started is no use to anybody
    return container


class Container:
    """A running session on this computer; made by `start_container`.

    Attributes:
        spec: What it was made from.
        ended: Done when nothing of it runs any more; the exit status of its runner.
        sshd: Its SSH server.
    """

    def __init__(self, spec: ContainerSpec) -> None:
        self.spec = spec
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._executing = asyncio.Event()
        self._restarting = False
        self._last_logs = ""

    @property
    def pid(self) -> int:
        """The process at the root of its tree."""
        return self._process.pid

    # --- life --------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bai-"))  # short: socket names are limited
        self._log: BinaryIO = (self._folder / "container.log").open("a+b", buffering=0)
        self._log.write(f"Kernel started at: {datetime.now(UTC):%FT%T+00:00}\n".encode())
        try:
            await self._prepare()
            await self._launch()
        except BaseException as exc:  # a cancellation too: nobody may wait for this session
            self._forget()
            self.ended.set_result(_NOT_STARTED)
            if isinstance(exc, OSError):
                raise AgentFailure(f"the runner did not start: {exc}") from exc
            raise
        self._end = asyncio.create_task(self._wait())
        first: set[asyncio.Future[Any]] = {self._ready, self._end}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            raise
        if not self._ready.done():
            raise AgentFailure(f"the runner did not start:\n{self.logs()}")
        self._interpreter = self._ready.result()

    async def _prepare(self) -> None:
        for name, place in self.spec.mounts.items():
            link = self.spec.work / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():  # it is there already after a restart
                link.symlink_to(place, target_is_directory=True)
        if self.spec.bootstrap_script is not None:
            (self.spec.work / "bootstrap.sh").write_text(self.spec.bootstrap_script)
        if has_sshd():
            await asyncio.to_thread(write_keys, self.spec.work)
        self.sshd = Sshd(
            self._folder,
            self.spec.work,
            self._environ(),
            _module_path(),
            self._log,
            self.spec.read_only,
        )

    async def _launch(self) -> None:
        self._ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._completions: list[asyncio.Future[bytes]] = []
        ours, theirs = socket.socketpair()
        with theirs:
            self._link, _ = await asyncio.get_running_loop().create_unix_connection(
                lambda: _Wire(self._deliver), sock=ours
            )
            try:
                self._runs = CodeRunner(
                    self._send,
                    pause=self._link.pause_reading,
                    resume=self._link.resume_reading,
                    keeps_steps=self.spec.keeps_steps,
                )
                self._process = await self._spawn(theirs)
            except BaseException:
                self._link.close()
                raise

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        spec = self.spec
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            *("-c", _RUNNER),
            _module_path(),
            f"--link={theirs.fileno()}",
            f"--folder={self._folder}",
            f"--python={spec.python}",
            f"--patience={spec.patience}",
            "--exit-codes" if spec.exit_codes else "--no-exit-codes",
            *words_for(spec.read_only),
            cwd=spec.work,
            env=self._environ(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )

    def _environ(self) -> dict[str, str]:
        spec = self.spec
        return environment_of(
            os.environ,
            session_id=spec.session_id,
            kernel_id=spec.kernel_id,
            name=spec.name,
            image=spec.image,
            access_key=spec.access_key,
            work=spec.work,
            python=spec.python,
            slots=spec.slots,
            given=spec.environ,
            service_ports=spec.service_ports,
            preopen_ports=spec.preopen_ports,
        )

    async def _wait(self) -> None:
        """Own the process tree: see it end, and that nothing of it is left."""
        status = await self._process.wait()
        await asyncio.to_thread(end_all, self.spec.kernel_id, self._process.pid)
        await self.sshd.ended()
        self._link.close()
        self._executing.clear()
        for asked in self._completions:
            asked.cancel()
        self._runs.close("the container is gone")
        self._forget()
        if not self._restarting:
            self.ended.set_result(status)

    def _forget(self) -> None:
        self._last_logs = self.logs()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def stop(self) -> None:
        """End the whole process tree; returns when nothing of it runs any more.

        A poll that is held meanwhile gets its answer as if the code went on (recording 36).
        """
        self._link.close()
        await asyncio.wait({self._end}, timeout=_END_PATIENCE)
        if not self._end.done():
            with contextlib.suppress(ProcessLookupError):  # it has gone, and its children are going
                self._process.kill()  # it does not look at its link
        await asyncio.shield(self._end)

    async def restart(self) -> None:
        """Replace the process tree by a new one in the same work folder; ``ended`` waits on.

        Raises:
            AgentFailure: The new one did not start, and the container has ended.
        """
        self._restarting = True
        try:
            await self.stop()
        finally:
            self._restarting = False
        await self._start()

    async def kill_runner(self) -> None:
        """Kill the runner, as an accident would; returns when the container is gone."""
        self._process.kill()
        await asyncio.shield(self._end)

    async def kill_interpreter(self) -> None:
        """Kill the interpreter, as an accident would; the container goes on without (recording 28)."""
        try:
            os.kill(self._interpreter, signal.SIGKILL)
        except ProcessLookupError:
            return

    async def exhaust_memory(self) -> None:
        """Kill the interpreter as the system does when memory runs out (seen with 26.4.16)."""
        self._log.write(b"python-kernel: [WARNING] Out-of-memory detected!\n")
        await self.kill_interpreter()

    # --- work --------------------------------------------------------------------------------

    async def execute(
        self,
        mode: str,
        code: str,
        run_id: str | None,
        options: Mapping[str, Any] | None,
        *,
        flush: float,
    ) -> dict[str, Any]:
        """Carry out one request of a run; see `CodeRunner.execute`."""
        return await self._runs.execute(mode, code, run_id, options, flush=flush)

    async def running(self) -> None:
        """Return when a run executes the user's code; at once when one does."""
        await self._executing.wait()

    async def interrupt(self) -> None:
        """Ask the running code to stop; nobody tells whether it does (API reference 10.6)."""
        self._send("interrupt", b"")

    async def complete(self, code: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the runner's completions, of which there are none (recording 20).

        Raises:
            AgentFailure: The container is gone.
        """
        if self.ended.done():
            raise AgentFailure("the container is gone")
        asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._completions.append(asked)
        self._send("complete", json.dumps({"code": code, **options}).encode())
        await asyncio.wait({asked})
        if asked.cancelled():
            raise AgentFailure("the container is gone")
        return {"status": "finished", "error": None, **json.loads(asked.result())}

    def logs(self) -> str:
        """Return the end of the container's log, as from a terminal: lines end in CR and LF."""
        if self._log.closed:
            return self._last_logs
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - LOG_SIZE))
        return self._log.read().decode(errors="replace").replace("\n", "\r\n")

    def _send(self, command: str, payload: bytes) -> None:
        self._link.write(_frame(command, payload))

    def _deliver(self, kind: str, payload: bytes) -> None:
        if kind == "begun":
            self._executing.set()
        elif kind == "ready":
            self._executing.clear()  # bootstrap.sh is over
            self._ready.set_result(json.loads(payload)["pid"])
        elif kind == "completion":
            self._completions.pop(0).set_result(payload)
        else:
            if kind.endswith("finished"):
                self._executing.clear()
            self._runs.deliver(kind, payload)


def _module_path() -> str:
    return json.dumps([os.path.abspath(entry) for entry in sys.path])


_HEAD = 5  # bytes: length of the kind, length of the payload


def _frame(kind: str, payload: bytes) -> bytes:
    name = kind.encode()
    return b"".join((bytes([len(name)]), len(payload).to_bytes(4, "big"), name, payload))


class _Wire(asyncio.Protocol):
    """Cuts what the runner sends into records."""

    def __init__(self, deliver: Callable[[str, bytes], None]) -> None:
        self._deliver = deliver
        self._rest = bytearray()

    def data_received(self, data: bytes) -> None:
        self._rest += data
        at = 0
        while len(self._rest) - at >= _HEAD:
            name = at + _HEAD
            payload = name + self._rest[at]
            end = payload + int.from_bytes(self._rest[at + 1 : name], "big")
            if len(self._rest) < end:
                break
            self._deliver(self._rest[name:payload].decode(), bytes(self._rest[payload:end]))
            at = end
        del self._rest[:at]
