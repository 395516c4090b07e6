"""A form without a frame, of stock ipywidgets alone: where anywidget is missing, or by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as w

from .desk import Desk
from .looks import style
from .parts import make_part

if TYPE_CHECKING:
    from ..connection import Connection


class Alone(w.VBox):
    """A form as a widget. It asks the server while a page shows it and somebody uses it."""

    def __init__(self, part: str, connection: Connection, *, before: str = "") -> None:
        """Make it.

        Args:
            part: One of `still.FORMS`.
            before: Markup that stands above it, with everything from outside escaped.
        """
        self.desk = Desk(connection, lambda message, buffers: None)
        self.desk.own_view = "alone"
        made = make_part(part, self.desk)
        self.desk.add(made)
        made.form = form = made.make_form()
        form.box.add_class("bai-alone")
        self._own = [
            w.HTML(f"<style>{style()}</style>", layout=w.Layout(display="none")),
            w.HTML(before, _dom_classes=("bai-before",)),
        ]
        children = [self._own[0], *([self._own[1]] if before else []), form.box]
        self._part = part
        super().__init__(children=children, _dom_classes=("bai-panel",), _view_count=0)
        self.observe(self._seen, "_view_count")
        self.desk.receive({"do": "hello", "view": self.desk.own_view, "part": part})

    def _seen(self, change: Any) -> None:
        """A page shows it, or the last one has closed it."""
        word = "hello" if change["new"] else "bye"
        self.desk.receive({"do": word, "view": self.desk.own_view, "part": self._part})

    def close(self) -> None:
        """Take it away; what it was doing ends."""
        self.desk.close()
        for each in getattr(self, "_own", ()):
            each.close()
        super().close()

    def __repr__(self) -> str:
        return "Backend.AI form: it needs a page that draws widgets, and the kernel that made it."
