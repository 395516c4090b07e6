"""Where files that come have their place on this computer: names, room, and whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import ConfigError, ProtocolError

LIMIT = 16 * 2**30  # bytes that come down at once when nobody says otherwise


def safe_name(name: str) -> str:
    """Return a file's name as a server tells it, if it is one and no path.

    Raises:
        ProtocolError: It would lead elsewhere.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name or (os.sep != "/" and os.sep in name):
        raise ProtocolError(f"The server names a file {name!r}; that is no name of a file.")
    return name


def check_room(size: int, to: Path, limit: int) -> None:
    """Refuse more bytes than somebody wants, or than fit.

    Raises:
        ConfigError: They are too many.
    """
    from .slots import format_size

    def words(amount: int) -> str:
        return f"{amount / 2**30:.1f} GiB" if amount >= 2**29 else f"{amount} bytes"

    if size > limit:
        raise ConfigError(
            f"That is {words(size)}, and the limit is {words(limit)}.",
            hint=f"Take it with --limit {format_size(size)}, or name less.",
        )
    there = to
    while not there.exists():
        there = there.parent
    if (free := shutil.disk_usage(there).free) < size:
        raise ConfigError(f"That is {words(size)}, and {there} has room for {words(free)}.")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; one that is there already is fine.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"{folder} cannot be made: {exc.strerror}.") from exc


@contextlib.contextmanager
def whole_or_none(place: Path) -> Iterator[IO[bytes]]:
    """Open a file beside its place, and move it there in the end; after an error nothing is left.

    Raises:
        ConfigError: It cannot be written.
    """
    part = place.with_name(f".{place.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            yield file
        os.replace(part, place)
    except OSError as exc:
        raise ConfigError(f"{place} cannot be written: {exc.strerror or exc}.") from exc
    finally:
        part.unlink(missing_ok=True)
