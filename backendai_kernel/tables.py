"""Values that a notebook shows: rows as text, as an HTML table, as a data frame, as plain data.

Nothing here asks a server: a table holds what was read, and what it shows never changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from typing import Any, Generic, TypeVar, overload

from .slots import format_amount, format_size

T = TypeVar("T")


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column: its key in data, its heading, and how a row fills it.

    Attributes:
        key: Name in `Table.to_dict` and `Table.df`.
        label: Heading.
        value: Row → plain Python value.
        text: That value → text; ``None`` is shown as nothing.
        words: Row → text, where the value alone does not say enough.
        tip: Row → what a pointer over the cell shows.
        is_amount: Shown to the right.
        link: Row → where a click on the cell leads, ``""`` for nowhere.
    """

    key: str
    label: str
    value: Callable[[T], Any]
    text: Callable[[Any], str] = str
    words: Callable[[T], str] | None = None
    tip: Callable[[T], str] | None = None
    is_amount: bool = False
    link: Callable[[T], str] | None = None

    def show(self, row: T) -> str:
        if self.words is not None:
            return self.words(row)
        value = self.value(row)
        return "" if value is None else self.text(value)


@dataclass(frozen=True, repr=False)
class Table(Sequence[T], Generic[T]):
    """Rows with columns: a sequence, and in a notebook a table.

    A row is had by number, or by the text in its first column, such as a session's name.

    Attributes:
        note: A sentence below, such as how many more there are.
        empty: The sentence when there are no rows.
        total: How many rows there are where these come from.
    """

    title: str
    rows: tuple[T, ...]
    columns: tuple[Column[T], ...]
    note: str = ""
    empty: str = "Nothing."
    total: int | None = None
    details: tuple[Column[T], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)

    @overload
    def __getitem__(self, key: int | str) -> T: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[T, ...]: ...

    def __getitem__(self, key: int | str | slice) -> T | tuple[T, ...]:
        if not isinstance(key, str):
            return self.rows[key]
        for row in self.rows:
            if self.columns[0].show(row) == key:
                return row
        raise KeyError(key)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: ``items``, a list of dictionaries, and ``total_count``."""
        items = [
            {column.key: column.value(row) for column in self._all_columns} for row in self.rows
        ]
        return {"items": items, "total_count": len(items) if self.total is None else self.total}

    def df(self) -> Any:
        """Return a pandas DataFrame; pandas must be installed."""
        import pandas

        data = {c.key: [c.value(row) for row in self.rows] for c in self._all_columns}
        return pandas.DataFrame(data)

    @property
    def _all_columns(self) -> tuple[Column[T], ...]:
        shown = {column.key for column in self.columns}
        return (*self.columns, *(each for each in self.details if each.key not in shown))

    def __repr__(self) -> str:
        if not self.rows:
            return "\n".join(filter(None, [self.empty, self.note]))
        cells = [[_one_line(c.show(row)) for c in self.columns] for row in self.rows]
        heads = [column.label.upper() for column in self.columns]
        widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
        lines = []
        for row in [heads, *cells]:
            words = (
                cell.rjust(width) if column.is_amount else cell.ljust(width)
                for cell, width, column in zip(row, widths, self.columns, strict=True)
            )
            lines.append("  ".join(words).rstrip())
        return "\n".join([*lines, *filter(None, [self.note])])

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<div>{marked(self.empty)} {marked(self.note)}</div>"
        heads = "".join(
            f'<th scope="col" style="{_side(c.is_amount, "pre")}">{escape(c.label)}</th>'
            for c in self.columns
        )
        body = "".join(
            f"<tr>{''.join(self._cell_html(c, row) for c in self.columns)}</tr>"
            for row in self.rows
        )
        note = f'<div style="{_QUIET}">{marked(self.note)}</div>' if self.note else ""
        caption = f'<caption style="{_CAPTION}">{escape(self.title)}</caption>'
        return (
            f'<div style="overflow-x:auto"><table style="{_TABLE}">{caption}<thead><tr>{heads}'
            f"</tr></thead><tbody>{body}</tbody></table></div>{note}"
        )

    def _cell_html(self, column: Column[T], row: T) -> str:
        tip = column.tip(row) if column.tip is not None else ""
        title = f' title="{escape(tip)}"' if tip else ""
        shown = linked(column.show(row), column.link(row) if column.link is not None else "")
        return f'<td style="{_side(column.is_amount, "pre")}"{title}>{shown}</td>'


_TABLE = "border-collapse:collapse;color:var(--jp-ui-font-color1, inherit)"
_CAPTION = "caption-side:top;text-align:left;font-weight:600;padding:2px 0;color:inherit"
_PRE = (
    "max-height:40em;overflow:auto;margin:0;padding:0;white-space:pre;color:inherit;"
    "font-size:var(--jp-code-font-size, 13px)"
)
_QUIET = "color:var(--jp-ui-font-color2, inherit);margin:4px 0"


def _side(is_amount: bool, space: str = "pre-wrap") -> str:
    return f"text-align:{'right' if is_amount else 'left'};white-space:{space}"


def _one_line(text: str) -> str:
    """Return text in one line, with what a terminal would obey made visible."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@dataclass(frozen=True, slots=True, repr=False)
