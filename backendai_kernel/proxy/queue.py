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
from ..protocol.run import Event, Text

_STEP = 0.011  # seconds between two messages of text at the least
_LONGEST = 1_000_000  # characters of one message, beyond which nothing is joined


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

    def put(self, event: Event | Message) -> None:
        """Take an event; from any thread."""
        with self._lock:
            self._waiting.append(event)
            if self._is_due:
                return
            self._is_due = True
        self._loop.call_soon_threadsafe(self._due)

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
        for event in joined(waiting):
            self._deliver(event)


def joined(events: list[Event | Message]) -> Iterator[Event | Message]:
    """Yield events with neighbouring texts of one stream made one."""
    stream, pieces, size = "", list[str](), 0
    for event in events:
        joins = isinstance(event, Text) and event.stream == stream and size < _LONGEST
        if pieces and not joins:
            yield Text(stream, "".join(pieces))
            pieces, size = [], 0
        if isinstance(event, Text):
            stream, size = event.stream, size + len(event.text)
            pieces.append(event.text)
        else:
            yield event
    if pieces:
        yield Text(stream, "".join(pieces))
