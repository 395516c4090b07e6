"""A part of the fault matrix; `make faults` tries all of it."""

from __future__ import annotations

import pytest

from .matrix import OPERATIONS, run


@pytest.mark.parametrize("kind", ["answer lost after the server acted", "502"])
async def test_trouble_in_any_request_ends_well_or_in_one_sentence(kind):
    found = await run([kind], list(OPERATIONS))

    assert {pair: outcome for pair, outcome in found.items() if outcome not in OK} == {}
    assert found[kind, "execute"] == found[kind, "continue"] == found[kind, "input"] == "whole"


OK = ("whole", "told")
