"""Reads the GraphQL that clients send: fields, arguments, variables. No fragments, no types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"""(?P<skip>[\s,\ufeff]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<mark>[{}()\[\]:$=!@|]|\.\.\.)""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}


class GraphQLSyntaxError(ValueError):
    """It is no GraphQL that is understood here."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A field that is asked for, with its arguments and the fields wanted of it."""

    name: str
    alias: str
    position: int  # offset in the text
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fields: tuple[Selection, ...] = ()


def parse(text: str, variables: Mapping[str, Any]) -> tuple[Selection, ...]:
    """Return the root fields of a query, variables filled in.

    Raises:
        GraphQLSyntaxError: It cannot be read.
    """
    return _Reader(text, variables).document()


def locate(text: str, position: int) -> dict[str, int]:
    """Return line and column, both from 1, of an offset."""
    before = text[:position]
    return {"line": before.count("\n") + 1, "column": position - before.rfind("\n")}


class _Reader:
    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._defaults: dict[str, Any] = {}
        self._tokens = list(_tokens(text))
        self._at = 0

    def document(self) -> tuple[Selection, ...]:
        if self._peek() in ("query", "mutation", "subscription"):
            kind = self._next()[0]
            if kind != "query":
                raise GraphQLSyntaxError(f"{kind} is not served")
            if self._peek() not in ("{", "("):
                self._next()
            if self._peek() == "(":
                self._definitions()
        fields = self._fields()
        if self._at != len(self._tokens):
            raise GraphQLSyntaxError("text after the query")
        return fields

    def _definitions(self) -> None:
        self._expect("(")
        while self._peek() != ")":
            self._expect("$")
            name = self._next()[0]
            self._expect(":")
            while self._peek() not in ("$", ")", "="):
                self._next()
            if self._peek() == "=":
                self._next()
                self._defaults[name] = self._value()
        self._expect(")")

    def _fields(self) -> tuple[Selection, ...]:
        self._expect("{")
        fields: list[Selection] = []
        while self._peek() != "}":
            fields.append(self._field())
        self._expect("}")
        if not fields:
            raise GraphQLSyntaxError("no field between braces")
        return tuple(fields)

    def _field(self) -> Selection:
        name, position = self._next()
        if not name.isidentifier():
            raise GraphQLSyntaxError(f"unexpected {name!r}")
        alias = name
        if self._peek() == ":":
            self._next()
            name = self._next()[0]
        arguments: dict[str, Any] = {}
        if self._peek() == "(":
            self._next()
            while self._peek() != ")":
                key = self._next()[0]
                self._expect(":")
                arguments[key] = self._value()
            self._next()
        fields = self._fields() if self._peek() == "{" else ()
        return Selection(name, alias, position, arguments, fields)

    def _value(self) -> Any:
        word = self._next()[0]
        if word == "$":
            name = self._next()[0]
            return self._variables.get(name, self._defaults.get(name))
        if word == "[":
            items = []
            while self._peek() != "]":
                items.append(self._value())
            self._next()
            return items
        if word.startswith('"'):
            return _unescape(word[1:-1])
        if word[0].isdigit() or word[0] == "-":
            return float(word) if any(c in word for c in ".eE") else int(word)
        if word.isidentifier():
            return _WORDS.get(word, word)
        raise GraphQLSyntaxError(f"unexpected {word!r}")

    def _peek(self) -> str | None:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    def _next(self) -> tuple[str, int]:
        if self._at >= len(self._tokens):
            raise GraphQLSyntaxError("unexpected end")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, mark: str) -> None:
        word = self._next()[0]
        if word != mark:
            raise GraphQLSyntaxError(f"expected {mark!r}, found {word!r}")


def _tokens(text: str) -> list[tuple[str, int]]:
    tokens: list[tuple[str, int]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise GraphQLSyntaxError(f"unexpected {text[position]!r}")
        if match.lastgroup != "skip":
            tokens.append((match[0], position))
        position = match.end()
    return tokens


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code.startswith("u"):
            return chr(int(code[1:], 16))
        return _ESCAPES.get(code, code)

    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", one, text)
