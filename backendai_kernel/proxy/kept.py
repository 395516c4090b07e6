"""What a kernel process that is restarted leaves to the one that follows it.

That one has its session only with its first cell. Should it be shut down before, nobody else knows
which session there is to end. A run that was not brought to its end holds the session, and only who
knows its id can end it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..config import state_dir, write_private


class KeptNote:
    """A small file with the ids of session and run; there from a restart to the next cell."""

    def __init__(self, environ: Mapping[str, str], name: str) -> None:
        """Look nowhere yet.

        Args:
            environ: Names the folder for what is kept between runs.
            name: The session's name, the same for every process of a kernel.
        """
        self._path = state_dir(environ) / "kept" / name

    def read(self) -> tuple[str, str]:
        """Return the ids of the session and of a run that may go on, ``""`` for none."""
        try:
            session_id, _, run_id = self._path.read_text(encoding="utf-8").strip().partition("\n")
        except FileNotFoundError:
            return "", ""
        return session_id, run_id

    def write(self, session_id: str, run_id: str = "") -> None:
        write_private(self._path, f"{session_id}\n{run_id}".encode())

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)
