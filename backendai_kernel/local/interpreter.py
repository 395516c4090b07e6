"""The interpreter of a session: one ipykernel, and the wire to it.

Runs inside the runner; the ipykernel runs in the interpreter of the session's image. The wire is Jupyter's messaging protocol over sockets in the container's private folder, so no
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

from .interrupts import Interrupts
from .outputs import exit_code_of, read_json, records_of

NO_INTERPRETER = 127  # exit code of every run of a session whose interpreter did not come up
_DELIMITER = b"<IDS|MSG>"
_ASK_AGAIN_MS = 100
_LATE_REPLY_MS = 2000
_LAST_WORDS_MS = 200  # what an interpreter sent before it went away has arrived by then
_POLLOUT = 2  # zmq.POLLOUT; zmq is imported late

# A configuration of IPython that tells us when a cell has really begun: until then, ipykernel
# takes a SIGINT for its own and the cell gets no answer. The server writes this file too, to have
# Matplotlib draw inline; ipykernel does that by itself, without loading Matplotlib at the start.
_CONFIG = """\
import ast
import os


class _Begun(ast.NodeTransformer):
    def visit(self, node):
        try:
            fd = os.open({signal!r}, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return node
        os.write(fd, b"!")
        os.close(fd)
        return node


c = get_config()  # noqa
c.InteractiveShell.ast_transformers = [_Begun()]
"""


class NoInterpreter(Exception):
    """The interpreter did not come up."""


class NoPython(Exception):
    """There is no program to be the interpreter."""


class Interpreter:
    """One ipykernel in its own process group.

    Args:
        folder: Private folder for the connection file and the sockets.
        work: Current folder and home of the user's code.
        environ: Environment of the user's code.
        python: The interpreter of the session's image, Python 3.8 and ipykernel 5 or later.

    Raises:
        NoPython: *python* cannot be started.

    An interpreter may replace itself, with the words of its command line: it binds the same
    sockets. The server's dies of a warning about TCP when it forgets to put its standard streams
    right first (recording 29a); over our sockets there is no such warning, and it lives.

    Source: API reference 10; recordings 28, 29.
    """

    def __init__(
        self, folder: Path, work: Path, environ: Mapping[str, str], *, python: str
    ) -> None:
        self._session = uuid.uuid4().hex
        self._key = uuid.uuid4().hex
        self._base = folder / "kernel"
        self._count = 0
        self._interrupts = Interrupts(self._signal_group)
        self._configure(folder, work)
        connection = folder / "connection.json"
        connection.touch(0o600)
        connection.write_text(json.dumps(self._connection()))
        try:
            self._process = subprocess.Popen(
                [python, "-m", "ipykernel_launcher", "-f", str(connection)],
                cwd=work,
                env={**environ, "JPY_PARENT_PID": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except OSError as exc:
            raise NoPython(f"The Python of the image does not start: {exc}.") from exc
        self.pid = self._process.pid

    def _configure(self, folder: Path, work: Path) -> None:
        signal_path = folder / "begun"
        os.mkfifo(signal_path, 0o600)
        # Opened for both, so that it is never at its end.
        self._signal = os.open(signal_path, os.O_RDWR | os.O_NONBLOCK)
        profile = work / ".ipython" / "profile_default"
        profile.mkdir(parents=True, exist_ok=True)
        config = _CONFIG.format(signal=str(signal_path))
        (profile / "ipython_kernel_config.py").write_text(config)

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
            NoInterpreter: It ended (the image has no ipykernel), or it did not answer within
                *patience* seconds.
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
            wire.immediate = True  # nothing is sent into a connection that is not there
            wire.reconnect_ivl = 10  # milliseconds; after the interpreter has replaced itself
            wire.connect(f"ipc://{self._base}-{_CHANNELS.index(name) + 1}")
        self._breaks = self._shell.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._poller = zmq.Poller()
        self._poller.register(self._breaks, zmq.POLLIN)
        self._poller.register(self._iopub, zmq.POLLIN)
        self._poller.register(self._stdin, zmq.POLLIN)
        self._poller.register(self._signal, zmq.POLLIN)
        deadline = time.monotonic() + patience
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise NoInterpreter
        self._connected = True

    def _answers(self) -> bool:
        # Output that was published before our subscription arrived is lost, so ask until an
        # output of ours comes back.
        if not self._shell.poll(_ASK_AGAIN_MS, _POLLOUT):
            return False
        self._send(self._shell, "kernel_info_request", {})
        while self._iopub.poll(_ASK_AGAIN_MS):
            _, parent, _ = _read(self._iopub.recv_multipart())
            if parent.startswith(self._session):
                return True
        return False

    def _broken(self) -> None:
        self._breaks.recv_multipart()
        self._connected = False

    def _reconnect(self) -> None:
        """Return when an interpreter is there: at once, or when a new one has come up.

        The server's runner sends into the broken connection when it does not know it yet, and
        that run is lost.
        """
        while self._breaks.poll(0):
            self._broken()
        while not self._connected:
            self._connected = self._answers()

    def announce(self) -> None:
        """Say that a call of `execute` will follow; interrupts wait for it from now on."""
        self._interrupts.announce()

    def execute(
        self,
        code: str,
        send: Callable[[str, bytes], None],
        typed: Callable[[], str],
        begun: Callable[[], None],
    ) -> int:
        """Run *code*, which was announced, and return its exit code.

        A call never comes back when the interpreter died under it: as on the server, nobody looks
        (recording 28).

        Args:
            send: Takes each record for the agent.
            typed: Waits for a line that the user typed; meanwhile nothing else is read.
            begun: Called when the interpreter has begun with it.
        """
        try:
            exit_code = None
            while exit_code is None:
                self._reconnect()
                asked = self._send(self._shell, "execute_request", _request(code))
                exit_code = self._follow(asked, send, typed, begun)
            return exit_code
        finally:
            self._interrupts.over()

    def _follow(
        self,
        asked: str,
        send: Callable[[str, bytes], None],
        typed: Callable[[], str],
        begun: Callable[[], None],
    ) -> int | None:
        """Return the exit code, or ``None`` when the interpreter went away before it began."""
        exit_code = 0
        arrived = broken = False
        while True:
            ready = dict(self._poller.poll(_LAST_WORDS_MS if broken else None))
            if broken and not ready:
                return None
            if self._breaks in ready:
                self._broken()
                broken = not arrived
            if self._signal in ready:
                os.read(self._signal, 4096)
                begun()
                self._interrupts.begun()
            if self._stdin in ready:
                kind, _, content = _read(self._stdin.recv_multipart())
                if kind == "input_request":
                    self._answer(content, send, typed)
            if self._iopub not in ready:
                continue
            kind, parent, raw = _read(self._iopub.recv_multipart(), lazy=True)
            if parent != asked:
                continue  # a thread of an earlier run: the server drops it too
            arrived, broken = True, False
            content = read_json(raw)
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind == "error":
                exit_code = exit_code_of(content)
            for record in records_of(kind, content):
                send(*record)
        # The reply says nothing new. It never comes when ipykernel itself took an interrupt; the
        # server's runner then waits for ever.
        while self._shell.poll(_LATE_REPLY_MS):
            if _read(self._shell.recv_multipart())[1] == asked:
                break
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
        """Send SIGINT to the interpreter and to what it started; nothing when it is gone.

        May be called while another thread executes. One that comes while a cell is on its way in
        waits until it has begun; the server's is lost in that moment.
        """
        self._interrupts.ask()

    def _signal_group(self) -> None:
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
