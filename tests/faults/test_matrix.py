"""A part of the fault matrix; `make faults` tries all of it."""

from __future__ import annotations

import shutil

import pytest

from . import killed
from .matrix import run
from .operations import OPERATIONS
from .places import Distrusted, Refused, RunnerKilled, scripted

OK = ("whole", "told")
LOST = scripted("answer lost after the server acted", "drop_after")
BAD_GATEWAY = scripted("502", "status", code=502)


@pytest.mark.parametrize(
    ("row", "names", "whole"),
    [
        (LOST, list(OPERATIONS), ["execute", "continue", "input", "upload", "download", "rm"]),
        (BAD_GATEWAY, list(OPERATIONS), ["execute", "continue", "input", "ps", "rm"]),
        (Refused, ["execute", "continue", "tunnel"], ["execute", "continue"]),
        pytest.param(
            Distrusted,
            ["continue", "tunnel"],
            ["continue"],
            marks=pytest.mark.skipif(
                shutil.which("openssl") is None, reason="certificates are made with openssl"
            ),
        ),
        (RunnerKilled, ["create", "continue", "upload"], []),
    ],
    ids=["lost", "502", "refused", "distrusted", "runner killed"],
)
async def test_trouble_in_any_request_ends_well_or_in_one_sentence(row, names, whole):
    found = {name: outcome for (_, name), outcome in (await run(row, names)).items()}
    short = {name: outcome.partition(":")[0] for name, outcome in found.items()}

    assert {name: found[name] for name in names if short[name] not in OK} == {}
    assert [name for name in whole if short[name] != "whole"] == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (killed.KERNEL, "interrupt"),
        *((killed.SERVER, name) for name in ("create", "continue", "interrupt", "tunnel")),
    ],
)
async def test_a_process_that_is_killed_takes_nothing_along(kind, name):
    found = await killed.run(kind, {name: killed.OPERATIONS[name]})

    assert list(found.values()) == ["whole"]
