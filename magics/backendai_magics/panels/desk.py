"""What stands behind a panel: takes the intents of its views, does them, tells what changed.

It keeps no truth of its own. All of its work happens on the portal's loop, so no click blocks the
kernel, and what it tells goes out from there at once, while a cell runs as well: a message of the
widget changes nothing in Python, and Jupyter's publishing may be used from any thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from backendai_kernel.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from backendai_kernel.client import Client

    from ..connection import Connection
    from .forms import Form

T = TypeVar("T")
Message = dict[str, Any]
Tell = Callable[[Message, Sequence[bytes]], None]
Verb = Callable[[Message], Awaitable[Any]]

LEASE = (
    150.0  # seconds after which a view that says nothing is taken for closed; it speaks every 40
)
AGAIN = 30.0  # seconds before a part goes on that has stopped by a mistake of ours
_REPORT = "The kernel's log has more; please report it."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attached:
    """An answer with bytes; they go to the page once, and are kept nowhere."""

    value: Any
    buffers: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"Attached({self.value!r}, {len(self.buffers)} buffers)"


class Part:
    """One part of a panel, such as its sessions. While a view shows it, it is *awake*.

    Subclasses give `verbs`, and redefine `wake`, which runs as long as the part is shown.
    """

    name = ""
    is_form = False  # it is a form through and through: what it tells goes there
    form: Form | None = None
    _making: asyncio.Future[Form] | None = None

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._problem: Message | None = None

    @property
    def verbs(self) -> dict[str, Verb]:
        """What a view may ask for: word → coroutine function of the intent."""
        return {}

    async def wake(self) -> None:
        """Keep the views informed until cancelled."""

    def greet(self) -> None:
        """Tell a view that has just come all that there is to show, if it is known already."""

    def make_form(self) -> Form:
        """Return the form of a part that has one; it is made once.

        Raises:
            NotImplementedError: It has none.
        """
        raise NotImplementedError

    async def open_form(self, intent: Message) -> str:
        """Return the id of the form's model, for a page to show it."""
        if self.form is None:
            self._making = self._making or asyncio.ensure_future(asyncio.to_thread(self.make_form))
            self.form = await asyncio.shield(self._making)
            self.greet()
        return str(self.form.box.model_id)

    def tell(self, buffers: Sequence[bytes] = (), **message: Any) -> None:
        """Send a message to the part's views; one that is a form has no others."""
        if self.form is not None and self.is_form:
            self.form.told(message)
            return
        self.desk.tell({"part": self.name, **message}, buffers)

    def show_problem(self, error: Exception | None) -> None:
        """Tell an error, or that there is none any more, if that is new."""
        problem = None if error is None else facts_of(error)
        if problem != self._problem:
            self._problem = problem
            self.tell(problem=problem)

    async def use(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do *work* with the client."""
        return await self.desk.connection.use(work)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work that nobody waits for; what goes wrong in it is told to the part's views."""
        return self.desk.spawn(work, self)


class Desk:
    """Takes intents from any thread; everything else happens on the portal's loop.

    Intents are dictionaries: ``do`` says what, ``id`` numbers them. Each is acknowledged at once
    (``ack``), which tells the page that the kernel listens, and answered when it is done
    (``done``), with a ``value`` or an ``error`` of a sentence and the next step.
    """

    def __init__(self, connection: Connection, tell: Tell) -> None:
        self.connection = connection
        self._tell = tell
        self.parts: dict[str, Part] = {}
        self._views: dict[str, tuple[str, float]] = {}  # view → the part it shows, last heard of
        self._awake: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None
        self.is_closed = False
        self.own_view = ""  # of a form without a page that would say that it is there

    def add(self, part: Part) -> None:
        """Give the panel a part."""
        self.parts[part.name] = part

    def tell(self, message: Message, buffers: Sequence[bytes] = ()) -> None:
        """Send a message to all views; from any thread."""
        if not self.is_closed:
            self._tell(message, buffers)

    # -- intents ------------------------------------------------------------------------------

    def receive(self, intent: object, buffers: Sequence[Any] = ()) -> None:
        """Take an intent of a view, in whatever thread the kernel hands it over."""
        if self.is_closed or not isinstance(intent, dict) or not isinstance(intent.get("do"), str):
            return
        self.tell({"ack": intent.get("id")})
        self.connection.portal.start(self._answer({**intent, "buffers": buffers}))

    async def _answer(self, intent: Message) -> None:
        number = intent.get("id")
        try:
            value = await self._do(intent)
        except Exception as exc:  # the outermost edge: nothing else would tell the page
            note(exc, str(intent.get("do")))
            self.tell({"done": number, "error": facts_of(exc)})
        else:
            buffers: Sequence[bytes] = ()
            if isinstance(value, Attached):
                value, buffers = value.value, value.buffers
            self.tell({"done": number, "value": value}, buffers)

    async def _do(self, intent: Message) -> Any:
        word = intent["do"]
        view = str(intent.get("view") or "")
        if word in ("hello", "show", "here"):
            return self._seen(view, str(intent["part"]), is_new=word != "here")
        if word == "bye":
            self._views.pop(view, None)
            return self._settle()
        part, _, verb = word.partition(".")
        if part not in self.parts or verb not in self.parts[part].verbs:
            raise _unknown(word)
        return await self.parts[part].verbs[verb](intent)

    # -- views --------------------------------------------------------------------------------

    def _seen(self, view: str, part: str, *, is_new: bool) -> Any:
        if part not in self.parts:
            raise _unknown(part)
        is_known = view in self._views
        self._views[view] = (part, time.monotonic())
        if is_new or not is_known:
            self.parts[part].greet()
        self._settle()
        return {"server": self.connection.place()}

    def _settle(self) -> None:
        """Wake the parts that are shown, and put the others to sleep."""
        shown = {part for part, _ in self._views.values()}
        for name in [name for name in self._awake if name not in shown]:
            self._awake.pop(name).cancel()
        for name in shown - self._awake.keys():
            self._awake[name] = self.spawn(self._keep_awake(self.parts[name]))
        if shown and self._watch is None:
            self._watch = self.spawn(self._keep_watch())

    async def _keep_awake(self, part: Part) -> None:
        """Have a part keep its views informed, also after a mistake of ours."""
        while True:
            try:
                return await part.wake()
            except Exception as exc:  # the outermost edge: the task is nobody's
                note(exc, f"{part.name}, kept up to date")
                part.show_problem(exc)
            await asyncio.sleep(AGAIN)

    async def _keep_watch(self) -> None:
        """Forget views that were closed without a word, as with their page."""
        while self._views:
            await asyncio.sleep(LEASE / 5)
            limit = time.monotonic() - LEASE
            for view in [view for view, (_, heard) in self._views.items() if heard < limit]:
                del self._views[view]
            self._settle()
        self._watch = None

    def here(self, part: str) -> None:
        """Take note, from any thread, that somebody uses a form that has no page of ours."""
        if self.own_view:
            self.receive({"do": "here", "view": self.own_view, "part": part})

    # -- work ---------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, T], part: Part | None = None) -> asyncio.Task[T]:
        """Begin work that belongs to the panel and ends with it; on the portal's loop.

        Args:
            part: Whose views are told what goes wrong; ``None``: only the log is.
        """
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, part))
        return task

    def _ended(self, task: asyncio.Task[Any], part: Part | None) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            note(error, "what nobody waits for")
            if part is not None and not self.is_closed:
                part.tell(problem=facts_of(error))

    @property
    def busy(self) -> tuple[str, ...]:
        """The parts that are kept up to date at the moment."""
        return tuple(self._awake)

    def close(self) -> None:
        """End everything; from any thread."""
        self.is_closed = True
        self.connection.portal.start(self._end())

    async def _end(self) -> None:
        self._views.clear()
        self._awake.clear()
        for part in self.parts.values():
            if part.form is not None:
                await asyncio.to_thread(part.form.close)
        for task in list(self._tasks):
            task.cancel()


def _unknown(word: str) -> ConfigError:
    return ConfigError(
        f"This panel knows no {word!r}.",
        hint="Load the page again: its panel may be of another version.",
    )


def told(error: BackendError) -> dict[str, str]:
    """Return an error as a page shows it: what happened, and what to do next."""
    return {"message": error.message, "hint": error.hint}


def facts_of(error: Exception) -> dict[str, str]:
    """Return any error as a page shows it; one that is not of ours is a mistake of the panel's."""
    while isinstance(error, ExceptionGroup):  # of a task group
        error = error.exceptions[0]
    if isinstance(error, BackendError):
        return told(error)
    what = f"The panel has a mistake: {type(error).__name__}: {error}"
    return {"message": what, "hint": _REPORT}


def note(error: Exception, doing: str) -> None:
    """Write a mistake of the panel's into the kernel's log."""
    if not isinstance(error, BackendError):
        _log.error("The panel could not do %r", doing, exc_info=error)
