"""The magics ``%bai`` and ``%%bai``: from a line to a value."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    magics_class,
    no_var_expand,
    output_can_be_silenced,
)

from backendai_kernel.errors import BackendError, ConfigError

from .notation import Notation
from .tree import ALIASES, GROUPS, VERBS, Verb, overview

if TYPE_CHECKING:
    from .connection import Connection


@magics_class
class BaiMagics(Magics):
    """``%bai``: Backend.AI from any notebook."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.notation = Notation(shell, lambda: self.connection)
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The way to the server; made when it is first needed."""
        if self._connection is None:
            from .connection import Connection

            self._connection = Connection(self.shell)
        return self._connection

    def close(self) -> None:
        """Leave nothing behind in the shell or in the process."""
        self.notation.remove()
        if self._connection is not None:
            self._connection.close()

    @output_can_be_silenced
    @no_var_expand
    @line_cell_magic
    def bai(self, line: str, cell: str | None = None) -> Any:
        from .words import HelpWanted, split

        if line.endswith(";"):
            line = line[:-1]  # IPython drops the value for it
        words = split(line)
        if not words and cell is None:
            from backendai_kernel.tables import Facts

            return Facts("Backend.AI", (*_server(), *_session(self.shell)))
        if words[:1] in (["-h"], ["--help"]):
            words[:1] = ["help"]
        if not words:
            raise ConfigError(
                "%%bai needs a verb, and a cell to run has one: run.",
                hint="Write %%bai run IMAGE, or %%bai run --session NAME.",
            )
        verb, words = find_verb(words)
        if cell is not None and not verb.has_cell:
            raise ConfigError(
                f"%bai {verb.name} has no cell form.", hint=f"Write %bai {verb.name} in a line."
            )
        from .asked import Asked

        try:
            options = verb.parser().read(words)
        except HelpWanted as wanted:
            from backendai_kernel.tables import Text

            return Text(str(wanted))
        module, _, function = verb.run.partition(":")
        perform = getattr(import_module(f".{module}", __package__), function)
        return perform(Asked(options, cell, self.shell, self.connection))

    bai.__doc__ = f"Backend.AI from any notebook.\n\n{overview()}\n"


def find_verb(words: list[str]) -> tuple[Verb, list[str]]:
    """Return the verb that words begin with, and the words behind it.

    Raises:
        ConfigError: It is none.
    """
    from .words import did_you_mean

    first, *rest = words
    if first in GROUPS:
        second = rest[0] if rest else ""
        if second not in GROUPS[first]:
            raise ConfigError(
                f"%bai {first} has no {second!r}."
                if second
                else f"%bai {first}: a word is missing.",
                hint=did_you_mean(
                    second, GROUPS[first], otherwise=f"There is {', '.join(GROUPS[first])}."
                ),
            )
        everybodys = ["--access-key", "*"] if (first, second) == ("admin", "sessions") else []
        return VERBS[GROUPS[first][second]], [*everybodys, *rest[1:]]
    verb = VERBS.get(ALIASES.get(first, first))
    if verb is None:
        raise ConfigError(
            f"%bai has no verb {first!r}.",
            hint=did_you_mean(
                first, [*VERBS, *ALIASES, *GROUPS], otherwise="`%bai help` lists them."
            ),
        )
    return verb, rest


def _server() -> list[tuple[str, str]]:
    from backendai_kernel.config import Config

    from .connection import here

    try:
        config = Config.from_env(os.environ, cwd=here())
    except BackendError as exc:
        return [("Server", f"{exc.message} {exc.hint}".strip())]
    if config.is_local:
        return [("Server", "the manager on this computer (no endpoint is configured)")]
    facts = [("Server", config.endpoint)]
    if config.access_key:
        facts.append(("Access key", f"{config.access_key[:8]}…"))
    return [*facts, ("Domain", config.domain), ("Project", config.group)]


def _session(shell: Any) -> list[tuple[str, str]]:
    describe = getattr(getattr(shell, "kernel", None), "describe_session", None)
    if describe is None:
        return [("Session", "none: this is not a Backend.AI kernel")]
    return list(describe())
