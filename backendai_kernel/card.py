"""The card of a session that starts: shown once, updated in place, and left telling how it went."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .errors import BackendError
from .start import Progress, StillQueued
from .views import Card, card_html, card_text

_TICK = 1.0  # seconds between two updates when only the time has changed
_EARLIEST = 0.2  # a session that is there at once needs no card that waits


class StartCard:
    """Use it as a context manager around the start."""

    def __init__(
        self, send: Callable[[str, dict[str, Any]], None], image: str, resources: tuple[str, ...]
    ) -> None:
        self._send = send
        self._what = " ".join([image, *resources])
        self._where = "Backend.AI"
        self._progress = Progress("CONNECTING")
        self._began = time.monotonic()
        self._display_id = f"backendai-{uuid.uuid4().hex}"
        self._is_shown = False
        self._last = ""
        self._ticking: asyncio.Task[None] | None = None
        self._done: Card | None = None
        self._note = ""

    async def __aenter__(self) -> StartCard:
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if self._ticking is None:
            return  # it was finished before
        self._ticking.cancel()
        if error is None and self._done is not None:
            self._show(self._done)
        elif isinstance(error, StillQueued):
            return  # it goes on, only nobody waits any longer
        elif isinstance(error, BackendError):
            if self._is_shown:  # the error itself follows: the card need not say it as well
                self._show(self._card("failed"))
        elif error is not None and self._is_shown:
            self._show(self._card("cancelled", "Nothing was left running."))

    def progress(self, progress: Progress) -> None:
        """Take note of how far the session is."""
        changed = (progress.status_name, progress.note) != (
            self._progress.status_name,
            self._progress.note,
        )
        self._progress = progress
        if changed and self._is_shown:
            self._show(self._card("waiting", progress.note))

    def ready(self, name: str, endpoint: str, is_local: bool, note: str = "") -> None:
        """The session runs; the note is anything else worth a sentence."""
        where = "this computer" if is_local else endpoint.partition("//")[2]
        self._where = f"{name} on {where}"
        self._note = note
        self._done = self._card("ready", note)

    def time_left(self, text: str) -> None:
        """Show on the card of a session that runs when it will end by itself."""
        if self._done is not None:
            lines = filter(None, [text[:1].upper() + text[1:], self._note])
            self._show(replace(self._done, note="\n".join(lines)))

    def finish(self) -> None:
        """Show that the session runs, if there is anything to show yet; what follows is not ours."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        if self._done is not None:
            self._show(self._done)

    def _card(self, state: str, note: str = "") -> Card:
        seconds = time.monotonic() - self._began
        return Card(state, self._progress.status_name, self._what, self._where, seconds, note)

    async def _tick(self) -> None:
        await asyncio.sleep(_EARLIEST)
        while True:
            self._show(self._card("waiting", self._progress.note))
            await asyncio.sleep(_TICK)

    def _show(self, card: Card) -> None:
        text = card_text(card)
        if text == self._last:
            return
        kind = "update_display_data" if self._is_shown else "display_data"
        self._is_shown, self._last = True, text
        content = {
            "data": {"text/plain": text, "text/html": card_html(card)},
            "metadata": {},
            "transient": {"display_id": self._display_id},
        }
        self._send(kind, content)
