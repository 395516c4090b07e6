"""What a kernel wants of a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from ..protocol.envelope import Message
from ..protocol.run import Event, InputRequest

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
