"""A page for the tests: what a panel's desk tells, and intents as a view sends them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from backendai_magics.connection import Connection
from backendai_magics.panels.desk import Desk, Part

LIMIT = 60.0  # seconds after which a test is lost; everything it waits for is a fact


class Page:
    """The other end of a desk. Everything that it was told is in `told`, in order."""

    def __init__(self, connection: Connection, *parts: type[Part]) -> None:
        self.told: list[dict[str, Any]] = []
        self.buffers: list[Sequence[bytes]] = []
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self.desk = Desk(connection, self._take)
        for part in parts:
            self.desk.add(part(self.desk))

    def _take(self, message: dict[str, Any], buffers: Sequence[bytes]) -> None:
        with self._changed:
            self.told.append(message)
            self.buffers.append(buffers)
            self._changed.notify_all()

    def until(self, fact: Callable[[], Any], what: str = "") -> Any:
        """Return what *fact* returns, once that is something."""
        found: Any = None

        def holds() -> bool:
            nonlocal found
            found = fact()
            return bool(found)

        with self._changed:
            assert self._changed.wait_for(holds, LIMIT), f"never {what}: {self.told[-6:]}"
        return found

    def send(self, do: str, *, view: str = "v", buffers: Sequence[bytes] = (), **more: Any) -> int:
        """Send an intent and return its number."""
        number = next(self._numbers)
        self.desk.receive({**more, "id": number, "do": do, "view": view}, buffers)
        return number

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Send an intent and return its answer."""
        number = self.send(do, **more)
        return self.until(
            lambda: next((m for m in self.told if m.get("done") == number), None), f"done: {do}"
        )

    def do(self, do: str, **more: Any) -> Any:
        """Send an intent, and return its value; fail if it failed."""
        answer = self.ask(do, **more)
        assert "error" not in answer, answer
        return answer["value"]

    def of(self, part: str, key: str) -> list[Any]:
        """Return all that a part has told under a key."""
        return [m[key] for m in self.told if m.get("part") == part and key in m]

    def hears(self, part: str, key: str, fact: Callable[[Any], Any] = lambda value: True) -> Any:
        """Return what a part tells under a key, once *fact* holds for it."""
        found = self.until(
            lambda: [v for v in self.of(part, key) if fact(v)], f"{part} tells {key}"
        )
        return found[-1]
