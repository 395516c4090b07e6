"""Apps that are open at a port of this computer: each by a process of its own.

```python
opened = await open_app(client, session, App(port), state=state, on_note=print)
list_open(state)           # those of all notebooks and terminals of this user
await close_app(opened)
```

A tunnel in a thread of a kernel that computes would be twentyfold slower, so each has a process
(`carrier`). It ends when this one ends, however that comes about: it holds the other end of a pipe.
Each open port has a record in the state folder, locked as long as its process lives.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .apps import App
from .client import Client
from .errors import BackendError, ConfigError
from .model import ServicePort, Session
from .tunnel import Bind, reachable

_FOLDER = "apps"
_STARTED_WITHIN = 30.0  # seconds for a process to listen
_CLOSED_WITHIN = 5.0
_LOOK_EVERY = 0.02
_START = """\
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from backendai_kernel.carrier import main
sys.exit(main())
"""

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class OpenApp:
    """An app that is open at a port of this computer.

    Attributes:
        url: Where this computer reaches it.
        path: What follows the port in it.
        pid: Of the process that listens; ``parent`` is who has started that one.
        since: When, in seconds since 1970.
    """

    session: str
    session_id: str
    app: str
    protocol: str
    endpoint: str
    host: str
    port: int
    url: str
    pid: int
    parent: int
    since: float
    was_taken: int | None = None

    @classmethod
    def of(
        cls, client: Client, session: Session, port: ServicePort, address: tuple[str, int]
    ) -> OpenApp:
        """Describe what this very process has opened."""
        return cls(
            session=session.name,
            session_id=session.id,
            app=port.name,
            protocol=port.protocol,
            endpoint=client.config.endpoint,
            host=address[0],
            port=address[1],
            url=port.address(reachable(address[0]), address[1]),
            pid=os.getpid(),
            parent=os.getppid(),
            since=time.time(),
        )

    @property
    def path(self) -> str:
        """What follows the port in the link, such as ``/?token=…``."""
        return self.url.partition(f":{self.port}")[2]

    @property
    def is_web(self) -> bool:
        """A browser can open it."""
        return self.url.startswith("http")

    @property
    def is_ours(self) -> bool:
        """This process has opened it."""
        return self.pid in _children or self.pid == os.getpid()

    def is_meant(self, session: str, app: str = "") -> bool:
        """Tell whether words mean it: a session and perhaps an app, or the number of a port."""
        if not app and session == str(self.port):
            return True
        is_session = session == self.session or (
            len(session) >= 8 and self.session_id.startswith(session)
        )
        return is_session and app in ("", self.app)


# -- open and close ---------------------------------------------------------------------------


class _Child:
    """A process that listens for us, and the task that reads what it says."""

    def __init__(self, process: asyncio.subprocess.Process, opened: OpenApp, key: Any) -> None:
        self.process = process
        self.opened = opened
        self.key = key
        self.reading: asyncio.Task[None] | None = None


_children: dict[int, _Child] = {}  # by process id: a child belongs to its process, as this does


async def open_app(
    client: Client,
    session: Session,
    app: App,
    *,
    state: Path,
    bind: Bind | None = None,
    on_note: Note = lambda note: None,
) -> OpenApp:
    """Open an app at a port, by a process that ends with this one; return once it listens.

    What is open already for the same wish is returned again. Cancelling ends the new process.

    Args:
        state: The state folder, see `config.state_dir`.
        on_note: Told in a sentence, also later: trouble, and the end of the session. It is called
            on the loop.

    Raises:
        ConfigError: The port cannot be listened on, or no process can be started.
    """
    bind = bind or Bind()
    key = (session.id, app.port.name, bind, repr(app.arguments), repr(app.envs), client.config)
    for child in _children.values():
        if child.key == key and child.process.returncode is None:
            return child.opened
    process = await _spawn()
    try:
        async with asyncio.timeout(_STARTED_WITHIN):
            opened = await _begin(process, _job(client, session, app, bind, state))
    except TimeoutError:
        await _end(process)
        raise ConfigError(f"The port for the app {app.port.name} did not open in time.") from None
    except BaseException:
        await _end(process)
        raise
    child = _children[opened.pid] = _Child(process, opened, key)
    child.reading = asyncio.create_task(_read(child, on_note))
    return opened


async def close_app(opened: OpenApp, *, state: Path) -> bool:
    """Close a port, whoever has opened it; tell whether it was still open.

    Raises:
        ConfigError: It cannot be closed: it belongs to somebody else.
    """
    child = _children.get(opened.pid)
    if child is not None:
        await _end(child.process)
        if child.reading is not None:
            await asyncio.wait([child.reading])
        return True
    record = state / _FOLDER / f"{opened.pid}.json"
    if not _is_held(record):
        return False
    try:
        os.kill(opened.pid, signal.SIGTERM)
        async with asyncio.timeout(_CLOSED_WITHIN):
            while _is_held(record):  # noqa: ASYNC110 -- another's process has no event
                await asyncio.sleep(_LOOK_EVERY)
    except ProcessLookupError:
        return False
    except (PermissionError, TimeoutError) as exc:
        raise ConfigError(
            f"The process {opened.pid} with port {opened.port} does not end ({type(exc).__name__})."
        ) from exc
    return True


async def _spawn() -> asyncio.subprocess.Process:
    # Not the current folder: what lies there is no part of the program.
    modules = [path for path in sys.path if os.path.isabs(path)]
    pipe = asyncio.subprocess.PIPE
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-c", _START, json.dumps(modules)),
            stdin=pipe,
            stdout=pipe,
            # Ctrl-C in a terminal is not meant for it. A session of its own would do that as well,
            # but Linux gives each one its share of a processor, and words then waited four times as
            # long beside whatever computes (`docs/performance.md`).
            process_group=0,
        )
    except OSError as exc:
        raise ConfigError(f"No process can be started for the port: {exc}.") from exc


def _job(client: Client, session: Session, app: App, bind: Bind, state: Path) -> dict[str, Any]:
    """Return what the process needs; it goes through the pipe, because it holds the secret key."""
    config = asdict(client.config)
    config.pop("sources")
    config["cookie_file"] = config["cookie_file"] and str(config["cookie_file"])
    port = {"name": app.port.name, "protocol": app.port.protocol, "ports": app.port.ports}
    return {
        "config": config,
        "session": {"id": session.id, "name": session.name, "status": session.status_name},
        "port": port | {"url_template": app.port.url_template},
        "arguments": dict(app.arguments),
        "envs": dict(app.envs),
        "bind": asdict(bind),
        "state": str(state),
    }


async def _begin(process: asyncio.subprocess.Process, job: dict[str, Any]) -> OpenApp:
    assert process.stdin is not None and process.stdout is not None
    with suppress(ConnectionError):  # it is gone: that it says nothing tells as much
        process.stdin.write(json.dumps(job).encode() + b"\n")
        await process.stdin.drain()
    said = _told(await process.stdout.readline())
    if "opened" in said:
        return OpenApp(**said["opened"])
    message = str(said.get("error") or "The process for the port did not start.")
    raise ConfigError(message, hint=str(said.get("hint") or ""))


async def _read(child: _Child, on_note: Note) -> None:
    assert child.process.stdout is not None
    try:
        while line := await child.process.stdout.readline():
            if note := _told(line).get("note"):
                on_note(str(note))
        await child.process.wait()
    finally:
        _children.pop(child.opened.pid, None)
        await _end(child.process)


def _told(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process: its pipe first, then less gently; cancelling does not stop that."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_CLOSED_WITHIN):
            await process.wait()
    except TimeoutError:
        pass  # it does not listen: it is killed
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()


# -- records ----------------------------------------------------------------------------------


def list_open(state: Path) -> tuple[OpenApp, ...]:
    """Return what is open on this computer, oldest first; records of dead processes are removed."""
    found = []
    for path in sorted((state / _FOLDER).glob("*.json")):
        try:
            if not _is_held(path):
                path.unlink(missing_ok=True)
                continue
            found.append(OpenApp(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue  # it ends at this moment, or another version has written it
    return tuple(sorted(found, key=lambda opened: opened.since))


@contextmanager
def recorded(opened: OpenApp, state: Path) -> Iterator[None]:
    """Have a record of what this process has opened for as long as it is open.

    Raises:
        BackendError: It cannot be written.
    """
    folder = state / _FOLDER
    path, temporary = folder / f"{opened.pid}.json", folder / f".{opened.pid}.new"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.fdopen(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w")
    except OSError as exc:
        raise BackendError(f"The open port cannot be noted in {folder}: {exc.strerror}.") from exc
    with file:
        _hold(file)
        json.dump(asdict(opened), file)
        file.flush()
        os.replace(temporary, path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _hold(file: Any) -> None:
    with suppress(ImportError):  # Windows: a file that is open cannot be removed there
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def _is_held(path: Path) -> bool:
    """Tell whether the process that has written a record lives."""
    try:
        import fcntl
    except ImportError:
        with suppress(OSError):
            path.unlink()
        return path.exists()
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
