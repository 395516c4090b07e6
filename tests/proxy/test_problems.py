"""Wrong settings and missing resources: one sentence with the next step, and nothing left behind."""

from __future__ import annotations

import socket
from decimal import Decimal

import pytest

from backendai_kernel.local.auth import KeyPairPolicy
from backendai_kernel.local.manager import LocalManager

from .frontend import Cell, environment_for, open_notebook


def told(cell: Cell) -> tuple[str, str]:
    """Return name and sentence of the only error; it shows no traceback of ours."""
    name, value = cell.error
    assert cell.reply["traceback"] == [f"{name}: {value}"]
    assert "Traceback" not in value
    assert "backendai_kernel/" not in value
    return name, value


@pytest.fixture
async def answer(manager, folder):
    """Return what a kernel with these options and settings says to a cell."""

    async def answer(*options: str, **environ: str) -> Cell:
        settings = environment_for(manager, folder) | environ
        async with open_notebook(folder, settings, *options) as notebook:
            cell = await notebook.run("print('never')")
            again = await notebook.run("%local print('here')")
        assert cell.stdout == ""
        assert again.stdout == "here\n"  # the kernel itself is fine
        assert manager.registry.alive() == []
        return cell

    return answer


@pytest.mark.parametrize("word", ["cpu=two", "cpu", "mem=4x", "=1", "cpu=-1"])
async def test_a_malformed_resource_is_refused_before_anything_is_asked(answer, manager, word):
    name, value = told(await answer("-r", word))

    assert name == "ConfigError"
    assert any(part in value for part in word.split("=") if part) or word in value
    assert not manager.requests


async def test_an_unknown_resource_is_refused_with_those_there_are(answer):
    _, value = told(await answer("-r", "tpu=1"))

    assert "tpu" in value
    assert "cuda.shares" in value


async def test_an_unknown_image_is_refused_with_close_ones(answer):
    name, value = told(await answer("--image", "pyton"))

    assert name == "NotFound"
    assert "There is no image 'pyton'" in value
    assert "Did you mean python" in value


async def test_an_unknown_profile_is_refused_with_close_ones(answer):
    _, value = told(await answer("--profile", "pyhton"))

    assert "There is no profile 'pyhton'" in value
    assert "'python'" in value


async def test_cells_of_a_kernel_that_cannot_work_are_numbered_all_the_same(manager, folder):
    options = ("--profile", "pyhton")
    async with open_notebook(folder, environment_for(manager, folder), *options) as opened:
        counts = [(await opened.run("1")).reply["execution_count"] for _ in range(2)]

    assert counts == [1, 2]


async def test_a_wrong_secret_is_told_with_what_to_check(answer):
    name, value = told(await answer(BACKEND_SECRET_KEY="wrong" * 8))

    assert name == "Unauthorized"
    assert "BACKEND_SECRET_KEY" in value
    assert "doctor" in value
    assert "wrongwrong" not in value


async def test_an_endpoint_where_nothing_listens_is_told(answer):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        name, value = told(await answer(BACKEND_ENDPOINT=url))

    assert name == "ConnectError"
    assert f"Nothing answers at {url}" in value
    assert "doctor" in value


async def test_a_clock_that_is_wrong_is_told(answer, manager):
    manager.faults.skew_clock(3600, is_told=False)
    _, value = told(await answer())

    assert "clock" in value


async def test_a_request_that_can_never_be_had_is_told_and_taken_out_of_the_queue(answer):
    name, value = told(await answer("-r", "cpu=64"))

    assert name == "QuotaExceeded"
    assert "can never start" in value
    assert "cpu=8" in value


@pytest.mark.parametrize(
    "policy",
    [
        KeyPairPolicy(max_concurrent_sessions=0),
        KeyPairPolicy(total_resource_slots={"cpu": Decimal(1), "mem": Decimal(2**20)}),
    ],
    ids=["sessions", "memory"],
)
async def test_a_quota_is_told(tmp_path, folder, policy):
    async with LocalManager(tmp_path, policy=policy) as manager:
        async with open_notebook(folder, environment_for(manager, folder)) as notebook:
            name, value = told(await notebook.run("1"))

        assert name == "QuotaExceeded"
        assert value.count("\n") <= 1
        assert manager.registry.alive() == []


async def test_a_server_that_fails_once_is_asked_again_and_nobody_notices(notebook, manager):
    manager.faults.status(503, method="GET")
    cell = await notebook.run("1")

    assert cell.result == "1"


async def test_a_problem_that_is_over_leaves_no_trace(notebook, manager):
    fault = manager.faults.status(500, method="POST", path="/session", times=None)
    told(await notebook.run("1"))
    assert fault.hits
    manager.faults.clear()

    assert (await notebook.run("1")).result == "1"
