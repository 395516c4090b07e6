"""What a kernel wants of a session, and what it needs of the way there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..protocol.envelope import Message
from ..protocol.run import Event, InputRequest
from ..start import Progress

Publish = Callable[[Event | Message], None]
Ask = Callable[[InputRequest], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Wish:
    """What kind of session a kernel wants.

    Attributes:
        name: Name of the session; the same for every start of one kernel.
        image: Full reference or alias.
        resources: Words such as ``gpu=0.5``.
        mounts: Virtual folder → path in the session, ``""`` for the server's own.
        environ: Environment variables for the session, which may be secrets.
        project, scaling_group: ``""`` for what the settings or the server say.
    """

    name: str
    image: str
    resources: tuple[str, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    project: str = ""
    scaling_group: str = ""


class Lane(Protocol):
    """What the kernel needs of the way to a session."""

    @property
    def is_open(self) -> bool:
        """There is a session to run code in."""

    @property
    def is_plain(self) -> bool:
        """The session sends no envelopes."""

    async def open(self, on_progress: Callable[[Progress], None]) -> None:
        """Have a session; cancelling ends one that is being started."""

    @property
    def is_busy(self) -> bool:
        """Code runs in the session."""

    async def execute(self, code: str, head: Mapping[str, Any], publish: Publish, ask: Ask) -> None:
        """Run code to its end; cancelling interrupts it and leaves it to be drained."""

    async def call(
        self, name: str, publish: Publish, *, origin: str | None = None, **arguments: Any
    ) -> Any:
        """Have the session's interpreter do something that is no code of the user."""

    async def interrupt(self) -> bool:
        """Interrupt the code that runs; false: none does yet, the cell still waits for its turn."""

    async def close(self, *, restart: bool) -> None:
        """Give the session a fresh interpreter, or end it."""
