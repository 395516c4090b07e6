"""The widget of a panel: one model. Only here is anywidget imported, when a panel is opened.

Values go to the page as messages of the widget and not as its state, so a notebook that is saved
with its widgets' state holds the program of the panel, and nothing that it showed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from . import PARTS
from .desk import Desk
from .looks import read, style
from .parts import make_part

if TYPE_CHECKING:
    from ..connection import Connection

_SCRIPTS = (
    "dom.js",
    "desk.js",
    "table.js",
    "details.js",
    "sessions.js",
    "formed.js",
    "resources.js",
    "choosing.js",
    "apps.js",
    "folders.js",
    "panel.js",
)
"""Modules of the page, each before those that import from it."""
_IMPORT = re.compile(r"^import .*?;\n", re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export (?=(?:async )?function|const|class)", re.MULTILINE)


@cache
def script() -> str:
    """Return the page's modules as the one that anywidget takes."""
    return "\n".join(_joined(read(name)) for name in _SCRIPTS)


def _joined(source: str) -> str:
    return _EXPORT.sub("", _IMPORT.sub("", source))


class PanelWidget(anywidget.AnyWidget):
    """A panel in a page. Its state says which parts it has, and nothing else."""

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    parts = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, connection: Connection, parts: Sequence[str]) -> None:
        self.desk: Desk | None = None
        super().__init__(_esm=script(), _css=style(), parts=list(parts))
        self.desk = Desk(connection, self._tell)
        for part in parts:
            self.desk.add(make_part(part, self.desk))
        self.on_msg(self._receive)

    def _tell(self, message: dict[str, Any], buffers: Sequence[bytes]) -> None:
        self.send(message, list(buffers) or None)

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        if self.desk is not None:
            self.desk.receive(content, buffers or ())

    def close(self) -> None:
        """Take the panel away; what it was doing ends."""
        if self.desk is not None:
            self.desk.close()
        super().close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["text/plain"] = repr(self)
        return bundle

    def __repr__(self) -> str:
        return "Backend.AI panel: it needs a page that draws widgets, and the kernel that made it."


def open_widget(part: str, connection: Connection) -> PanelWidget:
    """Return a new panel with one part, or with all of them."""
    return PanelWidget(connection, (part,) if part else PARTS)


def show_beside(widget: PanelWidget, part: str) -> None:
    """Show a panel beside the notebook, with JupyterLab's sidecar."""
    from IPython.display import display
    from sidecar import Sidecar

    beside = Sidecar(title=f"Backend.AI {part}".strip(), anchor="split-right")
    with beside:
        display(widget)
