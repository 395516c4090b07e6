"""Batch mode in the runner: clean, build and execute what was uploaded, as shell commands.

Runs inside the runner.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from .interpreter import NO_INTERPRETER

Command = str | list[str]

# `input` of a program in batch mode asks the runner, which asks the client. At most 1024 bytes of
# an answer arrive. Source: API reference 10.4.
_SITE = """\
import builtins
import os
import socket
import sys


def _input(prompt=""):
    sys.stdout.write(str(prompt))
    sys.stdout.flush()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        try:
            asked.connect(os.environ["_BACKEND_INPUT"])
        except OSError:
            return "<user-input-unavailable>"
        return asked.recv(1024).decode()


builtins.input = _input
"""


class Batch:
    """The three steps of a batch run, each of which ends with a record of its own.

    ``"*"`` as a command means the default for Python, an empty one that the step is left out.
    After a build that failed, the execution ends at once with exit code 127.

    Args:
        folder: Private folder of the container.
        work: Current folder of the commands.
        environ: Environment of the commands.
        python: The interpreter of the session's image, for the default steps.
        send: Takes each record for the agent.
        typed: Waits for a line that the user typed.
        begun: Called when a command has been started.

    Source: API reference 4.8.4; recording 32.
    """

    def __init__(
        self,
        folder: Path,
        work: Path,
        environ: Mapping[str, str],
        *,
        python: str,
        send: Callable[[str, bytes], None],
        typed: Callable[[], str],
        begun: Callable[[], None],
    ) -> None:
        self._work = work
        self._python = python
        self._send = send
        self._typed = typed
        self._begun = begun
        self._failed = False
        self._process: subprocess.Popen[bytes] | None = None
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(_SITE)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(str(folder / "input"))
        self._door.listen()
        self._environ = dict(environ)
        self._asking = {
            "_BACKEND_BATCH_MODE": "1",
            "_BACKEND_INPUT": str(folder / "input"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(site), environ.get("PYTHONPATH")])),
        }

    def clean(self, command: str) -> None:
        """Run the clean step; by default there is nothing to clean."""
        code = self.run(command) if command not in ("", "*") else 0
        self._ends("clean-finished", code)

    def build(self, command: str) -> None:
        """Run the build step: ``make`` where there is a Makefile, else ``setup.py``."""
        found: Command | None = command or None
        if command == "*":
            found = self._default_build()
        code = self.run(found) if found else 0
        self._failed = code != 0
        self._ends("build-finished", code)

    def execute(self, command: str) -> None:
        """Run the execution step, by default ``main.py``."""
        if self._failed:
            self._failed = False
            code = NO_INTERPRETER
        elif not command:
            code = 0
        elif command != "*":
            code = self.run(command, **self._asking)
        elif (self._work / "main.py").is_file():
            code = self.run([self._python, "main.py"], **self._asking)
        else:
            code = NO_INTERPRETER
        self._ends("finished", code)

    def interrupt(self) -> bool:
        """Send SIGINT to the command that runs; false when none does."""
        process = self._process
        if process is None:
            return False
        process.send_signal(signal.SIGINT)
        return True

    def _default_build(self) -> Command | None:
        if (self._work / "Makefile").is_file():
            return "make"
        if (self._work / "setup.py").is_file():
            return [self._python, "-m", "pip", "install", "--user", "-e", "."]
        return None

    def _ends(self, kind: str, code: int) -> None:
        self._send(kind, json.dumps({"exitCode": code}).encode())

    def run(self, command: Command, **more: str) -> int:
        """Run one command to its end, output to the agent and to the container's log."""
        self._process = subprocess.Popen(
            command,
            shell=isinstance(command, str),
            cwd=self._work,
            env={**self._environ, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            self._begun()
            self._pump(self._process)
            return self._process.wait()
        finally:
            self._process = None

    def _pump(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None and process.stderr is not None
        with selectors.DefaultSelector() as ready, process.stdout, process.stderr:
            ready.register(process.stdout, selectors.EVENT_READ, ("stdout", 1))
            ready.register(process.stderr, selectors.EVENT_READ, ("stderr", 2))
            ready.register(self._door, selectors.EVENT_READ)
            while len(ready.get_map()) > 1:  # until both streams have ended
                for key, _ in ready.select():
                    if key.fileobj is self._door:
                        asked = self._door.accept()[0]
                        threading.Thread(target=self._ask, args=[asked], daemon=True).start()
                        continue
                    kind, log = key.data
                    data = os.read(key.fd, 65536)
                    if data:
                        os.write(log, data)
                        self._send(kind, data)
                    else:
                        ready.unregister(key.fileobj)

    def _ask(self, asked: socket.socket) -> None:
        with asked:
            self._send("waiting-input", b"")
            try:
                asked.sendall(self._typed().encode())
            except BrokenPipeError:
                return  # the program did not wait
