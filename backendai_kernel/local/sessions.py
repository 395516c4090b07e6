"""What the manager knows of its sessions, and how a name or id finds one."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model import SessionStatus
from . import problems
from .auth import KeyPair
from .images import LocalImage

if TYPE_CHECKING:
    from .agent import Container

KEPT = 1000
"""How many dead sessions are remembered."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a creation asked for, checked."""

    name: str
    image: LocalImage
    owner: KeyPair
    slots: Mapping[str, Decimal]
    shmem: Decimal
    type: str = "INTERACTIVE"
    environ: Mapping[str, str] = field(default_factory=dict)
    bootstrap_script: str | None = None
    startup_command: str | None = None
    preopen_ports: tuple[int, ...] = ()
    tag: str = ""
    priority: int = 10
    mounts: Mapping[str, Path] = field(default_factory=dict)
    read_only: tuple[Path, ...] = ()


@dataclass(eq=False)
class SessionRecord:
    """One session, from its request to long after its end.

    Attributes:
        settled: Set once it is RUNNING or will never be.
        busy: How many runs, event streams and websockets hold it right now.
        touched: Loop time of the last moment something held it.
        active: How many executions and connections to apps there are right now.
        accessed: Loop time of the last moment there was one.
        began: Loop time of its start.
        remaining: Idle check → seconds, as last checked.
        devices: Simulated device → shares taken of it.
    """

    wanted: Wanted
    created_at: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    kernel_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    name: str = ""
    status: SessionStatus = SessionStatus.PENDING
    status_info: str | None = None
    status_changed: datetime = datetime.min
    history: dict[str, datetime] = field(default_factory=dict)
    result: str = "UNDEFINED"
    terminated_at: datetime | None = None
    starts_at: datetime | None = None
    allocated: dict[str, Decimal] = field(default_factory=dict)
    devices: dict[int, Decimal] = field(default_factory=dict)
    container: Container | None = None
    bringing_up: asyncio.Task[None] | None = None
    ending: str | None = None  # why it is being ended
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    last_logs: str = ""
    busy: int = 0
    touched: float = 0.0
    active: int = 0
    accessed: float = 0.0
    began: float = 0.0
    remaining: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.name or self.wanted.name

    @property
    def owner(self) -> KeyPair:
        return self.wanted.owner

    @property
    def holds_slots(self) -> bool:
        """It counts against its owner's quota."""
        return bool(self.allocated) and not self.over.is_set()

    @property
    def occupied(self) -> Mapping[str, Decimal]:
        """What it takes: the request while it waits, nothing once it is over (recordings 36, 67)."""
        if self.status.is_over:
            return {}
        return dict(sorted((self.held or self.wanted.slots).items()))

    @property
    def held(self) -> Mapping[str, Decimal]:
        """What its container has: nothing before there is one."""
        return self.allocated if self.starts_at is not None else {}

    @property
    def last_change(self) -> datetime:
        """When it was made, changed its status or ended, whichever was last."""
        return max(self.created_at, self.status_changed, self.terminated_at or self.created_at)

    def brief(self) -> dict[str, Any]:
        """Return how an ambiguous name's answer tells of it (recording 92)."""
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status.value,
            "created_at": self.created_at.isoformat(),
        }


class Registry:
    """All sessions that are alive, and the last dead ones."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, SessionRecord] = OrderedDict()

    def __iter__(self) -> Iterator[SessionRecord]:
        """Oldest first."""
        return iter(list(self._sessions.values()))

    def add(self, record: SessionRecord) -> None:
        self._sessions[record.id] = record
        self._forget()

    def get(self, session_id: str) -> SessionRecord | None:
        return self._sessions.get(session_id)

    def alive(self) -> list[SessionRecord]:
        return [record for record in self if not record.status.is_over]

    def named(self, name: str, owner: KeyPair) -> SessionRecord | None:
        """Return the live session of that name."""
        for record in reversed(self.alive()):
            if record.name == name and record.owner.access_key == owner.access_key:
                return record
        return None

    def find(self, ref: str, owner: KeyPair, *, dead: bool = False) -> SessionRecord:
        """Return the one session that *ref*, an id or a name, means.

        Args:
            ref: From the path.
            owner: Whose sessions are looked at.
            dead: Look at dead ones too, as ``DELETE`` and ``logs`` do.

        Raises:
            Problem: None, or several of that name.

        Source: API reference 4.1; recordings 24 and 92 (a dead namesake makes a name ambiguous).
        """
        mine = [
            record
            for record in self
            if record.owner.access_key == owner.access_key and (dead or not record.status.is_over)
        ]
        if (normal := _as_uuid(ref)) is not None:
            for record in mine:
                if record.id == normal:
                    return record
        found = [record for record in mine if record.name == ref]
        if not found:
            raise problems.no_such_session(ref)
        if len(found) > 1:
            newest_first = reversed(found)
            raise problems.too_many_sessions([record.brief() for record in newest_first][:10])
        return found[0]

    def _forget(self) -> None:
        dead = [record.id for record in self if record.status.is_over]
        for session_id in dead[: max(0, len(dead) - KEPT)]:
            del self._sessions[session_id]


def _as_uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def utcnow() -> datetime:
    return datetime.now(UTC)
