"""Signatures, clocks, versions and the rate limit, as the manager checks them."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
import yarl

from backendai_kernel.local.auth import MAX_SKEW, KeyPairPolicy
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from tests.signed import Signed, signed


async def test_a_signed_request_is_let_in_and_told_its_budget(api: Signed) -> None:
    reply = await api("GET", "/auth?echo=hi")

    assert reply.status == 200
    assert reply.body == {"authorized": "yes", "echo": "hi"}
    assert int(reply.headers["X-RateLimit-Remaining"]) < int(reply.headers["X-RateLimit-Limit"])
    assert reply.headers["X-RateLimit-Window"] == "900"
    assert reply.headers["Server"] == "BackendAI"


async def test_the_query_is_part_of_what_is_signed(api: Signed) -> None:
    url = yarl.URL(api.manager.url + "/auth?echo=hi")
    headers = api.headers("GET", url, "text/plain")
    async with api.http.get(api.manager.url + "/auth?echo=ho", headers=headers) as response:
        problem = await response.json()

    assert (response.status, problem["msg"]) == (401, "HMAC signature mismatch")


async def test_a_body_signed_as_another_media_type_is_refused(api: Signed) -> None:
    url = yarl.URL(api.manager.url + "/auth")
    headers = api.headers("POST", url, "application/json") | {"Content-Type": "text/plain"}
    async with api.http.post(url, headers=headers, data="{}") as response:
        assert response.status == 401


async def test_the_version_is_told_to_anybody(manager: LocalManager) -> None:
    async with aiohttp.ClientSession() as http, http.get(manager.url + "/") as response:
        assert await response.json() == {"version": "v9.20250722", "manager": "26.4.16"}


async def test_the_old_names_of_the_headers_are_taken(api: Signed) -> None:
    url = yarl.URL(api.manager.url + "/auth")
    headers = api.headers("GET", url, "text/plain")
    headers["X-Sorna-Date"] = headers.pop("Date")
    headers["X-Sorna-Version"] = headers.pop("X-BackendAI-Version")
    headers["Authorization"] = headers["Authorization"].replace("BackendAI", "Sorna", 1)
    async with api.http.get(url, headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize("seconds", [MAX_SKEW + 60, -MAX_SKEW - 60])
async def test_a_clock_that_is_far_off_is_told_so(api: Signed, seconds: float) -> None:
    api.manager.faults.skew_clock(seconds)
    reply = await api("GET", "/auth")

    assert (reply.status, reply.slug) == (400, "invalid-auth-params")
    assert reply.body["msg"] == "Date/time sync error"


async def test_a_clock_that_is_a_little_off_does_not_matter(api: Signed) -> None:
    api.manager.faults.skew_clock(MAX_SKEW - 60)

    assert (await api("GET", "/auth")).status == 200


async def test_a_version_newer_than_the_server_is_refused(tmp_path: Path) -> None:
    old = RELEASES["23.09"]
    async with LocalManager(tmp_path, release=old) as manager, signed(manager) as api:
        url = yarl.URL(manager.url + "/auth")
        headers = api.headers("GET", url, "text/plain")
        headers["X-BackendAI-Version"] = "v9.20250722"
        async with api.http.get(url, headers=headers) as response:
            problem = await response.json()

        assert response.status == 400
        assert "Unsupported API version" in problem["title"]
        assert (await api("GET", "/auth")).status == 200


async def test_a_used_up_budget_is_a_429_without_retry_after(tmp_path: Path) -> None:
    policy = KeyPairPolicy(rate_limit=3)
    async with LocalManager(tmp_path, policy=policy) as manager, signed(manager) as api:
        left = [(await api("GET", "/auth")).headers["X-RateLimit-Remaining"] for _ in range(3)]
        reply = await api("GET", "/auth")

        assert left == ["2", "1", "0"]
        assert (reply.status, reply.slug) == (429, "rate-limit-exceeded")
        assert "Retry-After" not in reply.headers


async def test_an_unknown_path_is_a_problem(api: Signed) -> None:
    reply = await api("GET", "/no/such/path")

    assert (reply.status, reply.slug, reply.body["data"]) == (404, "url-not-found", "/no/such/path")


def test_a_keypair_does_not_show_its_secret(tmp_path: Path) -> None:
    keypair = LocalManager(tmp_path).keypair

    assert keypair.secret_key not in repr(keypair)
    assert keypair.password not in repr(keypair)
