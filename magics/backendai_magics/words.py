"""The words behind ``%bai``: taken apart, checked, explained.

Each verb has one parser, and from it come what is accepted, the help, the page in the
documentation and the completion.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from backendai_kernel.errors import ConfigError


class HelpWanted(Exception):
    """The words ask for help; the text is the help."""


class Parser(argparse.ArgumentParser):
    """A parser that raises errors of ours in one sentence, and never ends the program."""

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            add_help=False,
            exit_on_error=False,
            formatter_class=_Formatter,
        )
        self.add_argument("-h", "--help", action=_Help, help="show this help")
        self.kinds: dict[str, str] = {}

    def add(self, *names: str, completes: str = "", **options: Any) -> None:
        """Add an argument; *completes* names what its values are, such as ``session``."""
        action = self.add_argument(*names, **options)
        if completes:
            self.kinds[action.dest] = completes

    @property
    def actions(self) -> list[argparse.Action]:
        """All arguments, positional and optional, in order."""
        return list(self._actions)

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Return what the words say.

        Raises:
            ConfigError: They make no sense; the hint says how to go on.
            HelpWanted: They ask for help.
        """
        try:
            found, left = self.parse_known_intermixed_args(list(words))
        except argparse.ArgumentError as exc:
            raise self._refusal(str(exc)) from None
        except HelpWanted:
            raise HelpWanted(self.format_help()) from None
        if left:
            raise self._unknown(left[0])
        return found

    def error(self, message: str) -> NoReturn:
        raise self._refusal(message)

    def _refusal(self, message: str) -> ConfigError:
        message = message.removeprefix("argument ").rstrip(".")
        if message.startswith("the following arguments are required: "):
            message = f"{message.partition(': ')[2]} is missing"
        return ConfigError(f"{self.prog}: {message}.", hint=f"`{self.prog} -h` tells its options.")

    def _unknown(self, word: str) -> ConfigError:
        if not word.startswith("-") or word == "-":
            return ConfigError(
                f"{self.prog} has no place for {word!r}.", hint=f"`{self.prog} -h` tells its use."
            )
        name = word.partition("=")[0]
        known = [option for action in self._actions for option in action.option_strings]
        return ConfigError(
            f"{self.prog} has no option {name}.",
            hint=did_you_mean(name, known, otherwise=f"`{self.prog} -h` lists its options."),
        )


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=96)


class _Help(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        raise HelpWanted  # told by `Parser.read`: in the midst of its work a parser cannot format


def split(line: str) -> list[str]:
    """Return the words of a line, quotes taken off as a shell does.

    Raises:
        ConfigError: A quote is not closed.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars="")
    lexer.whitespace_split = True
    lexer.commenters = ""
    if os.name == "nt":
        lexer.escape = ""  # paths have backslashes
    try:
        return list(lexer)
    except ValueError:
        raise ConfigError(
            "A quotation mark is not closed.", hint="Quote with ' what has \" in it, or the other."
        ) from None


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return the question whether a close word was meant; dashes before it are not compared."""
    import difflib

    bare = {name.lstrip("-"): name for name in known}
    close = difflib.get_close_matches(word.lstrip("-"), list(bare), n=1)
    return f"Did you mean {bare[close[0]]}?" if close else otherwise
