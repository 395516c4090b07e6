"""The client against an embedded manager that makes trouble, and against what is no manager."""

from __future__ import annotations

import asyncio
import email.utils
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web

from backendai_kernel import client as client_module
from backendai_kernel import ratelimit
from backendai_kernel.answers import wants_otp
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import (
    APIError,
    ConfigError,
    ConnectError,
    NotFound,
    ProtocolError,
    RateLimited,
    ServerError,
    Unauthorized,
)
from backendai_kernel.local.auth import KeyPairPolicy
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from backendai_kernel.outgoing import read_cookie
from backendai_kernel.protocol import calls


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(ratelimit, "_FIRST_REFUSAL", 0.1)


def config_for(manager: LocalManager, **more: object) -> Config:
    return Config.from_env(
        {},
        with_profile=False,
        endpoint=manager.url,
        endpoint_type="api",
        access_key=manager.access_key,
        secret_key=manager.secret_key,
        **more,
    )


@pytest.fixture
async def client(manager: LocalManager) -> AsyncIterator[Client]:
    async with Client(config_for(manager)) as client:
        yield client


def creation(name: str = "s1") -> calls.Call[calls.model.Created]:
    return calls.create_session(
        image="python",
        name=name,
        slots={"cpu": Decimal(1)},
        domain="default",
        group="default",
    )


def count(manager: LocalManager, method: str, path: str) -> int:
    return sum((r.method, r.path) == (method, path) for r in manager.requests)


# -- an ordinary day --------------------------------------------------------------------------


async def test_a_signed_call_is_answered(client, manager):
    keypair = await client.send(calls.get_keypair())

    assert keypair.access_key == manager.access_key
    assert client.server.manager == manager.release.manager


async def test_the_version_is_asked_for_once(client, manager):
    await asyncio.gather(*(client.send(calls.get_keypair()) for _ in range(5)))
    await client.version()

    assert count(manager, "GET", "/") == 1


@pytest.mark.parametrize("release", RELEASES)
async def test_every_generation_of_servers_is_spoken_to_in_its_own_version(release, tmp_path):
    async with LocalManager(tmp_path / "manager", release=RELEASES[release]) as manager:
        async with Client(config_for(manager)) as client:
            await client.send(calls.get_keypair())

    assert client._version == RELEASES[release].api_version


async def test_a_newer_server_is_spoken_to_in_our_version(tmp_path):
    newer = replace(RELEASES["26.4"], api_version="v10.20280101")
    async with LocalManager(tmp_path / "manager", release=newer) as manager:
        async with Client(config_for(manager)) as client:
            await client.send(calls.get_keypair())

    assert client._version == "v9.20250722"


@pytest.mark.parametrize("name", ["plain", "bad name!", "a+b", "ü", "a%2Fb", "a&b=c;d"])
async def test_what_has_to_be_quoted_is_signed_as_it_is_sent(client, name):
    with pytest.raises(NotFound):  # and not Unauthorized
        await client.send(calls.get_logs(name))


async def test_the_rate_limit_is_read_from_every_answer(client, manager):
    await client.send(calls.get_keypair())
    first = client.rate.remaining
    await client.send(calls.get_keypair())

    assert client.rate.limit == manager.keypair.policy.rate_limit
    assert client.rate.remaining == first - 1


async def test_a_refusal_is_an_error_of_ours(client):
    with pytest.raises(NotFound) as caught:
        await client.send(calls.get_logs("no-such-session"))

    assert caught.value.message == (
        "Asking for the session's log was refused: Session (id=no-such-session) does not exist."
    )


async def test_a_query_that_the_server_does_not_know_is_an_error_of_ours(client):
    call = replace(calls.get_keypair(), body={"query": "query { nope }", "variables": {}})
    with pytest.raises(APIError) as caught:
        await client.send(call)

    assert caught.value.slug == "graphql-error"
    assert "nope" in caught.value.message


async def test_a_wrong_secret(manager):
    async with Client(replace(config_for(manager), secret_key="wrong")) as client:
        with pytest.raises(Unauthorized, match="HMAC signature mismatch"):
            await client.send(calls.get_keypair())


