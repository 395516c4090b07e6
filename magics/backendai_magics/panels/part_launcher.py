"""A form that starts a session: the same words as ``%bai start``, read by the same parser."""

from __future__ import annotations

import asyncio
import shlex
import time
from argparse import Namespace
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from backendai_kernel import profiles, specs
from backendai_kernel.errors import BackendError, ConfigError
from backendai_kernel.slots import format_size
from backendai_kernel.start import Progress, start_session
from backendai_kernel.views import duration, phase_of

from ..running import read_name, read_request
from ..tree import VERBS
from .desk import Desk, Message, Part, Verb, told
from .offers import MIB, read_choice, read_offer

if TYPE_CHECKING:
    from backendai_kernel.client import Client

    from .forms import Form

_LOOK = 15.0  # seconds between two looks at what is left


class Launcher(Part):
    """Knows what can be had, and starts one session at a time."""

    name = "launcher"
    is_form = True

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._offer: Message | None = None
        self._choice: Message | None = None
        self._place = ("", "")  # project and scaling group, empty for those of the settings
        self._groups_of: str | None = None  # the project whose scaling groups are known
        self._looking = asyncio.Lock()
        self._start: asyncio.Task[None] | None = None
        self._progress: Message | None = None

    @property
    def verbs(self) -> dict[str, Verb]:
        return {
            "check": self._check,
            "place": self._look_there,
            "start": self._begin,
            "cancel": self._cancel,
            "kernel": self._make_kernel,
            "form": self.open_form,
        }

    def make_form(self) -> Form:
        from .form_launcher import LauncherForm

        return LauncherForm(self)

    def greet(self) -> None:
        if self._choice is not None:
            self.tell(choice=self._choice, offer=self._offer, progress=self._progress)

    async def wake(self) -> None:
        is_read = False  # whenever it is opened: folders may have come and gone
        while True:
            try:
                if not is_read:
                    choice = await self.use(read_choice)
                    is_read, self._groups_of = True, None
                    if choice != self._choice:
                        self._choice = choice
                        self.tell(choice=choice)
                await self._look()
                self.show_problem(None)
            except BackendError as exc:
                self.show_problem(exc)
            await asyncio.sleep(_LOOK)

    async def _look(self) -> None:
        """Ask what is left in the place that is filled in, and tell what is new."""
        async with self._looking:
            project, group = self._place
            is_same = self._groups_of == project
            groups = self._offer["scaling_groups"] if self._offer and is_same else None
            offer = await self.use(lambda client: read_offer(client, project, group, groups))
            self._groups_of = project
            if offer != self._offer:
                self._offer = offer
                self.tell(offer=offer)

    # -- intents ------------------------------------------------------------------------------

    async def _look_there(self, intent: Message) -> None:
        """Offer what is left in another project or scaling group."""
        self._place = (str(intent["project"]).strip(), str(intent["scaling_group"]))
        await self._look()
        self.show_problem(None)

    async def _check(self, intent: Message) -> Message:
        """Return the line that does the same, and what is wrong with it.

        Variables that are ``hidden`` stand in it by their names alone.
        """
        form, hidden = intent["form"], set(intent.get("hidden") or ())
        environ = [
            [key, None if key in hidden else value] for key, value in form.get("environ") or ()
        ]
        shown = shlex.join(words_of({**form, "environ": environ}))
        line = f"%bai start {shown}"
        try:
            _read(words_of(form))
        except BackendError as exc:
            return {"line": line, "problem": told(exc)}
        return {"line": line, "cell": f"%%bai run {shown}", "problem": None}

    async def _begin(self, intent: Message) -> None:
        if self._start is not None and not self._start.done():
            raise ConfigError(
                "A session is being started from here already.", hint="Wait for it, or cancel it."
            )
        options = _read(words_of(intent["form"]))
        self._start = self.spawn(self._run(options))

    async def _run(self, options: Namespace) -> None:
        request, name = read_request(options), read_name(options)
        began = time.monotonic()
        self._show(name, "waiting", Progress("CONNECTING"), began)

        def step(progress: Progress) -> None:
            self._show(name, "waiting", progress, began)

        async def work(client: Client) -> str:
            session = await start_session(
                client, request, name, on_progress=step, is_prepared=False
            )
            return session.id

        try:
            session_id = await self.use(work)
        except asyncio.CancelledError:
            self._show(name, "cancelled", Progress("CANCELLED"), began)
            raise
        except BackendError as exc:
            self._show(name, "failed", Progress("FAILED"), began, error=told(exc))
        else:
            self._show(name, "ready", Progress("RUNNING", session_id), began)

    def _show(
        self,
        name: str,
        state: str,
        progress: Progress,
        began: float,
        error: dict[str, str] | None = None,
    ) -> None:
        now = {
            "name": name,
            "state": state,
            "status": progress.status_name,
            "phase": phase_of(progress.status_name),
            "session": progress.session_id,
            "note": progress.note,
            "error": error,
        }
        before = self._progress
        if before is not None and now == {key: before[key] for key in now}:
            return  # the page counts the seconds by itself
        took = time.monotonic() - began
        self._progress = {**now, "seconds": round(took, 1), "took": duration(took)}
        self.tell(progress=self._progress)

    async def _cancel(self, intent: Message) -> None:
        if self._start is None or self._start.done():
            raise ConfigError("No session is being started any more.")
        self._start.cancel()
        await asyncio.wait([self._start])

    async def _make_kernel(self, intent: Message) -> Message:
        """Write a kernelspec that starts such a session; values of variables stay out of it."""
        options = _read(words_of(intent["form"]))
        request = read_request(options)
        profile = profiles.resolve_profile(
            image=options.image,
            resources=options.resource,
            mounts=options.mount,
            environ=request.environ,
            project=options.project or "",
            scaling_group=options.scaling_group or "",
        )
        spec = await asyncio.to_thread(
            specs.install, profile, is_replaced=True, values=request.environ
        )
        return {"name": spec.name, "display_name": spec.display_name, "folder": str(spec.folder)}


# -- the form ---------------------------------------------------------------------------------


def words_of(form: Message) -> list[str]:
    """Return the words of ``%bai start`` that say what a form says.

    Args:
        form: ``image``, ``name``, ``resources`` (slot → amount; ``mem`` in MiB), ``mounts``,
            ``environ`` (pairs; ``None`` for the value that a variable has here), ``project``, ``scaling_group``; what is empty is left out.
    """
    words = [str(form.get("image") or "")]
    if name := str(form.get("name") or "").strip():
        words += ["-t", name]
    for slot, amount in dict(form.get("resources") or {}).items():
        number = Decimal(str(amount))
        if number > 0:
            text = format_size(number * MIB) if slot == "mem" else f"{number.normalize():f}"
            words += ["-r", f"{slot}={text}"]
    for folder in form.get("mounts") or ():
        words += ["-m", str(folder)]
    for key, value in form.get("environ") or ():
        if key:
            words += ["-e", str(key) if value is None else f"{key}={value}"]
    for option, key in (("-g", "project"), ("--scaling-group", "scaling_group")):
        if text := str(form.get(key) or "").strip():
            words += [option, text]
    return words


def _read(words: Sequence[str]) -> Namespace:
    if not words[0]:
        raise ConfigError("No image is chosen.", hint="Choose one from the list.")
    options = VERBS["start"].parser().read(words)
    read_name(options)
    read_request(options)
    return options
