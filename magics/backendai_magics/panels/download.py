"""The button that saves a private key: a small widget of its own, since stock ones save nothing.

Its state is its program. The key crosses over as the buffer of one message, when it is clicked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from .looks import read


class KeyDownload(anywidget.AnyWidget):
    """A button. It calls *work*, which has a key sent by `save`, or nothing by `save` without one."""

    _esm = traitlets.Unicode().tag(sync=True)

    def __init__(self, work: Callable[[], None], **values: Any) -> None:
        super().__init__(_esm=read("download.js"), **values)
        self._work = work
        self.on_msg(self._receive)

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        if isinstance(content, dict) and content.get("do") == "download":
            self._work()

    def save(self, name: str = "", key: bytes | None = None) -> None:
        """Have the page save a key as a file; without one, only end its waiting."""
        self.send({"done": name}, None if key is None else [key])