@pytest.mark.parametrize("seconds", [16 * 60, -86_400, 400 * 86_400])
async def test_clocks_that_differ_are_corrected_once(client, manager, seconds):
    manager.faults.skew_clock(seconds)
    name = (await client.send(creation())).session_name  # not only what is read
    await asyncio.gather(*(client.send(calls.get_keypair()) for _ in range(3)))
    statuses = [request.status for request in manager.requests if request.path != "/"]

    assert name == "s1"
    assert statuses == [400, 201, 200, 200, 200]
    assert client.clock.correction == pytest.approx(seconds, abs=5)


async def test_requests_that_are_refused_together_for_the_clock_all_succeed(client, manager):
    await client.send(calls.get_keypair())
    manager.faults.skew_clock(3600)
    await asyncio.gather(*(client.send(calls.get_keypair()) for _ in range(5)))

    assert client.clock.correction == pytest.approx(3600, abs=5)


async def test_a_clock_that_is_set_meanwhile_is_followed_back(client, manager):
    manager.faults.skew_clock(3600)
    await client.send(calls.get_keypair())
    manager.faults.skew_clock(0)
    await client.send(calls.get_keypair())

    assert client.clock.correction == pytest.approx(0, abs=5)


async def test_a_server_that_does_not_tell_its_own_time_is_explained(client, manager):
    manager.faults.skew_clock(16 * 60, is_told=False)
    before = len(manager.requests)
    with pytest.raises(APIError, match="differ by more than 15 minutes") as caught:
        await client.send(calls.get_keypair())

    assert "Set this computer's clock" in caught.value.hint
    assert len(manager.requests) - before == 2  # the version, and once what was refused


async def test_a_clock_that_is_refused_also_when_corrected_is_explained(client, manager):
    manager.faults.skew_clock(3600)
    manager.gate.date = lambda: {"Date": email.utils.formatdate(86_400, usegmt=True)}
    before = len(manager.requests)
    with pytest.raises(APIError, match="differ by more than 15 minutes") as caught:
        await client.send(calls.get_keypair())

    assert caught.value.hint.startswith("Signing with the server's own time did not help.")
    assert len(manager.requests) - before == 3


async def test_a_stream_of_events_is_opened_with_the_servers_time(client, manager):
    manager.faults.skew_clock(3600)
    async with client.events("", "*"):
        pass

    assert next(r.status for r in manager.requests if r.path == "/events/session") == 400


async def test_a_client_that_is_not_open_sends_nothing(manager):
    with pytest.raises(RuntimeError, match="context manager"):
        await Client(config_for(manager)).send(calls.get_keypair())


# -- trouble ----------------------------------------------------------------------------------

GQL = "/admin/gql"


async def test_a_read_is_sent_again_when_the_connection_breaks(client, manager):
    fault = manager.faults.drop(times=2, path=GQL)
    keypair = await client.send(calls.get_keypair())

    assert keypair.access_key == manager.access_key
    assert fault.hits == 2


async def test_a_read_is_sent_again_when_its_answer_is_lost(client, manager):
    fault = manager.faults.drop_after(path=GQL)
    await client.send(calls.get_keypair())

    assert fault.hits == 1
    assert count(manager, "POST", GQL) == 2


async def test_a_read_is_sent_again_when_its_answer_is_cut(client, manager):
    fault = manager.faults.cut(path=GQL)
    keypair = await client.send(calls.get_keypair())

    assert keypair.access_key == manager.access_key
    assert fault.hits == 1


@pytest.mark.parametrize("code", [500, 502, 503])
async def test_a_read_is_sent_again_when_the_server_fails(client, manager, code):
    fault = manager.faults.status(code, path=GQL)
    await client.send(calls.get_keypair())

    assert fault.hits == 1


async def test_a_read_is_given_up_in_the_end(client, manager):
    fault = manager.faults.status(503, times=None, path=GQL)
    with pytest.raises(ServerError) as caught:
        await client.send(calls.get_keypair())

    assert fault.hits == 5
    assert caught.value.status == 503


