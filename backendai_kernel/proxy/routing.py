"""Which part of a cell runs here, and which in the session.

The first line that is neither blank nor a comment decides: ``%bai`` and ``%local`` lines run here,
as does ``%load_ext bai``, a cell under ``%%bai`` or ``%%local`` does so whole, and everything else
goes to the session, other magics included, since what runs there is IPython too. Leading local
lines may be followed by code for the session; a local line further down is a mistake, because its
moment could not be kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ROW = re.compile(
    r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+"
)  # str.splitlines would also cut at \x0c, \u2028, …
_LINE = re.compile(
    r"^(?:[\w., ]+(?:=|<<)\s*)?%(bai|local)(?![\w])"
    r"|^%(?:re|un)?load_ext\s+(?:bai|backendai_magics)\s*$"
)
_CELL = re.compile(r"^%%(bai|local)(?![\w])")
_LOCAL_LINE = re.compile(r"^%local(?![\w]) ?")


@dataclass(frozen=True, slots=True)
class Route:
    """A cell taken apart: what runs here, and then what runs in the session."""

    local: str
    remote: str


class Misplaced(Exception):
    """A local line makes no sense where it stands; ``fixed`` is the cell as it could be."""

    def __init__(self, message: str, fixed: str) -> None:
        super().__init__(f"{message}\nWrite:\n{fixed}")
        self.fixed = fixed


def route(code: str) -> Route:
    """Take a cell apart.

    Raises:
        Misplaced: A ``%bai`` or ``%local`` line stands behind code for the session, or a
            ``%local`` has nothing to run.
    """
    lines = _ROW.findall(code)
    first = next((i for i, line in enumerate(lines) if not _is_idle(line)), None)
    if first is None:
        return Route("", code)
    if cell := _CELL.match(lines[first]):
        body = "".join(lines[first + 1 :]) if cell[1] == "local" else "".join(lines[first:])
        return Route(body, "")
    end = first
    for index in range(first, len(lines)):
        if lines[index].strip() == "%local":
            raise Misplaced(
                "%local runs the rest of its line here; for a whole cell there is %%local.",
                "".join(["%%local\n", *lines[index + 1 :]]),
            )
        if _LINE.match(lines[index]):
            end = index + 1
        elif not _is_idle(lines[index]):
            break
    if end == first:
        _refuse_later(lines, first)
        return Route("", code)
    rest = "".join(lines[end:])
    _refuse_later(lines, end)
    local = "".join(_LOCAL_LINE.sub("", line) for line in lines[first:end])
    return Route(local, rest if rest.strip() else "")


def _is_idle(line: str) -> bool:
    text = line.strip()
    return not text or text.startswith("#")


def _refuse_later(lines: list[str], start: int) -> None:
    # Only where IPython itself would see a magic: not in a string, not under another cell magic.
    later = [line for line in lines[start:] if _LINE.match(line)]
    if not later or any(line.startswith("%%") for line in lines[start : start + 1]):
        return
    from IPython.core.inputtransformer2 import TransformerManager

    seen = TransformerManager().transform_cell("".join(lines))
    if not re.search(r"run_line_magic\('(bai|local)'", seen):
        return
    others = [line for line in lines if line not in later]
    tidy = [line if line.endswith("\n") else line + "\n" for line in later]
    word = _LINE.match(later[0])
    assert word is not None
    raise Misplaced(
        f"%{word[1]} must stand before the code that runs in the session.",
        "".join([*tidy, *others]),
    )
