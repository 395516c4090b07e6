"""Folders that a process, and all that it starts, can read and not write to.

Linux gives a process a view of its own of what is mounted where: in it the folders are mounted over
themselves, read-only. Where that is not allowed, or the system is another one, nothing changes.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # unshare(2)
_RDONLY, _REMOUNT, _BIND, _REC, _SLAVE = 1, 32, 4096, 16384, 1 << 19  # mount(2)
_KEPT = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC if sys.platform == "linux" else 0


def words_for(folders: Sequence[Path]) -> list[str]:
    """Return the words of a command line that `add_words` reads."""
    return [f"--read-only={folder}" for folder in folders]


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare ``--read-only``, once for each folder."""
    parser.add_argument("--read-only", type=Path, action="append", default=[])


def protect(folders: Sequence[Path]) -> bool:
    """Make folders read-only for this process and its children; return whether they are.

    To be called before there are threads. Root keeps its rights and could undo it; others get a
    user namespace, in which they are themselves and nobody else: ``sudo`` does not work there.
    """
    if not folders:
        return True
    if sys.platform != "linux":
        return False
    # What is done half cannot be undone, so a child tries it first.
    child = os.fork()
    if child == 0:
        try:
            _mount(folders)
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        return False
    _mount(folders)
    return True


def _mount(folders: Sequence[Path]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(libc, name)(*arguments) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def mount(source: bytes | None, target: bytes, flags: int) -> None:
        call("mount", source, target, None, ctypes.c_ulong(flags), None)

    if os.geteuid() == 0:
        call("unshare", _NEW_MOUNTS)
    else:
        user, group = os.geteuid(), os.getegid()
        call("unshare", _NEW_MOUNTS | _NEW_USER)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            Path("/proc/self", name).write_text(text)
    mount(None, b"/", _REC | _SLAVE)  # nothing of this is seen elsewhere
    for folder in folders:
        place = os.fsencode(folder.resolve())
        mount(place, place, _BIND | _REC)
        mount(None, place, _REMOUNT | _BIND | _RDONLY | os.statvfs(place).f_flag & _KEPT)
