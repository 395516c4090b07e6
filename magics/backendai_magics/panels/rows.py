"""Sessions as rows for a page, and of a new list only what differs from the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from backendai_kernel.describe import short_image
from backendai_kernel.model import Session
from backendai_kernel.slots import format_amount
from backendai_kernel.usage import Usage

from .resting import IdleClock

COLUMNS = (
    *("id", "name", "status", "image", "asked", "used"),
    *("created", "over", "idle", "reason", "owner"),
)
"""What a row tells, after its key. ``created`` and ``over`` are seconds since the epoch, ``idle`` is
when the session will be ended for doing nothing, all 0 where nobody says; ``idle`` is `RESTS` where
that clock stands still."""

_WORDS = frozenset(COLUMNS.index(name) for name in ("image", "asked", "owner"))
_FLAPS = 90  # seconds: servers tell what is left, and the sum with now wavers

Row = list[Any]
Message = dict[str, Any]


class Rows:
    """The rows that a page has.

    Each has a small number as its key, and words that many rows share are sent once: ``words`` is
    a list that grows, and in a row their place in it stands for them.
    """

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}
        self._last_key = 0
        self._rows: dict[int, Row] = {}
        self._words: list[str] = []
        self._places: dict[str, int] = {}
        self._clocks: dict[str, IdleClock] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget all; the next update is whole. No key stands for another session later."""
        self._keys, self._rows, self._words, self._places = {}, {}, [], {}

    def whole(self) -> Message:
        """Return everything, for a page that knows nothing."""
        return {"words": self._words, "rows": [[key, *row] for key, row in self._rows.items()]}

    def update(
        self,
        sessions: Iterable[Session],
        usage: Mapping[str, Usage],
        *,
        own_key: str,
        is_all: bool = True,
    ) -> Message:
        """Take sessions as they are now; return what the page has to change, ``{}`` for nothing.

        Args:
            usage: Session id → what it uses.
            own_key: Whose sessions need no owner beside them.
            is_all: The list is whole: rows that are not in it are gone.
        """
        begin = len(self._words)
        added: list[Row] = []
        changed: list[Row] = []
        seen = set()
        for session in sessions:
            row = self._row(session, usage.get(session.id), own_key)
            key = self._keys.get(session.id)
            if key is None:
                self._last_key += 1
                key = self._keys[session.id] = self._last_key
            seen.add(key)
            before = self._rows.get(key)
            if before is None:
                added.append([key, *row])
            elif patch := _difference(before, row):
                changed.append([key, *patch])
            else:
                continue
            self._rows[key] = row
        gone = self._drop(self._rows.keys() - seen) if is_all else []
        message: Message = {}
        if len(self._words) > begin:
            message["more_words"] = self._words[begin:]
        for name, part in (("add", added), ("set", changed), ("gone", gone)):
            if part:
                message[name] = part
        return message

    def remove(self, session_id: str) -> Message:
        """Take one away; return what the page has to change."""
        key = self._keys.get(session_id, 0)
        return {"gone": gone} if (gone := self._drop({key} & self._rows.keys())) else {}

    def _drop(self, keys: set[int]) -> list[int]:
        for key in keys:
            self._clocks.pop(self._rows.pop(key)[COLUMNS.index("id")], None)
        return sorted(keys)

    def _row(self, session: Session, usage: Usage | None, own_key: str) -> Row:
        return [
            session.id,
            session.name,
            session.status_name,
            self._word(short_image(session.image) or ""),
            self._word(asked_text(session)),
            usage.text if usage is not None and session.status.is_running else "",
            _seconds(session.created_at),
            _seconds(session.terminated_at) if session.status.is_over else 0,
            self._idle(session, usage),
            session.status_info or "",
            self._word("" if session.access_key in ("", own_key) else session.access_key),
        ]

    def _idle(self, session: Session, usage: Usage | None) -> int:
        if usage is None or not session.status.is_running:
            self._clocks.pop(session.id, None)
            return 0
        return self._clocks.setdefault(session.id, IdleClock()).read(usage)

    def _word(self, text: str) -> int:
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = len(self._words)
            self._words.append(text)
        return place


def _difference(before: Row, now: Row) -> list[Any]:
    """Return numbers of columns, each followed by what is in it now."""
    patch: list[Any] = []
    for column, (old, new) in enumerate(zip(before, now, strict=True)):
        if old == new:
            continue
        if COLUMNS[column] == "idle" and min(old, new) > 0 and abs(old - new) < _FLAPS:
            now[column] = old
            continue
        patch += [column, new]
    return patch


_NAMES = {"cpu": "CPU", "cuda.shares": "GPU", "cuda.device": "GPU"}


def asked_text(session: Session) -> str:
    """Return what a session has or waits for, in words: ``2 CPU · 4 GiB · 0.5 GPU``."""
    return _asked(session.occupying_slots)


@lru_cache(1024)  # of a thousand sessions most ask for the same
def _asked(occupying_slots: str | None) -> str:
    words = []
    slots = Session(id="", occupying_slots=occupying_slots).slots
    for slot, amount in sorted(slots.items(), key=lambda item: _order(item[0])):
        if slot == "mem":
            words.append(amount_text(slot, amount))
        elif amount:
            words.append(f"{format_amount(amount)} {_NAMES.get(slot, slot)}")
    return " · ".join(words)


def amount_text(slot: str, amount: Decimal | None, *, none: str = "no limit") -> str:
    """Return an amount of a slot, memory in units for people: ``4 GiB``."""
    if amount is None:
        return none
    if slot != "mem":
        return format_amount(amount)
    size = float(amount) / 2**20
    return f"{size:.0f} MiB" if 0 < size < 1000 else f"{size / 1024:.3g} GiB"


def _order(slot: str) -> tuple[bool, bool, str]:
    return slot != "cpu", slot != "mem", slot


def _seconds(when: Any) -> int:
    return int(when.timestamp()) if when is not None else 0
