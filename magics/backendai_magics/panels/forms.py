"""Forms of stock ipywidgets: values in, intents out, as the page's own parts have it.

A form is made when its part is opened and not before. It stands in the panel's frame, or alone where
there is none. Whatever it does happens on the portal's loop; a control's callback only begins it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

import ipywidgets as w

from .desk import facts_of, note

if TYPE_CHECKING:
    from .desk import Message, Part

Control = TypeVar("Control", bound="w.DOMWidget")
GONE = "bai-gone"
"""Class of what is not shown now."""


class Form:
    """Controls that show a part. Subclasses build them in `build`, and take values in `told`.

    Callbacks come in whatever thread the kernel handles messages, values on the portal's loop.

    Attributes:
        box: All of it.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self._layout = w.Layout()  # shared, since each costs a comm; looks are the style sheet's
        self._styles: dict[type, Any] = {}
        self._made: list[w.Widget] = [self._layout]
        self._here = threading.local()
        self.box = self.row(w.VBox, "bai-part", "bai-form", children=self.build())

    def build(self) -> list[w.Widget]:
        """Return the controls, from top to bottom, which is also the order of Tab."""
        raise NotImplementedError

    def told(self, message: Message) -> None:
        """Take values; what a person has filled in stays."""
        raise NotImplementedError

    def close(self) -> None:
        """Take all controls away, on the page as well."""
        for each in reversed(self._made):
            each.close()

    # -- controls -----------------------------------------------------------------------------

    def make(self, kind: type[Control], *classes: str, **values: Any) -> Control:
        """Return a control; its label is ``description``, its looks are those of its classes."""
        if kind in self._styles:
            values["style"] = self._styles[kind]
        made: Control = kind(layout=self._layout, _dom_classes=classes, **values)
        if kind not in self._styles and hasattr(made, "style"):
            self._styles[kind] = made.style
            self._made.append(made.style)
        self._made.append(made)
        return made

    def row(self, kind: type[Control], *classes: str, children: list[w.Widget]) -> Control:
        """Return a box."""
        return self.make(kind, *classes, children=children)

    def text(self, markup: str = "", *classes: str) -> w.HTML:
        """Return a piece of markup, in which everything from outside must be escaped."""
        return self.make(w.HTML, *classes, value=markup)

    def title(self, words: str) -> w.HTML:
        return self.text(f'<h3 class="bai-title">{escape(words)}</h3>')

    def button(
        self, words: str, kind: str, work: Callable[[w.Button], Coroutine[Any, Any, Any]]
    ) -> w.Button:
        """Return a button that begins *work*, and says by itself that it is at it."""
        made = self.make(w.Button, "bai-button", f"bai-{kind}", description=words)
        made.on_click(lambda button: self.begin(work(button), button))
        return made

    def keep(self, widget: w.Widget) -> None:
        """Have a widget go with the form."""
        self._made.append(widget)

    def drop(self, *widgets: w.Widget) -> None:
        """Take some controls away for good."""
        for each in widgets:
            self._made.remove(each)
            each.close()

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Change controls, in this thread, without taking it for what a person does."""
        before, self._here.is_quiet = self.is_quiet, True
        try:
            yield
        finally:
            self._here.is_quiet = before

    @property
    def is_quiet(self) -> bool:
        """What changes in this thread is not what a person does."""
        return bool(getattr(self._here, "is_quiet", False))

    # -- work ---------------------------------------------------------------------------------

    def begin(self, work: Coroutine[Any, Any, Any], button: w.Button | None = None) -> None:
        """Do something on the portal's loop; from any thread. An error appears in the form."""
        self.part.desk.here(self.part.name)
        self.part.desk.connection.portal.start(self._do(work, button))

    async def _do(self, work: Coroutine[Any, Any, Any], button: w.Button | None) -> None:
        if button is not None:
            button.disabled = True
        try:
            self.show_problem(None)
            await work
        except Exception as exc:  # the outermost edge: a click waits for nobody
            note(exc, f"{self.part.name}, in its form")
            self.show_problem(facts_of(exc))
        finally:
            if button is not None:
                button.disabled = False

    async def ask(self, verb: str, **intent: Any) -> Any:
        """Return what the part answers to an intent.

        Raises:
            BackendError: As the verb does.
        """
        return await self.part.verbs[verb](intent)

    def show_problem(self, error: Message | None) -> None:
        """Show an error with its next step, or none."""
        raise NotImplementedError


def problem_markup(error: Message | None, role: str = "alert") -> str:
    """Return an error with its next step as markup, ``""`` for none."""
    if not error:
        return ""
    what, hint = escape(error["message"]), escape(error.get("hint") or "")
    return f'<p role="{role}"><strong>{what}</strong> {hint}</p>'


def line_markup(label: str, line: str, remark: str = "") -> str:
    """Return a line to copy as markup; the button works where the panel's page is around it."""
    hint = f' <span class="bai-hint">{escape(remark)}</span>' if remark else ""
    return (
        f'<div class="bai-same-line"><span class="bai-label">{escape(label)}</span>'
        f'<span><code class="bai-line">{escape(line)}</code>{hint}</span>'
        '<button type="button" class="bai-button bai-plain bai-copy">Copy</button></div>'
    )


def show(control: w.DOMWidget, is_shown: bool) -> None:
    """Show a control or not; hidden ones are no stop for Tab."""
    if is_shown:
        control.remove_class(GONE)
    else:
        control.add_class(GONE)


def change(control: w.Widget, **values: Any) -> None:
    """Set several values of a control by one message, those that differ."""
    differing = {key: value for key, value in values.items() if getattr(control, key) != value}
    if differing:
        with control.hold_sync():
            for key, value in differing.items():
                setattr(control, key, value)


def bound(control: w.BoundedFloatText | w.FloatSlider, least: float, most: float) -> None:
    """Set the bounds of a number; a value outside goes to the nearer one."""
    with control.hold_sync():
        if most >= control.min:
            control.max, control.min = most, least
        else:
            control.min, control.max = least, most


async def later(seconds: float, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Do something in a while, unless cancelled before."""
    await asyncio.sleep(seconds)
    await work()
