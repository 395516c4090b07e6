"""``upload``, ``download``, ``ls`` and ``vfolder``: files of sessions and of virtual folders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backendai_kernel import filework, folderwork
from backendai_kernel.filework import Show, bytes_text

from .asked import Asked
from .connection import here

if TYPE_CHECKING:
    from backendai_kernel.client import Client

    from .stage import Stage

Work = Callable[["Client", Any, Show], Awaitable[Any]]


def upload(asked: Asked) -> Any:
    """Send files into a session; what is there is told as it grows."""
    return _shown(asked, filework.upload)


def download(asked: Asked) -> Any:
    """Bring files of a session here."""
    return _shown(asked, filework.download)


def ls(asked: Asked) -> Any:
    """Return a table of a session's files."""
    return _shown(asked, filework.ls)


def vfolder(asked: Asked) -> Any:
    """Do something with virtual folders."""
    return _shown(asked, folderwork.vfolder)


def _shown(asked: Asked, work: Work) -> Any:
    stage = asked.stage()
    bar = Bar(stage)
    show = Show(
        bar.progress,
        lambda note: stage.write("stderr", f"{note}\n"),
        here() or Path(),
        asked.connection.environ,
    )

    async def done() -> Any:
        try:
            return await asked.connection.use(lambda client: work(client, asked.options, show))
        finally:
            bar.close()

    return stage.perform(done())


class Bar:
    """A line that grows with the bytes."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._shown = ""

    def progress(self, what: str, done: int, total: int) -> None:
        text = f"… {what} · {bytes_text(done)} of {bytes_text(total)}"
        if total == 0 or text == self._shown:
            return  # nothing that anybody could see
        self._shown = text
        bar = f'<progress value="{done / total:.3f}" max="1"></progress> '
        self._stage.line(text, f"<div>{bar}{escape(text)}</div>")

    def close(self) -> None:
        if self._shown:
            self._stage.settle()
