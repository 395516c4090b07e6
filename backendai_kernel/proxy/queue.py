"""Output on its way from the portal's loop to the kernel's, joined where it comes fast.

The first text of a cell is passed on at once; texts that follow within a hundredth of a second are
joined, so that a flood is some hundred messages a second at the most and not thousands, which front
ends cannot draw and servers cut.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

from ..protocol.envelope import Message
from ..protocol.run import Event, Finished, Text

_STEP = 0.011  # seconds between two messages of text at the least
_LONGEST = 1_000_000  # characters of one message, beyond which nothing is joined
_MOST = 4_000_000  # characters that wait, beyond which whoever brings more must wait


class OutputQueue:
    """Takes events on one thread and hands them over, in order, on a loop of another."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deliver: Callable[[Event | Message], None]
    ) -> None:
        """Prepare.

        Args:
            loop: Where *deliver* is called.
            deliver: Takes each event, texts joined.
        """
        self._loop = loop
        self._deliver = deliver
        self._lock = threading.Lock()
        self._waiting: list[Event | Message] = []
        self._is_due = False
        self._earliest = 0.0
        self._size = 0
        self._held: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def put(self, event: Event | Message, is_last: bool = False) -> None:
        """Take an event; from any thread.

        What nobody sees waits for what comes next, or for the end of the cell: to wake another
        thread takes as long as a request.

        Args:
            is_last: The run is over, so that the cell's end is near.
        """
        with self._lock:
            self._waiting.append(event)
            self._size += len(event.text) if isinstance(event, Text) else 0
            if self._is_due or isinstance(event, Finished):
                return
            if is_last and self._size < _LONGEST:
                return
            if isinstance(event, Message) and event.kind == "reply":
                return
            self._is_due = True
        self._loop.call_soon_threadsafe(self._due)

    async def room(self) -> None:
        """Return when there is room for more; on the loop of whoever puts.

        Without it a flood would be here as a whole, for as long as a front end takes to read it.
        """
        with self._lock:
            if self._size < _MOST:
                return
            loop = asyncio.get_running_loop()
            free = loop.create_future()
            self._held.append((loop, free))
        await free

    def _due(self) -> None:
        wait = self._earliest - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self.flush)
        else:
            self.flush()

    def flush(self) -> None:
        """Hand over what waits; on the loop."""
        with self._lock:
            waiting, self._waiting, self._is_due = self._waiting, [], False
        self._earliest = self._loop.time() + _STEP
        try:
            for event in joined(waiting):
                self._deliver(event)
        finally:
            self._let_in(waiting)

    def _let_in(self, gone: list[Event | Message]) -> None:
        with self._lock:
            self._size -= sum(len(event.text) for event in gone if isinstance(event, Text))
            held, self._held = self._held, []
        for loop, free in held:
            loop.call_soon_threadsafe(_set, free)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():  # its cell may have been given up
        future.set_result(None)


def joined(events: list[Event | Message]) -> Iterator[Event | Message]:
    """Yield events with neighbouring texts of one stream made one, and long ones made several."""
    stream, pieces, size = "", list[str](), 0
    for event in events:
        joins = isinstance(event, Text) and event.stream == stream and size < _LONGEST
        if pieces and not joins:
            yield from _cut(stream, pieces)
            pieces, size = [], 0
        if isinstance(event, Text):
            stream, size = event.stream, size + len(event.text)
            pieces.append(event.text)
        else:
            yield event
    if pieces:
        yield from _cut(stream, pieces)


def _cut(stream: str, pieces: list[str]) -> Iterator[Text]:
    text = "".join(pieces)
    pieces.clear()
    for start in range(0, len(text), _LONGEST):
        yield Text(stream, text[start : start + _LONGEST])
