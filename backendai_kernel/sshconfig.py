"""OpenSSH's configuration: a file of our own, and one line in the user's that includes it.

The user's file is changed in one step, under a lock, after a copy was made; nothing in it but our
line, or with `inline` our block, is touched. What we do not understand we leave alone and say so.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .config import write_private
from .errors import ConfigError

OWN = Path("config.d") / "backend.ai.conf"
BACKUP = "config.before-backendai-kernel"
BEGIN = "# --- Backend.AI sessions: begin (written by backendai-kernel ssh-config) ---"
END = "# --- Backend.AI sessions: end ---"
_INCLUDE = re.compile(r"^\s*include[\s=]+(.*?)\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """A file as it is and as it is to be; ``None``: there is none."""

    path: Path
    before: str | None
    after: str | None

    @property
    def is_needed(self) -> bool:
        return self.before != self.after

    def diff(self) -> str:
        """Return the change as a unified diff."""
        before, after = (
            (text or "").splitlines(keepends=True) for text in (self.before, self.after)
        )
        return "".join(difflib.unified_diff(before, after, str(self.path), str(self.path)))


def default_config() -> Path:
    """Return the user's own file, in the home folder of the account, as OpenSSH takes it."""
    import pwd

    return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh" / "config"


def blocks(
    options: Sequence[tuple[str, str]], hosts: Sequence[tuple[str, str]], pattern: str
) -> str:
    """Return the text of the configuration.

    Args:
        options: Name and value, for all sessions.
        hosts: Host and a remark, for each session that runs.
        pattern: Of all hosts, also of sessions that will be started later.
    """
    lines = [BEGIN]
    for host, remark in hosts:
        lines += [f"# {remark}", f"Host {host}", f"    {options[0][0]} {options[0][1]}", ""]
    lines += [f"Host {pattern}", *(f"    {name} {value}" for name, value in options), ""]
    # What follows is for all hosts again, as before our lines.
    lines += ["Match all", END, ""]
    return "\n".join(lines)


def plan(config: Path, text: str | None, *, inline: bool = False) -> list[Change]:
    """Return what is to be changed so that *text* counts, in our file or in the user's.

    Args:
        text: ``None``: all of ours is taken away.

    Raises:
        ConfigError: A file is not what it should be; nothing was changed.
    """
    own = config.parent / OWN
    before = _read(config)
    stripped = _without_block(_without_include(before or "", config), config)
    if text is None:
        after = stripped if before is not None else None
    elif inline:
        after = text + ("\n" + stripped if stripped else "")
    else:
        after = f"Include {_name_of(own, config)}\n" + ("\n" + stripped if stripped else "")
    return [
        Change(own, _read(own), None if inline else text),
        Change(config, before, after),
    ]


def apply(changes: Sequence[Change]) -> list[Path]:
    """Write what has changed; return the files, the copy among them when one was made.

    Raises:
        ConfigError: A file cannot be written, or was changed meanwhile.
    """
    written = []
    for change in changes:
        if not change.is_needed:
            continue
        try:
            written += _write(change)
        except OSError as exc:
            raise ConfigError(f"{change.path} cannot be written: {exc.strerror}.") from exc
    return written


@contextmanager
def locked(config: Path) -> Iterator[None]:
    """Keep other programs of ours from changing the files meanwhile.

    Raises:
        ConfigError: The folder cannot be made.
    """
    try:
        config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (config.parent / OWN.parent).mkdir(mode=0o700, exist_ok=True)
        with (config.parent / OWN.parent / ".backend.ai.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as exc:
        raise ConfigError(f"{config.parent} cannot be written: {exc.strerror}.") from exc


def _write(change: Change) -> list[Path]:
    path = change.path.resolve()  # a link stays one
    if change.after is None:
        path.unlink(missing_ok=True)
        return [change.path]
    written = [change.path]
    backup = path.with_name(BACKUP)
    is_ours = change.path.name == OWN.name
    if change.before is not None and not is_ours and not backup.exists():
        write_private(backup, _bytes(change.before))
        written.append(backup)
    if _read(change.path) != change.before:
        raise ConfigError(f"{change.path} was changed meanwhile.", hint="Try again.")
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    write_private(path, _bytes(change.after))
    path.chmod(mode)
    return written


def _read(path: Path) -> str | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}.") from exc
    if b"\0" in data:
        raise ConfigError(f"{path} is no text.", hint="It is left as it is.")
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _name_of(own: Path, config: Path) -> str:
    # A relative name is taken from ~/.ssh, wherever the file is that includes it.
    if config.parent == default_config().parent:
        return OWN.as_posix()
    return f'"{own}"'


def _without_include(text: str, config: Path) -> str:
    """Return the text without our line, wherever it stands."""
    own = config.parent / OWN
    ours = {OWN.as_posix(), str(own), f"~/.ssh/{OWN.as_posix()}"}
    lines = text.splitlines(keepends=True)
    kept = []
    for line in lines:
        found = _INCLUDE.match(line)
        if found and found[1].strip('"') in ours:
            continue
        kept.append(line)
    if kept[:1] == lines[:1]:
        return "".join(kept)
    return "".join(kept).removeprefix("\n")  # the empty line that `plan` puts below ours


def _without_block(text: str, config: Path) -> str:
    """Return the text without our block.

    Raises:
        ConfigError: Its marks are damaged.
    """
    lines = text.splitlines(keepends=True)
    marks = [(n, line.strip()) for n, line in enumerate(lines) if line.strip() in (BEGIN, END)]
    if not marks:
        return text
    if [mark for _, mark in marks] != [BEGIN, END]:
        raise ConfigError(
            f"The marks of our lines in {config} are damaged.",
            hint=f"Put them right, or remove them and what is between: {BEGIN!r} and {END!r}.",
        )
    first, last = marks[0][0], marks[1][0]
    rest = "".join(lines[last + 1 :])
    return "".join(lines[:first]) + (rest if first else rest.removeprefix("\n"))
