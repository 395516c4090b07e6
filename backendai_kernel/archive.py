"""Tar archives that a server sends, read with no more trust than they deserve."""

from __future__ import annotations

import io
import tarfile

BROKEN = (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError, KeyError)
"""What reading a broken archive can end in."""


class _Member(tarfile.TarInfo):
    """An entry whose size is no step back: Pythons before 3.13.6 would read it again for ever."""

    def _block(self, count: int) -> int:
        if count < 0:
            raise tarfile.HeaderError("negative size")
        return int(super()._block(count))  # type: ignore[misc]  # not in the type stubs


def open_tar(packed: bytes) -> tarfile.TarFile:
    """Open an archive that is not compressed.

    Raises:
        One of `BROKEN`: It is none; reading from it may raise these, too.
    """
    return tarfile.open(fileobj=io.BytesIO(packed), mode="r:", tarinfo=_Member)
