"""Completion from the names that the session last told of, for as long as it is busy."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Mapping
from typing import Any

_WORD = re.compile(r"[^\W\d]\w*$")
_TYPES_KEY = "_jupyter_types_experimental"


def from_names(code: str, cursor_pos: int, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer to a completion: names that begin as the word at the cursor does.

    Args:
        names: Name → its type's name, as of the end of the last cell.
    """
    before = code[:cursor_pos]
    match = _WORD.search(before)
    word = match[0] if match else ""
    start = cursor_pos - len(word)
    is_attribute = before[:start].rstrip().endswith(".")
    kinds = {} if is_attribute or not word else _kinds(names)
    found = sorted(name for name in kinds if name.startswith(word))
    return {
        "status": "ok",
        "matches": found,
        "cursor_start": start,
        "cursor_end": cursor_pos,
        "metadata": {
            _TYPES_KEY: [
                {
                    "start": start,
                    "end": cursor_pos,
                    "text": name,
                    "type": kinds[name],
                    "signature": "",
                }
                for name in found
            ]
        },
    }


def _kinds(names: Mapping[str, str]) -> dict[str, str]:
    known = dict.fromkeys(keyword.kwlist, "keyword")
    known |= {name: "function" for name in dir(builtins) if not name.startswith("_")}
    return known | dict(names)
