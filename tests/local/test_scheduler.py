"""Slots, simulated devices and policies, without a server."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from backendai_kernel.local.auth import KeyPairPolicy, new_keypair
from backendai_kernel.local.images import default_images
from backendai_kernel.local.scheduler import Capacity, machine_slots, within_policy
from backendai_kernel.local.sessions import SessionRecord, Wanted

GIB = Decimal(2**30)


def record(**slots: str) -> SessionRecord:
    wanted = Wanted(
        name="s",
        image=next(iter(default_images(sys.executable))),
        owner=new_keypair(),
        slots={name.replace("_", "."): Decimal(amount) for name, amount in slots.items()},
        shmem=Decimal(0),
    )
    return SessionRecord(wanted=wanted, created_at=datetime.now(UTC))


@pytest.mark.parametrize(
    ("asked", "given", "devices"),
    [
        ("0.5", "0.5", [Decimal("0.5")]),
        ("0.25", "0.2", [Decimal("0.2")]),
        ("1.5", "1.4", [Decimal("0.7"), Decimal("0.7")]),
        ("2", "2", [Decimal(1), Decimal(1)]),
        ("0.05", "0", [Decimal(0)]),
    ],
)
def test_shares_are_rounded_down_on_each_device(
    asked: str, given: str, devices: list[Decimal]
) -> None:
    capacity = Capacity({"cpu": Decimal(2), "cuda.shares": Decimal(2)})
    session = record(cpu="1", cuda_shares=asked)
    capacity.take(session)

    assert session.allocated["cuda.shares"] == Decimal(given)
    assert list(session.devices.values()) == devices


def test_what_is_given_back_can_be_taken_again() -> None:
    capacity = Capacity({"cpu": Decimal(2), "mem": GIB})
    first, second = record(cpu="2", mem="1024"), record(cpu="1")
    capacity.take(first)
    before = capacity.fits(second.wanted.slots)
    capacity.give_back(first)

    assert (before, capacity.fits(second.wanted.slots)) == (False, True)
    assert capacity.free() == {"cpu": Decimal(2), "mem": GIB}


def test_a_whole_device_does_not_fit_into_two_halves() -> None:
    capacity = Capacity({"cuda.shares": Decimal(2)})
    for _ in range(2):
        capacity.take(record(cuda_shares="0.6"))

    assert capacity.free()["cuda.shares"] == Decimal("0.8")
    assert not capacity.fits({"cuda.shares": Decimal("0.9")})
    assert capacity.fits({"cuda.shares": Decimal("0.8")})


def test_a_slot_that_a_policy_does_not_name_is_not_allowed() -> None:
    policy = KeyPairPolicy(total_resource_slots={"cpu": Decimal(1)})

    assert within_policy(policy, {"cpu": Decimal(1)}, {})
    assert not within_policy(policy, {"cpu": Decimal(1)}, {"cpu": Decimal(1)})
    assert not within_policy(policy, {"cpu": Decimal(1), "cuda.shares": Decimal("0.1")}, {})


def test_the_machine_offers_its_cores_its_memory_and_the_gpus_it_pretends() -> None:
    slots = machine_slots(3)

    assert slots["cpu"] >= 1
    assert slots["mem"] > GIB / 4
    assert slots["cuda.shares"] == 3
    assert "cuda.shares" not in machine_slots(0)
