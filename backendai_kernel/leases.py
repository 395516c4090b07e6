"""Who answers for a session: one small file for each, locked while its kernel lives.

A kernel that is killed cannot end its session, and neither can its server or a computer that lost
its power. What the operating system does for all three is to let go of a lock. So whoever starts a
session for a kernel writes down beforehand what it is, and holds a lock on that file to its own
end; a file that nobody holds tells of a session that was left behind. No secret is ever in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

from .config import Config, make_private, state_dir
from .errors import ConfigError

BEAT = 30.0
"""Seconds between two signs of life of a kernel, for who looks from another computer."""

_LENGTH = 4096  # bytes: one write of all of them is never seen by halves
_LOCKED_AT = 1 << 30  # a place behind the text: Windows keeps others from reading what is locked
_RETURNS_WITHIN = 90.0  # seconds: a Jupyter server starts a killed kernel again in a few
_SILENT_AFTER = 20 * BEAT  # of a kernel on another computer
_TRIES = 5
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
_TRY_AGAIN = 0.01  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a lease says.

    Attributes:
        name: Name of the session.
        session_id: UUID, ``""`` until the server has told it.
        endpoint, access_key: Which server, and whose session it is there.
        is_local: The server is the embedded manager, whose address is a new one each time.
        host: Name of the computer of the kernel.
        server_pid: Process that started the kernel, mostly a Jupyter server.
        connection_file: The kernel's; a server removes it when it wants the kernel no more.
        notebook: Path of the notebook, where the server has told it.
        image: Of the session.
    """

    name: str
    session_id: str = ""
    endpoint: str = ""
    access_key: str = ""
    is_local: bool = False
    host: str = ""
    server_pid: int = 0
    connection_file: str = ""
    notebook: str = ""
    image: str = ""


class Standing(StrEnum):
    """Whether somebody still answers for a session."""

    HELD = "held"
    RETURNING = "returning"  # its kernel is gone just now, and a Jupyter server may start it again
    LEFT = "left"
    ELSEWHERE = "elsewhere"  # its kernel is on another computer and gives signs of life
    SILENT = "silent"  # … and gives none


@dataclass(frozen=True, slots=True)
class Found:
    """A lease as it was found; ``age`` is in seconds since its kernel's last sign of life."""

    terms: Terms
    standing: Standing
    age: float


class Lease:
    """The file of one session; hold it from before the session's creation to after its end."""

    def __init__(self, environ: Mapping[str, str], name: str) -> None:
        """Look nowhere yet.

        Args:
            environ: Names the folder for what is kept between runs.
            name: The session's name, the same for every process of a kernel.
        """
        self.name = name
        self._path = folder(environ) / name
        # The note of runs lies beside it and ends with it.
        self._note = state_dir(environ) / "kept" / name
        self._file: int | None = None

    @property
    def is_there(self) -> bool:
        """There is a file, of this process or of one before it."""
        return self._path.exists()

    @property
    def is_held(self) -> bool:
        """This process holds it."""
        return self._file is not None

    def read(self) -> Terms:
        """Return what it says; the name alone when nothing can be read."""
        return _read(self._path) or Terms(name=self.name)

    def hold(self) -> bool:
        """Hold it until `release`, `end` or the end of this process; false: another one does.

        Raises:
            OSError: The folder for what is kept cannot be written.
        """
        if self._file is not None:
            return True
        make_private(self._path.parent)
        for _ in range(_TRIES):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            if _lock(file) and _is_same(file, self._path):
                self._file = file
                return True
            os.close(file)
            # Somebody looks at it just now (`survey`), or its last holder has removed it.
            time.sleep(_TRY_AGAIN)
        return False

    def write(self, terms: Terms) -> None:
        """Say what there is; only while it is held."""
        if self._file is None:
            return
        text = json.dumps({k: v for k, v in asdict(terms).items() if v}).encode()
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, text.ljust(_LENGTH))

    def note_session(self, session_id: str) -> None:
        """Add the session's id, once the server has told it."""
        self.write(replace(self.read(), session_id=session_id))

    def beat(self) -> None:
        """Give a sign of life; it takes microseconds."""
        if self._file is not None:
            os.utime(self._path)

    def release(self) -> None:
        """Leave it to the next process of the kernel."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def end(self) -> None:
        """There is no session any more."""
        if self._file is None and not (self.is_there and self.hold()):
            return
        if sys.platform == "win32":  # where an open file cannot be removed
            self.release()
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.release()


def folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the leases, whether it exists or not."""
    return state_dir(environ) / "leases"


