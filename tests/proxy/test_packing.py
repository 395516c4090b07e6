"""A large content as JSON says the same as the wire's own way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jupyter_client.session import Session

from backendai_kernel.proxy.packing import packed

LARGE = 'ä☃\x00\x1f"\\/\u2028' * 20_000


def bundle(**data: Any) -> dict[str, Any]:
    return {"data": data, "metadata": {}, "transient": {"display_id": "d"}}


@pytest.mark.parametrize(
    "content", [bundle(image=LARGE, text="small"), {"name": "stdout", "text": LARGE}]
)
def test_what_is_large_arrives_as_it_was(content):
    sent = packed(content)
    session = Session(key=b"k")
    frames = session.serialize(session.msg("any", content=sent))

    assert isinstance(sent, bytes)
    assert session.unpack(frames[-1]) == json.loads(sent) == content


@pytest.mark.parametrize(
    "content",
    [
        {"name": "stdout", "text": "small"},
        {"name": "stdout", "text": LARGE + "\ud800"},
        {"name": "stdout", "text": LARGE, "value": float("nan")},
        bundle(text="small"),
        bundle(picture=LARGE, table={"value": float("nan")}),
        bundle(picture=LARGE + "\ud800"),
        bundle(picture=LARGE) | {"metadata": {"value": float("nan")}},
        bundle() | {"data": None},
    ],
)
def test_what_may_come_out_differently_is_left_to_the_wire(content):
    assert packed(content) is content
