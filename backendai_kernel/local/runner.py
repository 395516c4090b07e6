"""The process inside a container that runs the user's code and tells the agent what came of it.

It runs in the manager's own interpreter and with the environment of the session, and starts one
ipykernel in the interpreter of the session's image: whatever Python and ipykernel that has. It takes
commands from the agent over an inherited socket, and answers with records. When that socket closes,
for whatever reason, it ends everything in the container and itself.

Source: API reference 4.8 and 10.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from . import readonly
from .batch import Batch
from .interpreter import NO_INTERPRETER, Interpreter, NoInterpreter, NoPython
from .processes import MARK, end_all

NOT_FOUND = 127  # exit status when the session's interpreter cannot be started
FRAME = struct.Struct(">BI")  # length of the kind, length of the payload; then both


class Link:
    """The socket to the agent: pairs of a kind and a payload, in both directions."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._one_at_a_time = threading.Lock()

    def send(self, kind: str, payload: bytes = b"") -> None:
        """Send one record; waits while the agent has enough to do."""
        name = kind.encode()
        with self._one_at_a_time:
            self._socket.sendall(FRAME.pack(len(name), len(payload)) + name + payload)

    def receive(self) -> Iterator[tuple[str, bytes]]:
        """Yield commands until the agent closes its end, or dies."""
        with self._socket.makefile("rb") as stream:
            while len(head := stream.read(FRAME.size)) == FRAME.size:
                name, payload = FRAME.unpack(head)
                yield stream.read(name).decode(), stream.read(payload)

    def close(self) -> None:
        """End `receive`, in whatever thread it waits."""
        self._socket.shutdown(socket.SHUT_RDWR)


class Runner:
    """Takes commands in one thread and runs code in another, one task after the other.

    Interrupts, typed input, completions and the agent's end therefore get through while code runs.

    Args:
        folder: Private folder of the container.
        python: The interpreter of the session's image.
        exit_codes: Whether an exception gives exit code 1.

    Raises:
        NoPython: *python* cannot be started.
    """

    def __init__(self, link: Link, folder: Path, python: str, *, exit_codes: bool) -> None:
        self._link = link
        self._exit_codes = exit_codes
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._inputs: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._interpreter: Interpreter | None = Interpreter(
            folder, Path.cwd(), os.environ, python=python
        )
        self._batch = Batch(
            folder,
            Path.cwd(),
            os.environ,
            python=python,
            send=link.send,
            typed=self._inputs.get,
            begun=self._begun,
        )

    def serve(self, patience: float) -> None:
        """Carry out commands until the agent has gone; *patience* is for the interpreter."""
        threading.Thread(target=self._work, args=[patience], daemon=True).start()
        steps = {
            "clean": self._batch.clean,
            "build": self._batch.build,
            "exec": self._batch.execute,
        }
        for command, payload in self._link.receive():
            text = payload.decode()
            if command == "code":
                if self._interpreter is not None:
                    self._interpreter.announce()
                self._tasks.put(lambda text=text: self._query(text))  # type: ignore[misc]
            elif command in steps:
                self._tasks.put(lambda step=steps[command], text=text: step(text))  # type: ignore[misc]
            elif command == "input":
                self._inputs.put(text)
            elif command == "complete":
                self._link.send("completion", b'{"suggestions": []}')  # all that the server's does
            elif command == "interrupt":
                self._interrupt()

    def _work(self, patience: float) -> None:
        try:
            self._get_ready(patience)
            while True:
                self._tasks.get()()
        except BrokenPipeError:
            return  # the agent has gone, and so shall we
        except Exception:  # the outermost edge of this process
            traceback.print_exc()  # into the container's log
            self._link.close()

    def _get_ready(self, patience: float) -> None:
        assert self._interpreter is not None
        pid = self._interpreter.pid
        try:
            self._interpreter.connect(patience)
        except NoInterpreter:
            print("query mode is disabled: failed to start jupyter kernel", flush=True)  # noqa: T201 -- the container's log
            self._interpreter = None
        if Path("bootstrap.sh").is_file():
            self._batch.run(["/bin/sh", "bootstrap.sh"])
        self._link.send("ready", json.dumps({"pid": pid}).encode())

    def _query(self, code: str) -> None:
        exit_code = NO_INTERPRETER
        if self._interpreter is not None:
            try:
                exit_code = self._interpreter.execute(
                    code, self._link.send, self._inputs.get, self._begun
                )
            except AttributeError as exc:  # output of the wrong type
                print(exc, file=sys.stderr, flush=True)  # noqa: T201 -- the container's log
            else:
                exit_code = exit_code if self._exit_codes else 0
        self._link.send("finished", json.dumps({"exitCode": exit_code}).encode())

    def _begun(self) -> None:
        self._link.send("begun")

    def _interrupt(self) -> None:
        if not self._batch.interrupt() and self._interpreter is not None:
            self._interpreter.interrupt()


def main() -> None:
    """Run a container until its agent goes away."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--link", type=int, required=True, help="inherited socket to the agent")
    parser.add_argument(
        "--folder", type=Path, required=True, help="private folder, removed at the end"
    )
    parser.add_argument("--python", required=True, help="interpreter of the session's image")
    parser.add_argument("--patience", type=float, required=True, help="seconds for the interpreter")
    parser.add_argument("--exit-codes", action=argparse.BooleanOptionalAction, default=True)
    readonly.add_words(parser)
    given = parser.parse_args()
    if not readonly.protect(given.read_only):
        places = ", ".join(map(str, given.read_only))
        print(f"Not enforced on this computer: {places} to be read only.", flush=True)  # noqa: T201 -- the container's log
    os.set_inheritable(given.link, False)
    link = Link(socket.socket(fileno=given.link))
    status = 1
    try:
        runner = Runner(link, given.folder, given.python, exit_codes=given.exit_codes)
        runner.serve(given.patience)
        status = 0
    except NoPython as exc:
        print(exc, flush=True)  # noqa: T201 -- the container's log
        status = NOT_FOUND
    except Exception:  # the outermost edge of this process
        traceback.print_exc()  # into the container's log
    finally:
        end_all(os.environ[MARK])
        shutil.rmtree(given.folder, ignore_errors=True)
        os._exit(status)  # a task may still wait for an interpreter that is gone