def survey(environ: Mapping[str, str]) -> list[Found]:
    """Return all leases of this user, longest silent first. It reads a few small files, no more."""
    try:
        paths = sorted(folder(environ).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [each for path in paths if (each := _look(path)) is not None]
    return sorted(found, key=lambda each: -each.age)


def left_behind(environ: Mapping[str, str]) -> list[Found]:
    """Return the leases that nobody answers for any more."""
    return [each for each in survey(environ) if each.standing is Standing.LEFT]


def hint(found: list[Found]) -> str:
    """Return a sentence about sessions that were left behind, ``""`` for none."""
    if not found:
        return ""
    named = [each.terms.name + _of_notebook(each.terms) for each in found[:3]]
    more = [f"{len(found) - 3} more"] if len(found) > 3 else []
    one = len(found) == 1
    return (
        f"{'A session' if one else f'{len(found)} sessions'} of kernels that are gone may still "
        f"run: {', '.join([*named, *more])}. `%bai gc` ends {'it' if one else 'them'}, "
        f"`%bai attach {found[0].terms.name}` goes on in {'it' if one else 'one'}."
    )


def name_of(connection_file: str) -> str:
    """Return the name of a kernel's session: the same over restarts, and nobody else's.

    The connection file keeps its name while a kernel is restarted. Where that is not a UUID, as for
    ``jupyter console``, computer and folder go into the name as well.
    """
    path = Path(connection_file or "kernel")
    if match := _UUID.search(path.name):
        return f"nb-{match[0].replace('-', '')[:16]}"
    mark = f"{socket.gethostname()}\n{path.resolve()}"
    return f"nb-{hashlib.sha256(mark.encode()).hexdigest()[:16]}"


def _of_notebook(terms: Terms) -> str:
    return f" ({Path(terms.notebook).name})" if terms.notebook else ""


def hand_over(
    name: str, environ: Mapping[str, str], *, cwd: str | None = None
) -> subprocess.Popen[bytes]:
    """Have a process of its own end a session, which outlives this one; it takes milliseconds.

    It finds all it needs in the lease, in the settings and in the environment that it inherits;
    what is on its command line is the session's name.

    Args:
        cwd: Where the search for a ``.env`` file begins; ``None`` for this process's own folder.

    Raises:
        OSError: No process can be started.
    """
    flags = getattr(subprocess, "DETACHED_PROCESS", 0) | getattr(
        subprocess, "CREATE_NEW_PROCESS_GROUP", 0
    )
    return subprocess.Popen(
        [sys.executable, "-m", "backendai_kernel.finish", name],
        cwd=cwd,
        env={**environ, "PYTHONPATH": _import_path(environ)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        creationflags=flags,
    )


def _import_path(environ: Mapping[str, str]) -> str:
    home = str(Path(__file__).parents[1])
    return os.pathsep.join(filter(None, [home, environ.get("PYTHONPATH", "")]))


@contextmanager
def seized(environ: Mapping[str, str], name: str) -> Iterator[Lease | None]:
    """Hold a lease for as long as something is done about its session; ``None``: another does."""
    lease = Lease(environ, name)
    if not lease.is_there or not lease.hold():
        yield None
        return
    try:
        yield lease
    finally:
        lease.release()


def terms_here(name: str, environ: Mapping[str, str], known: Terms) -> Terms:
    """Return what this process can say of a session before it has asked a server.

    Args:
        known: What the lease says, of a process before or of this one; its session stays.
    """
    return replace(
        known,
        name=name,
        host=socket.gethostname(),
        server_pid=os.getppid(),
        notebook=environ.get("JPY_SESSION_NAME", "")[-1000:] or known.notebook,
    )


def sign(lease: Lease, config: Config, image: str, environ: Mapping[str, str]) -> None:
    """Answer for a session on disk before a server is asked for it.

    Raises:
        ConfigError: The folder for what is kept cannot be written.
    """
    try:
        if not lease.hold():
            return  # another process has it, on its way out: `beat` tries again
    except OSError as exc:
        raise ConfigError(
            f"The folder for what is kept between runs cannot be written: {exc}.",
            hint="BACKENDAI_KERNEL_STATE names another one.",
        ) from exc
    lease.write(
        replace(
            terms_here(lease.name, environ, lease.read()),
            endpoint=config.endpoint,
            access_key=config.access_key,
            is_local=config.is_local,
            image=image,
        )
    )


def _look(path: Path) -> Found | None:
    try:
        age = max(0.0, time.time() - path.stat().st_mtime)
        file = os.open(path, os.O_RDWR)
    except OSError:
        return None  # it was removed meanwhile, or is none of ours
    try:
        is_free = _lock(file)
    finally:
        os.close(file)
    terms = _read(path) or Terms(name=path.name)
    return Found(terms, _standing(terms, is_free, age), age)


def _standing(terms: Terms, is_free: bool, age: float) -> Standing:
    if terms.host not in ("", socket.gethostname()):
        # Over a network, a lock says little; and a laptop that sleeps gives no sign either.
        return Standing.SILENT if is_free and age > _SILENT_AFTER else Standing.ELSEWHERE
    if not is_free:
        return Standing.HELD
    if age < _RETURNS_WITHIN and _exists(terms.server_pid) and _is_wanted(terms):
        return Standing.RETURNING
    return Standing.LEFT


def _is_wanted(terms: Terms) -> bool:
    return bool(terms.connection_file) and Path(terms.connection_file).exists()


def _exists(pid: int) -> bool:
    """There is a process of that number; on Windows nobody asks, signal 0 would end it."""
    if pid <= 1:
        return False
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(path: Path) -> Terms | None:
    """Return what a file says, ``None`` when it is not in the form that we write."""
    try:
        told = json.loads(path.read_bytes()[:_LENGTH])
        known = {
            each.name: told[each.name]
            for each in fields(Terms)
            if each.name != "name" and isinstance(told.get(each.name), type(each.default))
        }
        return Terms(name=path.name, **known)
    except (OSError, ValueError, AttributeError):
        return None


def _is_same(file: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(file)
    return (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> bool:
        os.lseek(file, _LOCKED_AT, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
