"""Batch mode: clean, build and execute what was uploaded, with an exit code for each step.

A real server drops what a step says between the answer that told of the end of the step before and
our next request; a command that is over by then never seems to end (surprise 10; recording 32). So
each command of ours waits a moment first: longer than a request takes to get there.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from .client import Client
from .errors import ConfigError
from .protocol import calls

_SHORTEST = 0.4  # seconds that a command waits
_LONGEST = 5.0
_TRIPS = 6  # round trips that must fit in

_PYTHON = '"$(command -v python || command -v python3)"'
_BUILD = (
    "if [ -f Makefile ]; then make; "
    f"elif [ -f setup.py ]; then {_PYTHON} -m pip install --user -e .; fi"
)
_EXECUTE = f"if [ -f main.py ]; then {_PYTHON} main.py; else exit 127; fi"


@dataclass(frozen=True, slots=True)
class Steps:
    """The commands of a batch run; ``"*"`` is the default for Python, ``""`` leaves a step out.

    The defaults: nothing to clean; ``make`` where there is a Makefile, or an installation where
    there is a ``setup.py``; then ``python main.py`` (API reference 4.8.4).
    """

    clean: str = "*"
    build: str = "*"
    execute: str = "*"

    @property
    def named(self) -> tuple[str, ...]:
        """The steps with a command of their own, before the last."""
        steps = (("clean", self.clean), ("build", self.build))
        return tuple(name for name, command in steps if command not in ("*", ""))

    def options(self, delay: float) -> dict[str, str]:
        """Return the options of a run in batch mode whose commands wait *delay* seconds first.

        The defaults are spelt out: as ``"*"`` they could not be told to wait.
        """
        return {
            "clean": "" if self.clean == "*" else self.clean,
            "build": _after(delay, _BUILD if self.build == "*" else self.build),
            "exec": _after(delay, _EXECUTE if self.execute == "*" else self.execute),
        }


def _after(delay: float, command: str) -> str:
    if not command.strip():
        return ""
    # In a shell of its own: whatever the command is, its exit code is the step's.
    return f"sleep {delay:.2f}; exec sh -c {shlex.quote(command)}"


async def delay_for(client: Client) -> float:
    """Return for how many seconds commands should wait: several round trips to the server.

    Raises:
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    await client.send(calls.get_version())
    return min(_LONGEST, max(_SHORTEST, _TRIPS * (loop.time() - began)))


def check_program(names: Sequence[str], execute: str, *, may_be_there: bool) -> None:
    """See to it that there is something to execute, before anything is started.

    Args:
        names: Files that go up, by their names in the session.
        execute: The command; ``"*"`` for the default.
        may_be_there: Other files may be in the session already.

    Raises:
        ConfigError: Nothing says which of the files is to be executed.
    """
    if execute != "*" or may_be_there or "main.py" in names:
        return
    programs = [name for name in names if name.endswith(".py")]
    example = programs[0] if programs else "program.py"
    raise ConfigError(
        "Nothing says what to execute: there is no main.py among the files.",
        hint=f"Add --exec {shlex.quote(f'python {example}')}, or name the program main.py.",
    )
