"""An amount in the launcher's form: a number, a slider, and what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as w

from .forms import Form, bound, change

if TYPE_CHECKING:
    from .desk import Message


class Amount:
    """How much of one slot: a number, a slider, and a sentence of what is left."""

    def __init__(self, form: Form, slot: Message, touched: Callable[[Amount], None]) -> None:
        self.unit = 1024.0 if slot["name"] == "mem" else 1.0  # MiB are shown as GiB
        label = f"{slot['label']} (GiB)" if slot["name"] == "mem" else slot["label"]
        step = slot["step"] / self.unit
        self.number = form.make(
            w.BoundedFloatText, "bai-number", description=label, min=0, max=0, step=step
        )
        self.slider = form.make(
            w.FloatSlider, "bai-range", min=0, max=0, step=step, readout=False, tooltip=label
        )
        self.left = form.text("", "bai-hint")
        self.link = w.jslink((self.slider, "value"), (self.number, "value"))
        form.keep(self.link)
        self.row = form.row(w.HBox, "bai-slider", children=[self.number, self.slider, self.left])
        self.is_touched = False
        self.least = 0.0
        self.slot = slot
        self.slider.observe(lambda _: touched(self), "value")

    def take(self, slot: Message) -> None:
        """Take what is left now."""
        self.slot = slot
        most = slot["most"] / self.unit
        step = slot["step"] / self.unit
        least = min(-(-self.least / self.unit // step) * step, most)  # the steps are round amounts
        for control in (self.slider, self.number):
            bound(control, least, most)
            change(control, disabled=most == 0)
        if not self.is_touched:
            self.set(least)
        change(self.left, value=escape(slot["left"]))

    def set(self, value: float) -> None:
        change(self.slider, value=value)
        change(self.number, value=value)

    @property
    def amount(self) -> float:
        """In the slot's own unit; a slider's steps leave traces far behind the point."""
        return float(round(self.slider.value * self.unit, 6))
