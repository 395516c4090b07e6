"""What a session goes through, as the manager tells it while it happens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import ProtocolError, clipped

if TYPE_CHECKING:
    import aiohttp


_LARGEST = 2**20  # characters of an event's data
_NO_END = "The server sent an event that has no end."


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """One event: its name, such as ``session_terminated``, whose, and the reason given."""

    name: str
    session_id: str = ""
    session_name: str = ""
    reason: str = ""


async def read_events(stream: aiohttp.StreamReader) -> AsyncIterator[SessionEvent]:
    """Yield the events of a stream of server-sent events until it ends.

    Comments (``: ping``) are passed over; ``server_close`` ends the iteration.

    Raises:
        ProtocolError: The data of an event is not a JSON object, or has no end.

    Source: API reference 5.5; recording 50.
    """
    from aiohttp.http_exceptions import HttpProcessingError

    name, data = "", ""
    lines = stream.__aiter__()
    while True:
        try:
            raw = await anext(lines)
        except StopAsyncIteration:
            return
        except (ValueError, HttpProcessingError) as exc:  # longer than what the reader keeps
            raise ProtocolError(_NO_END) from exc
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        key, _, value = line.partition(":")
        if key == "event":
            name = value.strip()
        elif key == "data":
            data += value.strip()
            if len(data) > _LARGEST:
                raise ProtocolError(_NO_END)
        elif not line and name:
            if name == "server_close":
                return
            yield _event(name, data)
            name, data = "", ""


def _event(name: str, data: str) -> SessionEvent:
    try:
        told = json.loads(data or "{}")
        return SessionEvent(
            name,
            *(clipped(told.get(key) or "") for key in ("sessionId", "sessionName", "reason")),
        )
    except (ValueError, AttributeError, RecursionError) as exc:
        raise ProtocolError(f"The server sent an event in a form we cannot read: {exc}.") from exc
