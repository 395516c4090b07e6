"""Work that shows something while it goes on: output, a line that changes, a question.

The work runs on the portal's loop. What it shows crosses over to the caller's thread, because
there the front end knows to which cell it belongs; there, too, questions are asked and interrupts
arrive.
"""

from __future__ import annotations

import asyncio
import getpass
import queue
import sys
import threading
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any, TypeVar

from backendai_kernel.portal import Portal

T = TypeVar("T")

_LOOK = (
    0.25  # seconds after which a blocked wait looks for an interrupt, where signals do not end it
)
_TIDY = 5.0  # seconds for work to begin that is called off


class Interrupted(KeyboardInterrupt):
    """An interrupt that was taken care of; shown in a sentence and not as a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"KeyboardInterrupt: {self}"]


@dataclass(frozen=True, slots=True)
class _Question:
    prompt: str
    is_password: bool
    answer: Future[str | None]


class Stage:
    """One piece of work and what it shows. `perform` runs in the caller's thread."""

    def __init__(self, shell: Any, portal: Portal) -> None:
        self._shell = shell
        self.portal = portal
        self._items: queue.SimpleQueue[Callable[[], None] | _Question | None] = queue.SimpleQueue()
        self._line = Line(shell)
        self.interrupts = 0

    # -- what work may do, on the portal's loop -------------------------------------------------

    def write(self, stream: str, text: str) -> None:
        """Write text to ``stdout`` or ``stderr``."""
        self._items.put(lambda: self._write(stream, text))

    def publish(self, kind: str, content: dict[str, Any]) -> None:
        """Show a message of the kind that Jupyter has: ``stream``, ``display_data`` …"""
        self._items.put(lambda: self._publish(kind, content))

    def line(self, text: str, html: str = "") -> None:
        """Show a line in place of the one before; in a notebook it may be more than a line."""
        self._items.put(lambda: self._line.show(text, html))

    def card(self, kind: str, content: dict[str, Any]) -> None:
        """Show a card of `StartCard`, each in place of the one before."""
        data = content["data"]
        self._items.put(lambda: self._line.show(data["text/plain"], data["text/html"]))

    def settle(self) -> None:
        """Leave the line as it is; what comes next is another."""
        self._items.put(self._line.settle)

    async def ask(self, prompt: str, *, is_password: bool = False) -> str | None:
        """Ask for a line; ``None``: interrupted."""
        question = _Question(prompt, is_password, Future())
        self._items.put(question)
        return await asyncio.wrap_future(question.answer)

    # -- the caller's thread --------------------------------------------------------------------

    def perform(
        self,
        work: Coroutine[Any, Any, T],
        on_interrupt: Callable[[int], str] = lambda count: "",
    ) -> T:
        """Do *work*, show what it shows, and return what it returns.

        Args:
            on_interrupt: Told the number of an interrupt; returns a sentence when it has seen to
                it, and ``""`` when the work is to be called off.

        Raises:
            Interrupted: The work was called off; and whatever it raises itself.
        """
        began = threading.Event()

        async def watched() -> T:
            began.set()
            try:
                return await work
            finally:
                self._items.put(None)  # after its clean-up, so that this is shown as well

        future = self.portal.start(watched())
        try:
            while self._next(future, began, on_interrupt):
                pass
        finally:
            self._line.settle()
        try:
            return future.result()
        except CancelledError:
            raise Interrupted("called off.") from None

    def _next(
        self, future: Future[Any], began: threading.Event, on_interrupt: Callable[[int], str]
    ) -> bool:
        """Show the next item; tell whether there may be more."""
        try:
            item = self._items.get(timeout=_LOOK)
            if item is None:
                return False
            if isinstance(item, _Question):
                self._answer(item)
            else:
                item()
        except queue.Empty:
            return True
        except KeyboardInterrupt:
            if future.cancelled():
                return False  # it was called off before, and its clean-up takes too long
            began.wait(_TIDY)  # cancelled before its first step, it would never tidy up
            self._interrupted(future, on_interrupt)
        return True

    def _interrupted(self, future: Future[Any], on_interrupt: Callable[[int], str]) -> None:
        self.interrupts += 1
        sentence = on_interrupt(self.interrupts)
        if sentence:
            self._line.settle()
            self._write("stderr", f"{sentence}\n")
            return
        future.cancel()

    def _answer(self, question: _Question) -> None:
        self._line.settle()
        try:
            ask = getpass.getpass if question.is_password else input
            question.answer.set_result(ask(question.prompt))
        except KeyboardInterrupt:
            question.answer.set_result(None)
        except Exception as exc:  # whatever a front end without input raises: the work is told
            question.answer.set_exception(exc)

    def confirm(self, question: str) -> bool:
        """Ask a question with yes or no, in the caller's thread; no where nobody can answer."""
        try:
            return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt, RuntimeError, NotImplementedError):
            return False  # RuntimeError: the front end takes no input (StdinNotImplementedError)

    def _write(self, stream: str, text: str) -> None:
        self._line.settle()
        out = sys.stderr if stream == "stderr" else sys.stdout
        out.write(text)
        out.flush()

    def _publish(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            self._write(str(content["name"]), str(content["text"]))
        elif kind == "clear_output":
            self._shell.display_pub.clear_output(wait=bool(content.get("wait")))
        elif kind in ("display_data", "update_display_data", "execute_result"):
            self._line.settle()
            self._shell.display_pub.publish(
                data=content["data"],
                metadata=content.get("metadata") or {},
                transient=content.get("transient") or {},
                update=kind == "update_display_data",
            )


class Line:
    """A line that changes: an updated display in a notebook, the last line of a terminal, and
    where neither can be changed only what is new."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._is_notebook = getattr(shell, "kernel", None) is not None
        self._display_id = ""
        self._last = ""

    def show(self, text: str, html: str = "") -> None:
        if text == self._last:
            return
        if self._is_notebook:
            data = {"text/plain": text} | ({"text/html": html} if html else {})
            update = bool(self._display_id)
            self._display_id = self._display_id or f"backendai-{uuid.uuid4().hex}"
            self._shell.display_pub.publish(
                data=data, transient={"display_id": self._display_id}, update=update
            )
        elif sys.stdout.isatty():
            # What is cut off at the right could not be taken back.
            width = _width()
            shown = " ".join(text.split())
            sys.stdout.write(f"\r\x1b[2K{shown[: width - 1]}")
            sys.stdout.flush()
        elif _begin(text) != _begin(self._last):
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        self._last = text

    def settle(self) -> None:
        """Leave what is shown as it is."""
        if self._last and not self._is_notebook and sys.stdout.isatty():
            # The last word is given whole.
            sys.stdout.write(f"\r\x1b[2K{self._last}\n")
            sys.stdout.flush()
        self._last = self._display_id = ""


def _begin(text: str) -> str:
    """Return what of a line says more than how long it takes."""
    return text.partition(" · ")[0]


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns
