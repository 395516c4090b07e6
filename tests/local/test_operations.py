"""What is done with a running session, in the shapes of the different releases."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from tests.signed import Signed, signed


async def test_each_release_reads_its_own_spelling_of_a_run_id(tmp_path: Path) -> None:
    for name, key in (("23.09", "runId"), ("26.4", "run_id")):
        release = RELEASES[name]
        async with (
            LocalManager(tmp_path / name, release=release) as manager,
            signed(manager) as api,
        ):
            session = await api.start("spelling")
            ids = {"run_id": "under-score", "runId": "camel"}
            body = {"mode": "query", "code": "1"} | ids
            result = (await api("POST", f"/session/{session}", body)).body["result"]

            assert release.run_id_key == key
            assert result["runId"] == ids[key]


async def test_an_old_release_never_tells_an_exit_code(tmp_path: Path) -> None:
    release = RELEASES["23.09"]
    async with LocalManager(tmp_path, release=release) as manager, signed(manager) as api:
        session = await api.start("codes")

        assert (await api.run(session, "1/0", "r1"))["exitCode"] == 0
        missing = await api("POST", f"/session/{session}", {"mode": "query", "code": "1"})
        assert (missing.status, missing.slug) == (400, "invalid-api-params")
        assert "error_code" not in missing.body


async def test_an_interrupt_ends_what_runs(api: Signed) -> None:
    session = await api.start("stops")
    run = asyncio.create_task(api.run(session, "import time; time.sleep(600)", "r1"))
    await api.manager.running("stops")
    reply = await api("POST", f"/session/{session}/interrupt")
    result = await run

    assert (reply.status, reply.body) == (204, b"")
    assert (result["status"], result["exitCode"]) == ("finished", 1)
    assert "KeyboardInterrupt" in result["console"][0][1]


async def test_a_waiting_session_can_do_nothing(api: Signed) -> None:
    body = {"name": "waits", "image": "python", "enqueueOnly": True}
    await api("POST", "/session", body | {"config": {"resources": {"cpu": 64}}})
    executed = await api("POST", "/session/waits", {"mode": "query", "run_id": "r"})
    logs = await api("GET", "/session/waits/logs")
    apps = await api("GET", "/stream/session/waits/apps")

    assert (executed.status, executed.slug) == (500, "agent-not-allocated")
    assert (logs.status, logs.body["title"]) == (404, "No such agent instance.")
    assert (apps.status, apps.body["title"]) == (404, "No such session.")


async def test_a_rename_wants_a_body_and_a_free_name(api: Signed) -> None:
    session = await api.start("first")
    await api.start("taken")
    by_query = await api("POST", f"/session/{session}/rename?name=second")
    to_taken = await api("POST", f"/session/{session}/rename", {"session_name": "taken"})
    by_body = await api("POST", f"/session/{session}/rename", {"session_name": "second"})

    assert (by_query.status, to_taken.status, by_body.status) == (400, 400, 204)
    assert to_taken.slug == "session-already-exists"
    assert (await api("GET", "/session/second")).status == 200


async def test_an_old_release_renames_by_query(tmp_path: Path) -> None:
    release = RELEASES["25.5"]
    async with LocalManager(tmp_path, release=release) as manager, signed(manager) as api:
        session = await api.start("first")

        assert (await api("POST", f"/session/{session}/rename?name=second")).status == 204
        assert (await api("GET", "/session/second")).status == 200
        assert (await api("GET", f"/session/{session}/status-history")).status == 404


async def test_a_body_of_more_than_a_mebibyte_is_refused(api: Signed) -> None:
    session = await api.start("large")
    body = {"mode": "query", "code": "x = '" + "y" * 2**20 + "'", "run_id": "r"}
    reply = await api("POST", f"/session/{session}", body)

    assert (reply.status, reply.body["title"]) == (400, "Bad request.")


@pytest.mark.parametrize(
    ("resources", "slug"),
    [
        ({"gpu": 1}, "unknown-resource-slot-type"),
        ({"cpu": -1}, "invalid-resource-slot-quantity"),
        ({"mem": "much"}, "invalid-api-params"),
        ({"mem": "16m"}, "invalid-api-params"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(
    api: Signed, resources: dict[str, object], slug: str
) -> None:
    body = {"name": "wrong", "image": "python", "config": {"resources": resources}}
    reply = await api("POST", "/session", body)

    assert (reply.status, reply.slug) == (400, slug)
    assert api.manager.registry.alive() == []


async def test_a_session_has_the_variables_that_it_was_given(api: Signed) -> None:
    session = await api.start("given", config={"environ": {"GREETING": "hello"}})
    result = await api.run(session, "import os; print(os.environ['GREETING'])")

    assert result["console"] == [["stdout", "hello\n"]]


async def test_graphql_answers_in_the_order_of_the_query(api: Signed) -> None:
    session = await api.start("ordered")
    await api.start("later")
    data = await api.query(
        "query($limit: Int!, $f: String) { compute_session_list(limit: $limit, offset: 1, "
        'filter: $f, order: "-created_at") { total_count items { status name id } } }',
        limit=1,
        f='status == "RUNNING"',
    )

    page = data["compute_session_list"]
    assert list(page) == ["total_count", "items"]
    assert page["total_count"] == 2
    assert list(page["items"][0].items()) == [
        ("status", "RUNNING"),
        ("name", "ordered"),
        ("id", session),
    ]


async def test_an_unknown_status_or_filter_is_an_error_of_its_field(api: Signed) -> None:
    text = "{{ compute_session_list(limit: 1, offset: 0, {}) {{ items {{ id }} total_count }} }}"
    for argument in ('status: "NOPE"', 'filter: "nope == 1"', "filter: \"name = 'x'\""):
        reply = await api("POST", "/admin/gql", {"query": text.format(argument)})

        assert reply.status == 200
        assert reply.body["data"] == {"compute_session_list": None}
        assert reply.body["errors"][0]["path"] == ["compute_session_list"]


async def test_an_old_release_has_no_errors_key_and_fewer_statuses(tmp_path: Path) -> None:
    release = RELEASES["23.09"]
    async with LocalManager(tmp_path, release=release) as manager, signed(manager) as api:
        good = await api("POST", "/admin/gql", {"query": "{ keypair { access_key } }"})
        bare = await api("POST", "/admin/graphql", {"query": "{ keypair { access_key } }"})
        newer = await api(
            "POST",
            "/admin/gql",
            {
                "query": '{ compute_session_list(limit: 1, offset: 0, status: "PREPARED") { items { id } total_count } }'
            },
        )

    keypair = {"keypair": {"access_key": manager.access_key}}
    assert (good.body, bare.body) == ({"data": keypair}, keypair)
    assert newer.body["errors"][0]["message"] == "'PREPARED'"


async def test_what_is_simulated_is_called_so(api: Signed) -> None:
    details = (await api("GET", "/config/resource-slots/details")).body
    data = await api.query("{ images { name humanized_name labels { key value } } }")

    assert "simulated" in details["cuda.shares"]["human_readable_name"]
    assert "simulated" in data["images"][0]["humanized_name"]
