"""The little languages of list queries: ``filter`` and ``order`` (API reference 8.6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

Row = Mapping[str, Any]
Test = Callable[[Row], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")
      | (?P<number>-?\d+(?:\.\d+)?)
      | (?P<op>==|!=|>=|<=|>|<)
      | (?P<mark>[()\[\],&|!])
      | (?P<word>[A-Za-z_][\w.]*))""",
    re.VERBOSE,
)
_WORD_OPS = ("contains", "in", "isnot", "is", "like", "ilike")
_CONSTANTS: dict[str, Any] = {"null": None, "true": True, "false": False}


class BadFilter(ValueError):
    """A filter or an order cannot be read; the text says why."""


def parse_filter(text: str, fields: Iterable[str]) -> Test:
    """Return a test of one row.

    Args:
        text: ``(status == "RUNNING") & (name ilike "nb-%")``; strings in double quotes.
        fields: What may be filtered by.

    Raises:
        BadFilter: It cannot be read, or names another field.
    """
    reader = _Filter(text, frozenset(fields))
    test = reader.either()
    reader.end()
    return test


AnyRow = TypeVar("AnyRow", bound=Row)


def sort_rows(rows: list[AnyRow], order: str, fields: Iterable[str]) -> list[AnyRow]:
    """Return rows in the order of ``-created_at,name``.

    Raises:
        BadFilter: It names another field.
    """
    known = frozenset(fields)
    for word in reversed([word.strip() for word in order.split(",") if word.strip()]):
        name = word.lstrip("+-")
        if name not in known:
            raise BadFilter(f"Unknown field {name!r} in the order expression")
        rows = sorted(rows, key=lambda row: _sortable(row[name]), reverse=word.startswith("-"))
    return rows


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else "")


class _Filter:
    def __init__(self, text: str, fields: frozenset[str]) -> None:
        self._fields = fields
        self._tokens: list[str] = []
        self._at = 0
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise BadFilter(f"Query filter parsing error: {text!r}")
            self._tokens.append(match[0].strip())
            position = match.end()

    def either(self) -> Test:
        tests = [self._both()]
        while self._peek() == "|":
            self._next()
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def end(self) -> None:
        if self._peek() is not None:
            raise BadFilter(f"Query filter parsing error near {self._peek()!r}")

    def _both(self) -> Test:
        tests = [self._one()]
        while self._peek() == "&":
            self._next()
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        word = self._next()
        if word == "!":
            inner = self._one()
            return lambda row: not inner(row)
        if word == "(":
            inner = self.either()
            if self._next() != ")":
                raise BadFilter("Query filter parsing error: a parenthesis is missing")
            return inner
        if word not in self._fields:
            raise BadFilter(
                'Query filter parsing error: Error trying to process rule "binary_expr":\n\n'
                f"('Unknown/unsupported field name', {word!r})"
            )
        op = self._next()
        if op not in ("==", "!=", ">", ">=", "<", "<=", *_WORD_OPS):
            raise BadFilter(f"Query filter parsing error near {op!r}")
        value = self._value()
        return lambda row: _holds(row[word], op, value)

    def _value(self) -> Any:
        word = self._next()
        if word == "[":
            values = []
            while self._peek() != "]":
                values.append(self._value())
                if self._peek() == ",":
                    self._next()
            self._next()
            return values
        if word.startswith('"'):
            return re.sub(r"\\(.)", r"\1", word[1:-1])
        if word in _CONSTANTS:
            return _CONSTANTS[word]
        try:
            return float(word) if "." in word else int(word)
        except ValueError:
            raise BadFilter(f"Query filter parsing error near {word!r}") from None

    def _peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> str:
        word = self._peek()
        if word is None:
            raise BadFilter("Query filter parsing error: unexpected end")
        self._at += 1
        return word


def _holds(found: Any, op: str, value: Any) -> bool:
    match op:
        case "==" | "is":
            return bool(found == value)
        case "!=" | "isnot":
            return bool(found != value)
        case "in":
            return found in value
        case "contains":
            return value in (found or "")
        case "like" | "ilike":
            pattern = ".*".join(map(re.escape, str(value).split("%")))
            flags = re.DOTALL | (re.IGNORECASE if op == "ilike" else 0)
            return found is not None and re.fullmatch(pattern, str(found), flags) is not None
    if found is None or value is None:
        return False
    if op == ">":
        return bool(found > value)
    if op == ">=":
        return bool(found >= value)
    return bool(found < value) if op == "<" else bool(found <= value)
