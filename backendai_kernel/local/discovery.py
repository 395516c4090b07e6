"""Where this computer's manager is, and how to have one: all that a client needs of it.

The state folder holds ``manager.json`` (where it listens and with which keypair; mode 0600, there
only while it serves), ``keypair.json`` (kept), ``lock`` (held by the manager as long as it lives),
``manager.log`` and the sessions' own folders.

Nothing but the standard library is imported here: it is on the way to a kernel's first answer.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

STATE_FILE = "manager.json"
LOG_FILE = "manager.log"

READY = "ready"
TAKEN = "taken"

_ANSWERS_WITHIN = 2.0
_PATIENCE = 1.0
_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a manager listens, and a keypair that it takes."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)


def find(state: Path) -> Endpoint | None:
    """Return the manager that serves from this state folder; ``None`` when there is none.

    A file that a manager left behind when it was killed is not believed: the process must live
    and the port must answer.
    """
    try:
        text = (state / STATE_FILE).read_text(encoding="utf-8")
        told = json.loads(text)
        endpoint = Endpoint(told["url"], told["access_key"], told["secret_key"])
        pid = int(told["pid"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return endpoint if _lives(pid) and _answers(endpoint.url) else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return False
    return True


def _answers(url: str) -> bool:
    """Ask for the version; nobody needs to be known for that."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        return False
    question = f"GET / HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((parts.hostname, parts.port), _ANSWERS_WITHIN) as wire:
            wire.sendall(question.encode())
            head = wire.recv(4096)
    except OSError:
        return False
    return head.startswith(b"HTTP/1.1 200") and b"Server: BackendAI" in head


def start(state: Path, *, timeout: float = 30.0) -> Endpoint:
    """Start a manager that outlives this process, and return it once it answers.

    However many start one at the same time, one serves: the others give up in favour of it and
    every caller gets that one.

    Args:
        state: Its state folder; made when it is missing.
        timeout: Seconds until it must answer.

    Raises:
        RuntimeError: It died; the message has the end of its log.
        TimeoutError: It does not answer in time.
        OSError: The folder cannot be made or written to, or no process can be started.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        said = _spawn(state, deadline)
        if said not in (READY, TAKEN):
            raise RuntimeError(f"the manager stopped as it started.\n{_tail(state)}".rstrip())
        # Another one that holds the lock may be on its way up, or on its way out.
        patience = time.monotonic() + _PATIENCE
        while time.monotonic() < min(patience, deadline):
            if (endpoint := find(state)) is not None:
                return endpoint
            time.sleep(0.02)
    raise TimeoutError(f"the manager did not answer within {timeout:g} s; see {state / LOG_FILE}")


def _spawn(state: Path, deadline: float) -> str:
    """Start a detached manager and return its first word: `READY`, `TAKEN`, or ``""`` if it died."""
    reading, writing = os.pipe()
    try:
        with (state / LOG_FILE).open("ab") as log:
            command = [
                *(sys.executable, "-m", "backendai_kernel.local"),
                *("--state", str(state), "--detach", "--tell", str(writing)),
            ]
            try:
                subprocess.run(
                    command,
                    cwd=state,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[writing],
                    start_new_session=True,
                    check=False,
                )
            finally:
                os.close(writing)
        return _first_word(reading, deadline)
    finally:
        os.close(reading)


def _first_word(pipe: int, deadline: float) -> str:
    said = b""
    while not said.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            return TAKEN
        chunk = os.read(pipe, 100)
        if not chunk:
            return ""
        said += chunk
    return said.decode().strip()


def _environment() -> dict[str, str]:
    """Return our environment, with this package importable for a source tree that is on no path."""
    home = str(Path(__file__).parents[2])
    environ = dict(os.environ)
    if home not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        paths = [home, *filter(None, [environ.get("PYTHONPATH")])]
        environ["PYTHONPATH"] = os.pathsep.join(paths)
    return environ


def _tail(state: Path) -> str:
    text = (state / LOG_FILE).read_bytes()[-_TAIL:]
    return text.decode(errors="replace")
