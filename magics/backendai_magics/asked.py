"""What a verb is handed: its words, taken apart, and the means to do something."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .connection import Connection

if TYPE_CHECKING:
    from backendai_kernel.client import Client

    from .stage import Stage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """One ``%bai`` line.

    Attributes:
        options: What the verb's parser read.
        cell: The body of a ``%%bai`` cell, ``None`` for a line.
        shell: The IPython shell.
    """

    options: argparse.Namespace
    cell: str | None
    shell: Any
    connection: Connection

    def use(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do something with the client and wait for it; an interrupt calls it off."""
        return self.connection.call(work)

    def stage(self) -> Stage:
        """Return where work that takes time shows what it does."""
        from .stage import Stage

        return Stage(self.shell, self.connection.portal)

    @property
    def kernel(self) -> Any:
        """Our kernel, or ``None`` in any other IPython."""
        kernel = getattr(self.shell, "kernel", None)
        return kernel if hasattr(kernel, "attach_session") else None
