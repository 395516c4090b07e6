"""The interpreter of a session: one ipykernel, and the wire to it.

Runs inside the runner, in the interpreter of the session's image: needs ipykernel and pyzmq only.
The wire is Jupyter's messaging protocol over sockets in the container's private folder, so no
other user of the computer reaches it and no port is taken.
"""

from __future__ import annotations

import hmac
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .outputs import exit_code_of, records_of

NO_INTERPRETER = 127  # exit code of every run of a session whose interpreter did not come up
_DELIMITER = b"<IDS|MSG>"
_ASK_AGAIN_MS = 100


class NoInterpreter(Exception):
    """The interpreter did not come up."""


class Interpreter:
    """One ipykernel in its own process group.

    Args:
        folder: Private folder for the connection file and the sockets.
        work: Current folder and home of the user's code.
        environ: Environment of the user's code.

    Source: API reference 10; recordings 28, 29.
    """

    def __init__(self, folder: Path, work: Path, environ: Mapping[str, str]) -> None:
        self._session = uuid.uuid4().hex
        self._key = uuid.uuid4().hex
        self._base = folder / "kernel"
        self._count = 0
        connection = folder / "connection.json"
        connection.touch(0o600)
        connection.write_text(json.dumps(self._connection()))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection)],
            cwd=work,
            env={**environ, "JPY_PARENT_PID": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        self.pid = self._process.pid

    def _connection(self) -> dict[str, object]:
        ports = {f"{name}_port": n for n, name in enumerate(_CHANNELS, 1)}
        return {
            "transport": "ipc",
            "ip": str(self._base),
            "key": self._key,
            "signature_scheme": "hmac-sha256",
            "kernel_name": "python3",
            **ports,
        }

    def connect(self, patience: float) -> None:
        """Return when the interpreter answers and its output reaches us.

        Raises:
            NoInterpreter: It ended, or did not answer within *patience* seconds.
        """
        import zmq  # after the interpreter has been started: both load at the same time

        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._shell = context.socket(zmq.DEALER)
        self._stdin = context.socket(zmq.DEALER)
        self._iopub = context.socket(zmq.SUB)
        self._iopub.subscribe(b"")
        for name, wire in (
            ("shell", self._shell),
            ("stdin", self._stdin),
            ("iopub", self._iopub),
        ):
            wire.identity = self._session.encode()  # one for all: input requests follow the shell's
            wire.linger = 0
            wire.reconnect_ivl = 10  # milliseconds; after the interpreter has replaced itself
            wire.connect(f"ipc://{self._base}-{_CHANNELS.index(name) + 1}")
        self._poller = zmq.Poller()
        self._poller.register(self._iopub, zmq.POLLIN)
        self._poller.register(self._stdin, zmq.POLLIN)
        deadline = time.monotonic() + patience
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoInterpreter

    def _answers(self) -> bool:
        # Output that was published before our subscription arrived is lost, so ask until an
        # output of ours comes back.
        self._send(self._shell, "kernel_info_request", {})
        while self._iopub.poll(_ASK_AGAIN_MS):
            _, parent, _ = _read(self._iopub.recv_multipart())
            if parent.startswith(self._session):
                return True
        return False

    def execute(
        self,
        code: str,
        send: Callable[[str, bytes], None],
        typed: Callable[[], str],
        begun: Callable[[], None],
    ) -> int:
        """Run *code* and return its exit code.

        A call never comes back when the interpreter died under it: as on the server, nobody looks
        (recording 28).

        Args:
            send: Takes each record for the agent.
            typed: Waits for a line that the user typed; meanwhile nothing else is read.
            begun: Called when the interpreter has begun with it.
        """
        asked = self._send(self._shell, "execute_request", _request(code))
        exit_code = 0
        while True:
            ready = dict(self._poller.poll())
            if self._stdin in ready:
                kind, _, content = _read(self._stdin.recv_multipart())
                if kind == "input_request":
                    self._answer(content, send, typed)
                continue
            kind, parent, raw = _read(self._iopub.recv_multipart(), lazy=True)
            if parent != asked:
                continue  # a thread of an earlier run: the server drops it too
            content = json.loads(raw)
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind == "execute_input":
                begun()
            elif kind == "error":
                exit_code = exit_code_of(content)
            for record in records_of(kind, content):
                send(*record)
        while _read(self._shell.recv_multipart())[1] != asked:
            pass
        return exit_code

    def _answer(
        self,
        request: dict[str, Any],
        send: Callable[[str, bytes], None],
        typed: Callable[[], str],
    ) -> None:
        if request["prompt"]:
            send("stdout", request["prompt"].encode())
        send("waiting-input", json.dumps({"is_password": request["password"]}).encode())
        self._send(self._stdin, "input_reply", {"value": typed()})

    def interrupt(self) -> None:
        """Send SIGINT to the interpreter and to what it started; nothing when it is gone."""
        try:
            os.killpg(self.pid, signal.SIGINT)
        except ProcessLookupError:
            return

    def _send(self, wire: Any, kind: str, content: dict[str, object]) -> str:
        self._count += 1
        name = f"{self._session}_{self._count}"
        header = {
            "msg_id": name,
            "msg_type": kind,
            "username": "work",
            "session": self._session,
            "date": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "version": "5.3",
        }
        parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        sealed = hmac.new(self._key.encode(), b"".join(parts), "sha256").hexdigest()
        wire.send_multipart([_DELIMITER, sealed.encode(), *parts])
        return name


_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


def _request(code: str) -> dict[str, object]:
    return {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": True,
        "stop_on_error": True,
    }


def _read(frames: list[bytes], *, lazy: bool = False) -> tuple[str, str, Any]:
    """Return a message's type, the id of its parent, and its content (undecoded when *lazy*)."""
    at = frames.index(_DELIMITER)
    header = json.loads(frames[at + 2])
    parent = json.loads(frames[at + 3])
    content = frames[at + 5]
    return header["msg_type"], parent.get("msg_id", ""), content if lazy else json.loads(content)


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG
