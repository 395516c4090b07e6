"""Large messages as JSON, which the wire's own way takes several times as long for."""

from __future__ import annotations

import json
from typing import Any

_LARGE = 100_000  # characters from which on it is worth it


def packed(content: dict[str, Any]) -> dict[str, Any] | bytes:
    """Return a message's content with a large picture or text in it as JSON, any other as it is.

    A picture of 5 MB is seven million letters, and a flood is nothing but text. Only where all that
    is large is text are the two ways sure to say the same: for numbers that are none the wire has
    words of its own.
    """
    where = "data" if isinstance(content.get("data"), dict) else "text"
    texts = content["data"] if where == "data" else {where: content.get(where)}
    if not all(isinstance(value, str) for value in texts.values()):
        return content
    if max(map(len, texts.values()), default=0) < _LARGE:
        return content
    import msgspec

    try:
        json.dumps([content[key] for key in content if key != where], allow_nan=False)
        return msgspec.json.encode(content)
    except (TypeError, ValueError):  # such as half a letter, which is no UTF-8
        return content
