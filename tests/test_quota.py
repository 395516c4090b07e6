from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import APIError, NotFound
from backendai_kernel.local.auth import KeyPairPolicy
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.protocol.calls.resources import PresetCheck, ScalingGroupUse
from backendai_kernel.quota import why_pending
from backendai_kernel.resources import of_check, read_resources
from backendai_kernel.start import Request, start_session

GIB = 2**30
SLOTS = {"cpu": Decimal(4), "mem": Decimal(8 * GIB), "cuda.shares": Decimal(2)}
POLICY = KeyPairPolicy(total_resource_slots={"cpu": Decimal(3), "mem": Decimal(6 * GIB)})


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with LocalManager(tmp_path / "manager", slots=SLOTS, policy=POLICY) as manager:
        config = Config.from_env(
            {},
            with_profile=False,
            endpoint=manager.url,
            access_key=manager.access_key,
            secret_key=manager.secret_key,
        )
        async with Client(config) as client:
            yield client


async def test_what_the_keypair_may_never_have(client):
    verdict = await why_pending(client, {"cpu": Decimal(4), "mem": Decimal(GIB)})

    assert verdict.error is not None
    assert verdict.error.message == (
        "A session with cpu=4 mem=1g can never start: you may have cpu=3 at the most."
    )


async def test_what_is_free_is_that_of_the_scaling_group_that_is_asked_for():
    rest = {"small": {"cpu": "2", "mem": "1"}, "large": {"cpu": "16", "mem": "0"}}
    groups = {name: ScalingGroupUse(remaining=each) for name, each in rest.items()}
    most = of_check("team", PresetCheck(scaling_groups=groups))
    small = of_check("team", PresetCheck(scaling_groups={"small": groups["small"]}))

    assert [(s.name, s.free, s.where) for s in most.slots] == [
        ("cpu", 16, "large"),
        ("mem", 1, "small"),
    ]
    assert [(s.name, s.free, s.where) for s in small.slots] == [
        ("cpu", 2, "small"),
        ("mem", 1, "small"),
    ]


async def test_a_scaling_group_or_project_that_is_not_there_is_refused(client):
    here = await read_resources(client, scaling_group="default")

    assert {slot.where for slot in here.slots} == {"default"}
    with pytest.raises(NotFound, match=r"not allowed \(name: none\)"):
        await read_resources(client, scaling_group="none")
    with pytest.raises(APIError, match="no-such"):
        await read_resources(client, "no-such")


async def test_what_the_keypair_has_used_up(client):
    await start_session(client, Request("python", {"cpu": Decimal(2)}), "first")
    verdict = await why_pending(client, {"cpu": Decimal(2)})

    assert verdict.error is None
    assert verdict.note == "Of your quota cpu=1 is left: end a session that you no longer need."


async def test_what_only_needs_time(client):
    verdict = await why_pending(client, {"cpu": Decimal(1)})

    assert verdict.error is None
    assert verdict.note == "The cluster is busy: the session starts when resources are free."


async def test_what_the_cluster_does_not_have(tmp_path: Path):
    async with LocalManager(tmp_path / "manager", slots=SLOTS) as manager:
        config = Config.from_env(
            {},
            with_profile=False,
            endpoint=manager.url,
            access_key=manager.access_key,
            secret_key=manager.secret_key,
        )
        async with Client(config) as client:
            verdict = await why_pending(client, {"cpu": Decimal(1), "cuda.shares": Decimal(3)})

    assert verdict.error is not None
    assert verdict.error.message == (
        "A session with cpu=1 cuda.shares=3 can never start: this cluster has cuda.shares=2."
    )