@pytest.mark.parametrize("trouble", ["drop", "drop_after", "cut"])
async def test_a_creation_is_never_sent_twice(client, manager, trouble):
    await client.version()
    fault = getattr(manager.faults, trouble)(times=None, path="/session")
    with pytest.raises(ConnectError) as caught:
        await client.send(creation())

    assert caught.value.sent
    assert fault.hits == 1
    assert count(manager, "POST", "/session") == 1


async def test_a_creation_that_the_server_fails_at_is_not_sent_twice(client, manager):
    fault = manager.faults.status(500, times=None, path="/session")
    with pytest.raises(ServerError):
        await client.send(creation())

    assert fault.hits == 1


async def test_a_refusal_for_the_rate_limit_did_nothing_so_any_call_is_sent_again(manager):
    waits: list[float] = []
    async with Client(config_for(manager), on_wait=waits.append) as client:
        fault = manager.faults.status(429, retry_after=0.2, path="/session")
        began = time.monotonic()
        created = await client.send(creation())
        took = time.monotonic() - began

    assert created.created
    assert fault.hits == 1
    assert len(manager.registry.alive()) == 1
    assert waits == [pytest.approx(0.21, abs=0.02)]
    assert took >= 0.2


async def test_refusals_without_a_word_are_waited_for_longer_each_time(manager):
    waits: list[float] = []
    async with Client(config_for(manager), on_wait=waits.append) as client:
        manager.faults.status(429, times=3, path=GQL)
        await client.send(calls.get_keypair())

    assert len(waits) == 3
    for wait, least in zip(waits, [0.1, 0.2, 0.4], strict=True):
        assert least <= wait <= least * 1.1


async def test_a_refusal_holds_back_the_other_notebooks_of_the_keypair(manager, tmp_path):
    config = config_for(manager)
    async with Client(config, state=tmp_path) as first, Client(config, state=tmp_path) as second:
        await second.version()
        manager.faults.status(429, retry_after=0.5, path=GQL)
        refused = asyncio.create_task(first.send(calls.get_keypair()))
        while not second.rate.blocked_for():  # noqa: ASYNC110  # it is a file that tells
            await asyncio.sleep(0.005)
        began = time.monotonic()
        await second.send(calls.get_keypair())
        waited = time.monotonic() - began
        await refused

    assert waited > 0.3


async def test_a_used_up_budget_is_a_refusal_of_the_server_itself(tmp_path):
    policy = KeyPairPolicy(rate_limit=2)
    async with LocalManager(tmp_path / "manager", policy=policy) as manager:
        async with Client(config_for(manager)) as client:
            await client.send(calls.get_keypair())
            await client.send(calls.get_keypair())
            with pytest.raises(RateLimited) as caught:
                await client._once(calls.get_keypair())

    assert caught.value.retry_after is None


async def test_a_call_that_was_given_up_leaves_the_client_usable(client, manager):
    await client.version()
    manager.faults.delay(0.5, path=GQL)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.send(calls.get_keypair())

    assert (await client.send(calls.get_keypair())).access_key == manager.access_key


async def test_silence_longer_than_the_limit_counts_as_a_lost_answer(manager):
    async with Client(config_for(manager, read_timeout=0.2)) as client:
        await client.version()
        fault = manager.faults.delay(0.5, path="/session")
        with pytest.raises(ConnectError) as caught:
            await client.send(creation())

    assert fault.hits == 1
    assert caught.value.sent


# -- what is no manager -----------------------------------------------------------------------


