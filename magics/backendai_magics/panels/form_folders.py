"""The form for a new folder: a virtual one, or one inside of what is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as w

from .forms import Form, change, problem_markup, show

if TYPE_CHECKING:
    from .desk import Message

_VIRTUAL = "a virtual folder"
_USES = ("general", "data", "model")


class FoldersForm(Form):
    """Makes folders; the list of them is the page's."""

    def build(self) -> list[w.Widget]:
        self._place: Message = {}
        self._where = self.make(
            w.Dropdown, "bai-stacked", description="New", options=[(_VIRTUAL, "")]
        )
        self._name = self.make(w.Text, "bai-stacked", description="Name of the new folder")
        self._use = self.make(w.Dropdown, "bai-stacked", description="Used for", options=_USES)
        self._go = self.button("Make it", "main", self._make_folder)
        self._failed = self.text("", "bai-failed")
        self._where.observe(lambda _: show(self._use, not self._where.value), "value")
        fields = [self._where, self._name, self._use, self._go]
        return [self.row(w.Box, "bai-new", children=fields), self._failed]

    def told(self, message: Message) -> None:
        """The list is the page's."""

    def at(self, here: Message) -> None:
        """Take what the page looks at: ``kind``, ``place``, ``path``, and what it is called."""
        self._place = here
        options = [(_VIRTUAL, "")]
        if here.get("kind") == "folder":
            options.append((f"in {here['label']}", "here"))
        if list(self._where.options) != options:
            chosen = self._where.value
            with self._where.hold_sync():
                self._where.options = options
                self._where.value = chosen if len(options) > 1 else ""

    def show_problem(self, error: Message | None) -> None:
        change(self._failed, value=problem_markup(error))

    async def _make_folder(self, _: w.Button) -> Any:
        name = self._name.value.strip()
        if self._where.value:
            await self.ask("inside", **self._place, name=name)
        else:
            await self.ask("make", name=name, use=self._use.value)
        change(self._name, value="")
