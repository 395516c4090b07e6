"""What a cell still says that outlived its kernel: sent as if the kernel had been there all along.

A front end that kept the cell's request shows it under the cell; JupyterLab forgets all requests
when a kernel is started again by itself, and there the next cell tells of `%bai replay`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from ..journal import Entry
from ..outputs import Translator
from ..protocol.envelope import Message
from ..protocol.run import Contact, Event, Finished
from .limit import TextLimit
from .queue import OutputQueue

Send = Callable[[str, dict[str, Any]], None]


class LeftCell:
    """One such cell; made on any thread, it sends on the kernel's loop.

    Attributes:
        count: Its number.
        has_said: There was output that its own kernel has not sent.
    """

    def __init__(
        self,
        entry: Entry,
        loop: asyncio.AbstractEventLoop,
        send: Send,
        relay: Callable[[Message], None],
        limit: int,
    ) -> None:
        """Say that the kernel is busy.

        Args:
            send: Sends a message as an answer to the cell.
            relay: Takes comm messages, and what belongs to another request.
        """
        self.count = entry.head.count
        self.has_said = False
        self._origin = str(entry.head.parent.get("msg_id", ""))
        self._translator = Translator(entry.head.count, plain=not entry.head.key)
        self._limit = TextLimit(limit, entry.path)
        self._loop = loop
        self._queue = OutputQueue(loop, self._deliver)
        self._send = send
        self._relay = relay
        loop.call_soon_threadsafe(send, "status", {"execution_state": "busy"})

    def publish(self, event: Event | Message) -> None:
        """Take an event; from any thread."""
        self.has_said = self.has_said or not isinstance(event, Finished | Contact)
        self._queue.put(event)
        if isinstance(event, Finished):  # the queue leaves that to whoever waits for the end
            self._loop.call_soon_threadsafe(self._queue.flush)

    async def room(self) -> None:
        """Return when there is room for more; on the loop of whoever publishes."""
        await self._queue.room()

    def _deliver(self, event: Event | Message) -> None:
        if isinstance(event, Message) and (
            event.kind.startswith("comm_") or event.origin not in ("", self._origin)
        ):
            self._relay(event)
            return
        for kind, content in self._translator.translate(event):
            if kind == "stream":
                self._say(self._limit.take(str(content["name"]), str(content["text"])))
            else:
                self._send(kind, content)
        if isinstance(event, Finished):
            self._say(self._limit.finish())
            self._send("status", {"execution_state": "idle"})

    def _say(self, pieces: Iterator[tuple[str, str]]) -> None:
        for name, text in pieces:
            self._send("stream", {"name": name, "text": text})