@asynccontextmanager
async def answering(head: str, body: str, **options: object) -> AsyncIterator[str]:
    """Serve one answer to every request; yield the URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        text = f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        writer.write(text.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, **options)
    scheme = "https" if options else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def config_of(url: str, **more: object) -> Config:
    keypair = {"access_key": "AKIAEXAMPLE", "secret_key": "x"}
    return Config.from_env({}, with_profile=False, endpoint=url, **keypair, **more)


@pytest.mark.parametrize(
    ("head", "body", "sentence"),
    [
        ("200 OK", "<html></html>", "the server's answer is not in the form that we know"),
        ("200 OK", "[]", "the server's answer is not in the form that we know"),
        ("200 OK", '{"hello": 1}', "the server's answer is not in the form that we know"),
        ("200 OK", '{"version": "2.0"}', "gives its API version as '2.0'"),
        ("200 OK", '{"version": "latest"}', "gives its API version as 'latest'"),
        ("302 Found\r\nLocation: /login", "", "is not the API: it sends us to /login"),
    ],
)
async def test_what_is_no_manager_is_noticed(head, body, sentence):
    async with answering(head, body) as url, Client(config_of(url)) as client:
        with pytest.raises(ProtocolError, match=sentence):
            await client.version()


async def test_an_error_page_is_told_by_its_status():
    async with answering("410 Gone", "<html></html>") as url:
        async with Client(config_of(url)) as client:
            with pytest.raises(APIError, match="HTTP 410 Gone"):
                await client.version()


@pytest.mark.parametrize(
    ("kind", "is_no", "other"),
    [("api", "no manager", "session"), ("session", "no web server", "api")],
)
async def test_a_page_that_is_not_there_is_the_wrong_address(kind, is_no, other):
    async with answering("404 Not Found", "<html></html>") as url:
        async with Client(config_of(url, endpoint_type=kind)) as client:
            with pytest.raises(ProtocolError) as caught:
                await client.version()

    assert caught.value.message == f"What answers at {url} is {is_no} of Backend.AI."
    assert caught.value.hint == (
        f"Check BACKEND_ENDPOINT; or is it one for BACKEND_ENDPOINT_TYPE={other}?"
    )


async def test_the_servers_clock_is_read_from_its_answers():
    ahead = email.utils.formatdate(time.time() + 3600, usegmt=True)
    version = '{"version": "v9.20250722", "manager": "26.4.16"}'
    async with answering(f"200 OK\r\nDate: {ahead}", version) as url:
        async with Client(config_of(url)) as client:
            await client.version()

    assert client.clock.skew == pytest.approx(3600, abs=5)


async def test_a_date_that_is_none_is_no_clock():
    version = '{"version": "v9.20250722", "manager": "26.4.16"}'
    async with answering("200 OK\r\nDate: yesterday", version) as url:
        async with Client(config_of(url)) as client:
            await client.version()

    assert client.clock.skew is None


async def test_nothing_answers():
    async with answering("200 OK", "") as url:
        pass
    async with Client(config_of(url)) as client:
        with pytest.raises(ConnectError, match=f"Nothing answers at {url}") as caught:
            await client.version()

    assert not caught.value.sent


@pytest.mark.skipif(shutil.which("openssl") is None, reason="a certificate is made with openssl")
async def test_a_certificate_that_nobody_knows_is_not_trusted(tmp_path: Path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    await asyncio.to_thread(
        subprocess.run,
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    version = '{"version": "v9.20250722", "manager": "26.4.16"}'
    async with answering("200 OK", version, ssl=context) as url:
        async with Client(config_of(url)) as client:
            with pytest.raises(ConnectError) as caught:
                await client.version()
        async with Client(config_of(url, verify_tls=False)) as trusting:
            server = await trusting.version()

    assert caught.value.message == f"The certificate of {url} is not trusted."
    assert server.manager == "26.4.16"


# -- login through a web server ---------------------------------------------------------------


def login_config(url: str, tmp_path: Path) -> Config:
    return Config.from_env(
        {"BACKENDAI_KERNEL_CONFIG": str(tmp_path / "config")},
        endpoint=url,
        endpoint_type="session",
    )


async def test_after_a_login_calls_are_let_in_by_the_cookie(manager, tmp_path):
    config = login_config(manager.url, tmp_path)
    async with Client(config) as client:
        await client.login(manager.keypair.user_id, manager.keypair.password)
        keypair = await client.send(calls.get_keypair())
    async with Client(config) as later:
        again = await later.send(calls.get_keypair())

    assert keypair.user_id == again.user_id == manager.keypair.user_id
    assert config.cookie_file is not None
    assert config.cookie_file.stat().st_mode & 0o777 == 0o600


async def test_without_a_login_there_is_a_sentence_and_a_hint(manager, tmp_path):
    async with Client(login_config(manager.url, tmp_path)) as client:
        with pytest.raises(Unauthorized) as caught:
            await client.send(calls.get_keypair())

    assert caught.value.message == f"You are not logged in at {manager.url}, or no longer."
    assert caught.value.hint == "Log in again: backendai-kernel login --type session"


async def test_a_cookie_is_not_sent_to_another_server(manager, tmp_path):
    config = login_config(manager.url, tmp_path)
    async with Client(config) as client:
        await client.login(manager.keypair.user_id, manager.keypair.password)

    assert read_cookie(config)
    assert read_cookie(replace(config, endpoint="http://other.example.com")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"cookie": 3}'])
def test_a_file_that_is_no_cookie_is_no_login(text, tmp_path):
    config = login_config("http://server.example.com", tmp_path)
    config.cookie_file.parent.mkdir()
    config.cookie_file.write_text(text)

    assert read_cookie(config) is None


async def test_a_wrong_password(manager, tmp_path):
    config = login_config(manager.url, tmp_path)
    async with Client(config) as client:
        with pytest.raises(Unauthorized) as caught:
            await client.login(manager.keypair.user_id, "wrong")

    assert caught.value.message == "The login was refused: User credential mismatch."
    assert not wants_otp(caught.value)
    assert read_cookie(config) is None


async def test_a_logout_forgets_the_cookie_on_both_sides(manager, tmp_path):
    config = login_config(manager.url, tmp_path)
    async with Client(config) as client:
        await client.login(manager.keypair.user_id, manager.keypair.password)
        await client.logout()

    assert manager.gate.cookies == {}
    assert read_cookie(config) is None


async def test_a_login_without_a_place_for_the_cookie_is_refused(manager, tmp_path):
    config = replace(login_config(manager.url, tmp_path), cookie_file=None)
    async with Client(config) as client:
        with pytest.raises(ConfigError):
            await client.login(manager.keypair.user_id, manager.keypair.password)


PROBLEM = "https://api.backend.ai/probs"


@asynccontextmanager
async def web_server(status: int, refusal: dict[str, object]) -> AsyncIterator[str]:
    """Serve logins that want a one-time password and are refused so without it; yield the URL."""

    async def login(request: web.Request) -> web.Response:
        asked = await request.json()
        if asked.get("otp") != "123456":
            return web.json_response(refusal, status=status)
        response = web.json_response({"authenticated": True, "data": {}})
        response.set_cookie("AIOHTTP_SESSION", "cookie-of-the-login")
        return response

    app = web.Application()
    app.router.add_post("/server/login", login)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (200, {"authenticated": False, "data": {"details": "OTP not provided"}}),
        (
            200,
            {
                "authenticated": False,
                "data": {"type": f"{PROBLEM}/require-totp-authentication", "title": "OTP"},
            },
        ),
        (401, {"type": f"{PROBLEM}/require-totp-authentication", "title": "OTP"}),
    ],
)
async def test_a_one_time_password_is_asked_for_and_sent(status, refusal, tmp_path):
    async with web_server(status, refusal) as url:
        config = login_config(url, tmp_path)
        async with Client(config) as client:
            with pytest.raises(Unauthorized) as caught:
                await client.login("user@example.com", "pw")
            await client.login("user@example.com", "pw", "123456")

    assert wants_otp(caught.value)
    assert read_cookie(config) == "cookie-of-the-login"


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_newer_web_server_refuses_with_the_managers_own_problem(status, tmp_path):
    refusal = {
        "type": f"{PROBLEM}/auth-failed",
        "title": "Credential/signature mismatch.",
        "msg": "User credential mismatch.",
    }
    async with web_server(status, refusal) as url:
        async with Client(login_config(url, tmp_path)) as client:
            with pytest.raises(Unauthorized) as caught:
                await client.login("user@example.com", "wrong")

    assert caught.value.message == "The login was refused: User credential mismatch."
