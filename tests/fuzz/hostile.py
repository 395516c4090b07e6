"""What a server or a session may say, however wrong it is."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "NaN", "sNaN", "Infinity", "-1", "1e999999999", "9" * 5000, "²", "\ud83d", "\0", "{}"]
    ),
    st.sampled_from(["[" * 5000, "{", '{"a":', "null", '["x"]', '{"mem": "1e999999999"}', "<a>"]),
)
NUMBERS = st.one_of(
    st.integers(-2, 3),
    st.sampled_from([2**31, 2**63, -(2**63), 2**64, 10**400, -(10**400)]),
    st.floats(),
)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def objects(*keys: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of the keys that a reader looks for, and whatever under them."""
    return st.dictionaries(st.sampled_from(keys), JSON, max_size=len(keys))


@st.composite
def changed(draw: st.DrawFn, good: Any) -> Any:
    """Something in a good form, of which parts were replaced or left out."""
    if draw(st.integers(0, 7)) == 0:
        return draw(JSON)
    if isinstance(good, dict):
        return {k: draw(changed(v)) for k, v in good.items() if draw(st.integers(0, 7))}
    if isinstance(good, list):
        return [draw(changed(each)) for each in good for _ in range(draw(st.integers(0, 2)))]
    return good


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Bytes of which some were replaced, put in, or left out."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                data[at:at] = draw(st.binary(max_size=8))
            case 2:
                del data[at : at + draw(st.integers(1, 40))]
            case _:
                del data[at:]
    return bytes(data)


def body(value: Any) -> bytes:
    """Return JSON as a careless server writes it: with NaN, and half letters as they are."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
