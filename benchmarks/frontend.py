"""A front end that adds as little as it can: plain ZeroMQ sockets and one kernel process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.session import Session

PLAIN = [sys.executable, "-m", "ipykernel_launcher", "-f"]
OURS = [sys.executable, "-m", "backendai_kernel", "--profile", "python", "-f"]

PATIENCE = 300.0  # seconds without a message after which a measurement counts as failed
_RECONNECT = 2  # milliseconds between two attempts to reach a kernel that is starting


@dataclass
class Cell:
    """What came of one cell.

    Attributes:
        seconds: From the request to reply and idle, whichever came later.
        texts: Text of the streams, each with the monotonic time in seconds at which it came.
        kinds: Types of the messages on the broadcast channel, in order.
        status: Of the reply.
        result: Text of the cell's value.
    """

    seconds: float = 0.0
    texts: list[tuple[float, str]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    status: str = ""
    result: str = ""

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.texts)


class Frontend:
    """One kernel process and its sockets; a context manager that shuts the kernel down.

    Attributes:
        greeting: Seconds from the start of the process to its answer to ``kernel_info``.
    """

    def __init__(self, argv: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        path, config = write_connection_file(str(folder / f"kernel-{time.monotonic_ns()}.json"))
        self._wire = Session(key=config["key"].encode())
        self._context = zmq.Context()
        self._shell = self._connect(zmq.DEALER, config["shell_port"])
        self._control = self._connect(zmq.DEALER, config["control_port"])
        self._iopub = self._connect(zmq.SUB, config["iopub_port"])
        self._iopub.subscribe(b"")
        self._poller = zmq.Poller()
        self._poller.register(self._shell, zmq.POLLIN)
        self._poller.register(self._iopub, zmq.POLLIN)
        with (folder / "kernel.log").open("ab") as log:
            began = time.monotonic()
            self.process = psutil.Popen(
                [*argv, path], env=dict(environ), stdout=log, stderr=subprocess.STDOUT
            )
        self._greet()
        self.greeting = time.monotonic() - began
        while not self._hears():  # the broadcast channel may join a moment later
            pass

    def _connect(self, kind: int, port: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.reconnect_ivl = _RECONNECT
        socket.rcvhwm = 0
        socket.connect(f"tcp://127.0.0.1:{port}")
        return socket

    def _greet(self) -> None:
        self._wire.send(self._shell, "kernel_info_request", {})
        if not self._shell.poll(PATIENCE * 1000):
            raise TimeoutError("the kernel does not start")
        self._wire.recv(self._shell)

    def _hears(self) -> bool:
        self._greet()
        heard = bool(self._iopub.poll(200))
        while self._iopub.poll(20):
            self._wire.recv(self._iopub)
        return heard

    def __enter__(self) -> Frontend:
        return self

    def __exit__(self, *exc: object) -> None:
        self._wire.send(self._control, "shutdown_request", {"restart": False})
        try:
            self.process.wait(20)
        except psutil.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._context.destroy(linger=0)

    def run(self, code: str, on_text: Callable[[str], None] = lambda text: None) -> Cell:
        """Run a cell to its end; *on_text* is told of each text as it comes."""
        return self._follow("execute_request", _cell(code), on_text)

    def tell(self, kind: str, content: dict[str, Any]) -> Cell:
        """Send a message that has no reply, such as a widget's, and follow it to its end."""
        return self._follow(kind, content, lambda text: None, has_reply=False)

    def ask(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the content of its reply."""
        own = self._wire.send(self._shell, kind, content)["header"]["msg_id"]
        while self._shell.poll(PATIENCE * 1000):
            message = self._receive(self._shell)
            if message["parent_header"].get("msg_id") == own:
                return dict(message["content"])
        raise TimeoutError(f"no answer to {kind}")

    def _follow(
        self,
        kind: str,
        content: dict[str, Any],
        on_text: Callable[[str], None],
        *,
        has_reply: bool = True,
    ) -> Cell:
        cell = Cell()
        began = time.monotonic()
        own = self._wire.send(self._shell, kind, content)["header"]["msg_id"]
        is_idle, is_replied = False, not has_reply
        while not (is_idle and is_replied):
            ready = dict(self._poller.poll(PATIENCE * 1000))
            if not ready:
                raise TimeoutError(f"no end of: {str(content)[:60]}")
            if self._iopub in ready:
                message = self._receive(self._iopub)
                if message["parent_header"].get("msg_id") == own:
                    is_idle = self._take(cell, message, on_text) or is_idle
            if self._shell in ready:
                message = self._receive(self._shell)
                if message["parent_header"].get("msg_id") == own:
                    cell.status, is_replied = message["content"]["status"], True
        cell.seconds = time.monotonic() - began
        return cell

    def _receive(self, socket: zmq.Socket[bytes]) -> dict[str, Any]:
        _, message = self._wire.recv(socket)
        assert message is not None
        return message

    @staticmethod
    def _take(cell: Cell, message: dict[str, Any], on_text: Callable[[str], None]) -> bool:
        kind, content = message["header"]["msg_type"], message["content"]
        cell.kinds.append(kind)
        if kind == "stream":
            cell.texts.append((time.monotonic(), content["text"]))
            on_text(content["text"])
        if kind == "execute_result":
            cell.result = content["data"]["text/plain"]
        return kind == "status" and content["execution_state"] == "idle"

    def interrupt(self) -> None:
        """Ask for an interrupt, by message."""
        self._wire.send(self._control, "interrupt_request", {})

    def memory(self) -> tuple[float, float]:
        """Return resident and unique memory of the kernel process, in MiB."""
        info = self.process.memory_full_info()
        return info.rss / 2**20, info.uss / 2**20

    def cpu(self) -> float:
        """Return the seconds of CPU that the kernel process has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


def _cell(code: str) -> dict[str, Any]:
    return {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }
