"""What happens to sessions, told to whoever listens: ``GET /events/session``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from .sessions import SessionRecord

PING = b": ping\r\n\r\n"
SERVER_CLOSE = b"event: server_close\r\ndata: {}\r\n\r\n"


class _Data(msgspec.Struct, rename="camel", omit_defaults=True):
    reason: str
    session_name: str
    owner_access_key: str
    session_id: str
    exit_code: int | msgspec.UnsetType | None
    kernel_id: str | msgspec.UnsetType = msgspec.UNSET
    cluster_role: str | msgspec.UnsetType = msgspec.UNSET
    cluster_idx: int | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Happening:
    """One event: its name (``session_started``), whose it is, and its frame as it is sent."""

    name: str
    session: SessionRecord
    frame: bytes

    @property
    def scope(self) -> str:
        """``session`` or ``kernel``."""
        return self.name.partition("_")[0]


class Hub:
    """Hands every event to every open stream; nothing is kept for later ones."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Happening | None]] = set()

    def tell(self, name: str, session: SessionRecord, reason: str = "") -> None:
        """Tell an event; *name* begins with ``session_`` or ``kernel_``.

        Source: recording 50 for the frames, whose ``exitCode`` is null always (API reference 5.5).
        """
        data = _Data(
            reason=reason,
            session_name=session.name,
            owner_access_key=session.owner.access_key,
            session_id=session.id,
            exit_code=None,
        )
        if name.startswith("kernel_"):
            data.kernel_id = session.kernel_id
            data.cluster_role = "main"
            data.cluster_idx = 1
        payload = msgspec.json.encode(data)
        frame = b"event: " + name.encode() + b"\r\ndata: " + payload + b"\r\n\r\n"
        for queue in self._queues:
            queue.put_nowait(Happening(name, session, frame))

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Happening | None]]:
        """Give a queue that gets every event from now on; ``None`` means the server closes."""
        queue: asyncio.Queue[Happening | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def close(self) -> None:
        """Tell every open stream that the server closes."""
        for queue in self._queues:
            queue.put_nowait(None)
