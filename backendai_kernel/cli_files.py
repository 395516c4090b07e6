"""``backendai-kernel upload``, ``download``, ``ls`` and ``vfolder``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .filewords import fill_download, fill_ls, fill_upload, fill_vfolder

Say = Callable[..., None]
_FILL = {
    "upload": fill_upload,
    "download": fill_download,
    "ls": fill_ls,
    "vfolder": fill_vfolder,
}


def add_words(name: str, parser: argparse.ArgumentParser) -> None:
    """Declare the words of one of the commands."""

    def add(*names: str, completes: str = "", **options: Any) -> None:
        parser.add_argument(*names, **options)

    _FILL[name](add)


async def perform(name: str, options: argparse.Namespace, say: Say, warn: Say) -> int:
    """Do one of the commands and print what it returns."""
    from . import filework, folderwork
    from .connect import open_client

    works: dict[str, Any] = {
        "upload": filework.upload,
        "download": filework.download,
        "ls": filework.ls,
        "vfolder": folderwork.vfolder,
    }
    line = _Line()
    show = filework.Show(line.progress, warn, Path.cwd(), os.environ)
    client = await open_client(os.environ, cwd=Path.cwd(), on_note=warn)
    try:
        value = await works[name](client, options, show)
    finally:
        line.close()
        await client.__aexit__()
    say(*repr(value).replace("`%bai vfolder", "`backendai-kernel vfolder").splitlines())
    return 0


class _Line:
    """A line of a terminal that grows with the bytes; elsewhere nothing is written."""

    def __init__(self) -> None:
        self._is_open = False

    def progress(self, what: str, done: int, total: int) -> None:
        from .filework import bytes_text

        if total and sys.stderr.isatty():
            text = f"{what} · {bytes_text(done)} of {bytes_text(total)}"
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._is_open = True

    def close(self) -> None:
        if self._is_open:
            sys.stderr.write("\r\x1b[K")