class Facts:
    """A few facts with a title: text in a terminal, a table in a notebook.

    Attributes:
        rows: Pairs of a label and what there is to say.
        data: The same for programs: key → plain value.
        links: Label → where a click on its value leads.
        sentences: Labels whose values are sentences of ours, where backticks mark what to type.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    data: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    sentences: frozenset[str] = frozenset()

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return dict(self.data or self.rows)

    def df(self) -> Any:
        """Return a pandas DataFrame of one row; pandas must be installed."""
        import pandas

        return pandas.DataFrame([self.to_dict()])

    def __repr__(self) -> str:
        width = max((len(label) for label, _ in self.rows), default=0)
        lines = [f"  {label.ljust(width)}  {_one_line(value)}" for label, value in self.rows]
        return "\n".join([self.title, *lines, *filter(None, [self.note])])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row" style="{_side(False)}">{escape(label)}</th>'
            f'<td style="{_side(False)}">{self._value_html(label, value)}</td></tr>'
            for label, value in self.rows
        )
        note = f'<div style="{_QUIET}">{marked(self.note)}</div>' if self.note else ""
        return (
            f'<table style="{_TABLE}"><caption style="{_CAPTION}">{escape(self.title)}'
            f"</caption><tbody>{rows}</tbody></table>{note}"
        )

    def _value_html(self, label: str, value: str) -> str:
        if label in self.sentences:
            return marked(value)
        return linked(value, self.links.get(label, ""))


def marked(sentence: str) -> str:
    """Return a sentence of ours as HTML; what stands in backticks is code."""
    return _TYPED.sub(r"<code>\1</code>", escape(sentence))


def linked(text: str, address: str) -> str:
    """Return text as HTML, as a link that opens a page of its own where there is an address."""
    if not address:
        return escape(text)
    link = f'href="{escape(address)}" target="_blank" rel="noopener"'
    return f'<a {link} style="text-decoration:underline">{escape(text)}</a>'


_TYPED = re.compile(r"`([^`]+)`")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_CONTROL = re.compile(  # what a terminal obeys, but for new lines, tabs and colours
    r"\x1b\](?:[^\x07\x1b]*)(?:\x07|\x1b\\)|\x1b\[[\d;?]*[A-Za-ln-z]|\x1b(?!\[)|[\x00-\x08\x0b-\x1a\x7f]"
)


@dataclass(frozen=True, slots=True, repr=False)
class Text:
    """A longer text, such as a log or a help page; a program gets it by ``str()``."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return _CONTROL.sub("", self.text)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: ``text``."""
        return {"text": self.text}

    def df(self) -> Any:
        """Return a pandas DataFrame with one row a line; pandas must be installed."""
        import pandas

        return pandas.DataFrame({"line": self.text.splitlines()})

    def _repr_html_(self) -> str:
        text = _COLOUR.sub("", _CONTROL.sub("", self.text))
        return f'<pre style="{_PRE}">{escape(text)}</pre>'


# -- words for values -------------------------------------------------------------------------


def ago(when: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago something was, in one unit: ``5 s ago``, ``3 h ago``."""
    if when is None:
        return ""
    seconds = max(0, int(((now or datetime.now(UTC)) - when).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def amount_of(slot: str, amount: Decimal | None, *, none: str = "no limit") -> str:
    """Return the amount of a slot as people write it; memory in one unit."""
    if amount is None:
        return none
    if slot != "mem":
        return format_amount(amount)
    text = format_size(amount)
    # What is no round number of units is not told to the byte.
    return text if len(text) < 8 else f"{amount / 2**30:.1f}g"
