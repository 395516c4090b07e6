"""The launcher's form: image, resources bound to what is left, and what a session is to have."""

from __future__ import annotations

import asyncio
import re
import time
from html import escape
from typing import TYPE_CHECKING

import ipywidgets as w

from .amounts import Amount
from .forms import Form, change, later, line_markup, problem_markup, show
from .launcher_words import (
    HEADS,
    labelled,
    place_text,
    preset_text,
    progress_markup,
    searched,
)

if TYPE_CHECKING:
    from .desk import Message

_CHECK_AFTER = 0.25  # seconds without a change after which the line is made anew …
_LOOK_AFTER = 0.8  # … and after which it is looked what is left in another project
_OWN = "as set below"
_ANY = "any"
_ORDER = "By name, the newest version first"
_SECRET = re.compile(r"(?i)token|secret|pass|pwd|key|credential")
HIDDEN = "••••••"
"""What stands for a secret in the form, whose values a notebook may be saved with."""


class LauncherForm(Form):
    """Shows what can be had, and starts what is filled in."""

    def build(self) -> list[w.Widget]:
        self._choice: Message = {}
        self._presets: dict[str, Message] = {}
        self._amounts: dict[str, Amount] = {}
        self._secrets: dict[str, str] = {}
        self._checking: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._clock: asyncio.Task[None] | None = None
        self._is_starting = False

        self._search = self.make(
            w.Text, "bai-stacked", description="Search", placeholder="python, torch, 3.11 …"
        )
        self._image = self.make(w.Select, "bai-stacked", "bai-images", description=_ORDER, rows=9)
        self._about = self.text('<p class="bai-hint">Asking the server …</p>', "bai-about")
        self._preset = self.make(
            w.Dropdown, "bai-stacked", description="Preset", options=[(_OWN, "")]
        )
        self._where_left = self.text("", "bai-hint")
        self._sliders = self.row(w.VBox, "bai-sliders", children=[])
        self._name = self.make(
            w.Text, "bai-stacked", description="Name", placeholder="made up when empty"
        )
        self._project = self.make(w.Text, "bai-stacked", description="Project")
        self._where = self.make(
            w.Dropdown, "bai-stacked", description="Scaling group", options=[(_ANY, "")]
        )
        self._folders: list[w.Checkbox] = []
        self._checks = self.row(w.Box, "bai-checks", children=[])
        self._no_folders = self.text('<p class="bai-hint">You have no virtual folders.</p>')
        self._environ = self.make(
            w.Textarea,
            "bai-stacked",
            description="Environment",
            placeholder="KEY=value, one a line; KEY alone takes its value here",
            rows=3,
            continuous_update=False,
        )
        self._lines = self.text("", "bai-lines")
        self._wrong = self.text("", "bai-wrong")
        self._failed = self.text("", "bai-failed")
        self._said = self.text("", "bai-hint", "bai-said-here")
        self._start = self.button("Start the session", "main", self._begin_start)
        self._kernel = self.button("Make it a kernel", "plain", self._make_kernel)
        self._progress = self.text("")
        self._cancel = self.button("Cancel", "plain", lambda _: self.ask("cancel"))
        self._sessions = self.button("Show it among the sessions", "plain", self._show_sessions)
        self._steps = self.row(
            w.VBox,
            "bai-progress",
            children=[
                self._progress,
                self.row(w.HBox, "bai-actions", children=[self._cancel, self._sessions]),
            ],
        )
        for control in (self._steps, self._checks):
            show(control, False)
        self._search.observe(lambda _: self._show_images(), "value")
        self._image.observe(lambda _: self._chosen(), "value")
        self._preset.observe(lambda _: self._use_preset(), "value")
        self._environ.observe(lambda _: self._hide_secrets(), "value")
        self._name.observe(lambda _: self.changed(), "value")
        for control in (self._project, self._where):
            control.observe(lambda _: self._moved(), "value")
        session = [
            self.row(w.Box, "bai-pairs", children=[self._name, self._project, self._where]),
            self.text('<span class="bai-label">Folders to mount</span>', "bai-label-above"),
            self._checks,
            self._no_folders,
            self._environ,
        ]
        image = [self.title("Image"), self._search, self._image, self._about]
        resources = [self.title("Resources"), self._preset, self._where_left, self._sliders]
        right = [
            self.row(w.VBox, "bai-group", children=resources),
            self.row(w.VBox, "bai-group", children=[self.title("Session"), *session]),
        ]
        columns = [
            self.row(w.VBox, "bai-group", children=image),
            self.row(w.VBox, "bai-stack", children=right),
        ]
        return [
            self.row(w.Box, "bai-columns", children=columns),
            self._lines,
            self._wrong,
            self.row(w.HBox, "bai-actions", children=[self._start, self._kernel]),
            self._failed,
            self._said,
            self._steps,
        ]

    # -- values -------------------------------------------------------------------------------

    def told(self, message: Message) -> None:
        with self.quietly():
            if message.get("choice"):
                self._take_choice(message["choice"])
            if message.get("offer"):
                self._take_offer(message["offer"])
        if "problem" in message:
            self.show_problem(message["problem"])
        if message.get("choice") or message.get("offer"):
            self.part.desk.connection.portal.start(self._check_soon())
        if message.get("progress"):
            self._take_progress(message["progress"])

    def _take_choice(self, choice: Message) -> None:
        if choice == self._choice:
            return
        self._choice = choice
        change(self._project, placeholder=str(choice["project"] or ""))
        checked = {each.description for each in self._folders if each.value}
        old = self._folders
        self._folders = [
            self.make(w.Checkbox, description=name, value=name in checked, indent=False)
            for name in choice["folders"]
        ]
        for each in self._folders:
            each.observe(lambda _: self.changed(), "value")
        self._checks.children = self._folders
        self.drop(*old)
        show(self._checks, bool(self._folders))
        show(self._no_folders, not self._folders)
        self._show_images()

    def _show_images(self) -> None:
        """Show those that the search leaves; the chosen one stays chosen while it is among them."""
        words = self._search.value.lower().split()
        options = labelled(
            [
                each
                for each in self._choice.get("images", ())
                if all(word in searched(each) for word in words)
            ]
        )
        if list(self._image.options) != options:
            chosen = self._image.value
            references = [reference for _, reference in options]
            with self.quietly(), self._image.hold_sync():
                self._image.options = options
                self._image.value = (
                    chosen if chosen in references else (references[0] if references else None)
                )
        self._chosen()

    def _chosen(self) -> None:
        image = self._picked()
        if image is None:
            nothing = "No image matches." if self._choice else "Asking the server …"
            change(self._about, value=f'<p class="bai-hint">{nothing}</p>')
            return self.changed()
        facts = "".join(
            f'<span class="{kind}">{escape(str(text))}</span>'
            for kind, text in (("bai-what", image["about"]), ("bai-ref", image["reference"]))
            if text
        )
        change(self._about, value=f'<p class="bai-hint">{facts}</p>')
        with self.quietly():
            for slot, entry in self._amounts.items():
                entry.least = image["least"].get(slot, 0)
                entry.take(entry.slot)
        self.changed()
        return None

    def _picked(self) -> Message | None:
        images = self._choice.get("images", ())
        return next((each for each in images if each["reference"] == self._image.value), None)

    def _take_offer(self, offer: Message) -> None:
        options = [(_ANY, ""), *((each, each) for each in offer["scaling_groups"])]
        if list(self._where.options) != options:
            chosen = self._where.value
            with self._where.hold_sync():
                self._where.options = options
                self._where.value = chosen if chosen in offer["scaling_groups"] else ""
        change(self._where_left, value=f"<p>{escape(place_text(offer))}</p>")
        image = self._picked()
        for slot in offer["slots"]:
            entry = self._amounts.get(slot["name"])
            if entry is None:
                entry = self._amounts[slot["name"]] = Amount(self, slot, self.touched)
            entry.least = image["least"].get(slot["name"], 0) if image else 0
            entry.take(slot)
        rows = tuple(entry.row for entry in self._amounts.values())
        if tuple(self._sliders.children) != rows:
            self._sliders.children = rows
        self._presets = {preset["name"]: preset for preset in offer["presets"]}
        options = [(_OWN, ""), *((preset_text(each), each["name"]) for each in offer["presets"])]
        if list(self._preset.options) != options:
            chosen = self._preset.value
            self._preset.options = options
            self._preset.value = chosen if chosen in self._presets else ""
        show(self._preset, bool(self._presets))

    # -- what a person does -------------------------------------------------------------------

    def touched(self, amount: Amount) -> None:
        """Take note that somebody has set an amount."""
        if self.is_quiet:
            return
        amount.is_touched = True
        with self.quietly():
            change(self._preset, value="")
        self.changed()

    def _use_preset(self) -> None:
        preset = self._presets.get(self._preset.value)
        if self.is_quiet or preset is None:
            return
        if not preset["free"]:
            with self.quietly():
                change(self._preset, value="")
            what = f"The preset {preset['name']} is more than what is left now."
            self.show_problem({"message": what, "hint": "Set less below, or end a session."})
            return
        self.show_problem(None)
        with self.quietly():
            for slot, entry in self._amounts.items():
                entry.is_touched = True
                entry.set(max(entry.slider.min, preset["slots"].get(slot, 0) / entry.unit))
        self.changed()

    def _hide_secrets(self) -> None:
        """Keep what looks like a secret here and not in the control, whose state may be saved."""
        lines = []
        for line in self._environ.value.split("\n"):
            key, equals, value = line.partition("=")
            if equals and value.strip() not in ("", HIDDEN) and _SECRET.search(key):
                self._secrets[key.strip()] = value
                line = f"{key}={HIDDEN}"
            lines.append(line)
        with self.quietly():
            change(self._environ, value="\n".join(lines))
        self.changed()

    def form(self) -> Message:
        """Return what is filled in, as `words_of` takes it."""
        resources = {
            slot: entry.amount
            for slot, entry in self._amounts.items()
            if entry.is_touched and entry.amount > 0
        }
        environ = []
        for line in filter(str.strip, self._environ.value.split("\n")):
            key, equals, value = line.partition("=")
            key = key.strip()
            if value.strip() == HIDDEN:
                value = self._secrets.get(key, "")
            environ.append([key, value if equals else None])
        return {
            "image": self._image.value or "",
            "name": self._name.value,
            "resources": resources,
            "mounts": [each.description for each in self._folders if each.value],
            "environ": environ,
            "project": self._project.value,
            "scaling_group": self._where.value or "",
        }

    def changed(self) -> None:
        """Have the line made anew, when nothing has changed for a moment."""
        if not self.is_quiet:
            self.part.desk.here(self.part.name)
            self.part.desk.connection.portal.start(self._check_soon())

    def _moved(self) -> None:
        """Have it looked what is left elsewhere, when nothing has changed for a moment."""
        self.changed()
        if not self.is_quiet:
            self.part.desk.connection.portal.start(self._look_soon())

    async def _look_soon(self) -> None:
        if self._moving is not None:
            self._moving.cancel()
        self._moving = self.part.spawn(later(_LOOK_AFTER, self._look_there))

    async def _look_there(self) -> None:
        place = {"project": self._project.value, "scaling_group": self._where.value or ""}
        await self._do(self.ask("place", **place), None)

    async def _check_soon(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
        self._checking = self.part.spawn(later(_CHECK_AFTER, self._check))

    async def _check(self) -> None:
        answer = await self.ask("check", form=self.form(), hidden=list(self._secrets))
        lines = [("The same as a line", answer["line"])]
        if answer.get("cell"):
            lines.append(("Or to run a cell in it", answer["cell"]))
        rows = "".join(line_markup(*each) for each in lines)
        change(self._lines, value=f'<div class="bai-same">{rows}</div>' if self._choice else "")
        problem = answer["problem"] if self._choice else None
        change(self._wrong, value=problem_markup(problem, "status"))
        change(self._start, disabled=bool(problem) or self._is_starting)

    async def _begin_start(self, _: w.Button) -> None:
        change(self._said, value="")
        await self.ask("start", form=self.form())

    async def _make_kernel(self, _: w.Button) -> None:
        made = await self.ask("kernel", form=self.form())
        said = (
            f"The kernel “{made['display_name']}” is written to {made['folder']}; it is in "
            "Jupyter's launcher when its page is loaded again."
        )
        change(self._said, value=f'<p role="status">{escape(said)}</p>')

    async def _show_sessions(self, _: w.Button) -> None:
        self.part.desk.tell({"go": "sessions"})

    def show_problem(self, error: Message | None) -> None:
        change(self._failed, value=problem_markup(error))

    # -- a session that starts ----------------------------------------------------------------

    def _take_progress(self, now: Message) -> None:
        self._is_starting = now["state"] == "waiting"
        began = time.monotonic() - now["seconds"]
        change(self._progress, value=progress_markup(now, now["took"]))
        change(self._start, disabled=self._is_starting)
        show(self._steps, True)
        show(self._cancel, self._is_starting)
        show(self._sessions, now["state"] == "ready" and "sessions" in self.part.desk.parts)
        for state in HEADS:
            if state != now["state"]:
                self._steps.remove_class(f"bai-{state}")
        self._steps.add_class(f"bai-{now['state']}")
        if self._clock is not None:
            self._clock.cancel()
        self._clock = self.part.spawn(self._count(now, began)) if self._is_starting else None

    async def _count(self, now: Message, began: float) -> None:
        while True:
            await asyncio.sleep(1)
            took = f"{time.monotonic() - began:.0f} s"
            change(self._progress, value=progress_markup(now, took))
