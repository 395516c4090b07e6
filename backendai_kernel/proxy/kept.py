"""What a kernel process leaves to the one that follows it, however it ends.

After a restart, or when a process was killed, the next one has the session only with its first
cell. Should it be shut down before, nobody else knows which session there is to end. And a run that
was not brought to its end holds the session, and only who knows its id can end it. So both ids are
on disk before the first request of a run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..config import make_private, state_dir
from ..start import Left

_ASKS = "asks"
_PLANNED = "restart"
_LENGTH = 256  # bytes: one write of all of them is never seen by halves


class KeptNote:
    """A small file with the ids of session and run; there while there is a session."""

    def __init__(self, environ: Mapping[str, str], name: str) -> None:
        """Look nowhere yet.

        Args:
            environ: Names the folder for what is kept between runs.
            name: The session's name, the same for every process of a kernel.
        """
        self._path = state_dir(environ) / "kept" / name
        self._file: int | None = None

    def read(self) -> Left:
        """Return what was left; no ids when nothing was."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Left()
        session_id, _, rest = text.strip().partition("\n")
        run_id, _, rest = rest.partition("\n")
        state, _, rest = rest.partition("\n")
        planned, _, rest = rest.partition("\n")
        key, _, nonce = rest.partition("\n")
        return Left(session_id, run_id, state == _ASKS, planned == _PLANNED, key, nonce)

    def write(
        self,
        session_id: str,
        run_id: str = "",
        asks: bool = False,
        *,
        is_planned: bool = False,
        key: str = "",
        nonce: str = "",
    ) -> None:
        """Note what is there now, as `Left` has it; it takes microseconds, and every cell does it.

        Raises:
            OSError: The folder for what is kept cannot be written.
        """
        planned = _PLANNED if is_planned else ""
        note = f"{session_id}\n{run_id}\n{_ASKS if asks else ''}\n{planned}\n{key}\n{nonce}"
        if self._file is None:
            make_private(self._path.parent)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        written = note.ljust(_LENGTH).encode()
        if hasattr(os, "pwrite"):  # each call may have to wait for the other threads
            os.pwrite(self._file, written, 0)
        else:
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, written)

    def forget(self) -> None:
        """There is no session any more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._path.unlink(missing_ok=True)
