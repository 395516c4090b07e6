from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from backendai_kernel import doctor, profiles, specs
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.doctor import OK, PROBLEM, WARNING, Fact
from backendai_kernel.local import discovery
from backendai_kernel.local.auth import KeyPairPolicy
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.start import Request, start_session


@pytest.fixture(autouse=True)
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give Jupyter a place of its own, with one of our kernelspecs in it."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))
    monkeypatch.setattr("jupyter_core.paths.ENV_JUPYTER_PATH", [])
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_JUPYTER_PATH", [])
    return specs.install(profiles.BUILTIN["python"]).folder


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with folders of its own and nothing configured."""
    return {
        "BACKENDAI_KERNEL_CONFIG": str(tmp_path / "config"),
        "BACKENDAI_KERNEL_STATE": str(tmp_path / "state"),
    }


def pointing_at(manager: LocalManager, home: dict[str, str]) -> dict[str, str]:
    return {
        **home,
        "BACKEND_ENDPOINT": manager.url,
        "BACKEND_ACCESS_KEY": manager.access_key,
        "BACKEND_SECRET_KEY": manager.secret_key,
    }


async def facts_of(environ: dict[str, str], cwd: Path | None = None) -> dict[str, Fact]:
    """Return what is found out, by topic; the last one of a topic."""
    return {fact.topic: fact async for fact in doctor.examine(environ, cwd)}


async def test_everything_about_a_server_that_is_well(manager: LocalManager, home):
    facts = await facts_of(pointing_at(manager, home))

    assert {fact.state for fact in facts.values()} == {OK}
    release = manager.release
    assert facts["server"].text == f"Manager {release.manager} answers, API {release.api_version}."
    assert facts["keypair"].text == "It works: local@localhost, an administrator."
    assert facts["clock"].text == "This computer's clock agrees with the server's."
    assert facts["resources"].text == (
        "The server has cpu, cuda.shares, mem; gpu=0.5 becomes cuda.shares=0.5."
    )
    assert facts["sessions"].text == "You have none."
    assert "'python' is " in facts["images"].text


async def test_each_setting_comes_with_its_source_and_no_secret(manager, home, tmp_path):
    environ = pointing_at(manager, home)
    (tmp_path / ".env").write_text("BACKEND_GROUP=research\n")
    facts = await facts_of(environ, tmp_path)
    told = doctor.as_json(list(facts.values()))

    assert facts["endpoint"].text == f"{manager.url}, from BACKEND_ENDPOINT (environment)"
    assert facts["group"].text == f"research, from BACKEND_GROUP ({tmp_path / '.env'})"
    assert facts["secret key"].text == "set, not shown, from BACKEND_SECRET_KEY (environment)"
    assert facts["access key"].text.startswith(f"{manager.access_key[:4]}…")
    assert manager.secret_key not in told
    assert manager.access_key not in told


async def test_sessions_are_named(manager: LocalManager, home):
    config = Config.from_env(pointing_at(manager, home))
    async with Client(config) as client:
        session = await start_session(client, Request("python"), "train")
        facts = await facts_of(pointing_at(manager, home))
        await session.destroy()

    assert facts["sessions"].text == "You have 1: train (running)"


async def test_settings_that_make_no_sense_are_a_problem_and_kernels_are_looked_at(home):
    facts = await facts_of(home | {"BACKEND_ENDPOINT": "manager.example.com"})

    assert facts["settings"].state == PROBLEM
    assert facts["settings"].text == "The endpoint 'manager.example.com' is not a URL."
    assert facts["settings"].advice
    assert facts["kernel"].state == OK


async def test_an_endpoint_where_nothing_answers(home):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        keypair = {"BACKEND_ACCESS_KEY": "AKIAEXAMPLE", "BACKEND_SECRET_KEY": "x"}
        facts = await facts_of(home | keypair | {"BACKEND_ENDPOINT": url})

    assert facts["server"].state == PROBLEM
    assert facts["server"].text.startswith(f"Nothing answers at {url}")
    assert "keypair" not in facts


async def test_a_server_that_accepts_and_stays_silent_is_given_up(home, monkeypatch):
    monkeypatch.setattr(doctor, "_ANSWERS_WITHIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keypair = {"BACKEND_ACCESS_KEY": "AKIAEXAMPLE", "BACKEND_SECRET_KEY": "x"}
        facts = await facts_of(home | keypair | {"BACKEND_ENDPOINT": url})

    assert facts["server"].text == f"{url} does not answer within 0.2 s."


@pytest.mark.parametrize(
    ("seconds", "state", "text"),
    [
        (30, OK, "agrees with"),
        (120, WARNING, "120 s behind the server's"),
        (-120, WARNING, "120 s ahead of the server's"),
        (1200, PROBLEM, "1200 s behind the server's"),
    ],
)
def test_the_clock(seconds, state, text):
    fact = doctor._clock(seconds)

    assert fact.state == state
    assert text in fact.text


async def test_a_clock_that_is_corrected_is_told_all_the_same(manager, home):
    manager.faults.skew_clock(3600)
    facts = await facts_of(pointing_at(manager, home))

    assert facts["clock"].state == PROBLEM
    assert "behind the server's" in facts["clock"].text
    assert facts["keypair"].state == OK


async def test_a_request_that_is_refused_for_the_clock_says_so(manager, home):
    manager.faults.skew_clock(3600, is_told=False)
    facts = await facts_of(pointing_at(manager, home))

    assert facts["keypair"].state == PROBLEM
    assert facts["keypair"].text == (
        "The clocks of this computer and of the server differ by more than 15 minutes."
    )


async def test_a_wrong_keypair_is_a_problem(manager, home):
    facts = await facts_of(pointing_at(manager, home) | {"BACKEND_SECRET_KEY": "wrong"})

    assert facts["keypair"].state == PROBLEM
    assert "HMAC signature mismatch" in facts["keypair"].text
    assert "resources" not in facts


async def test_a_rate_limit_that_runs_out_is_a_warning(tmp_path, home):
    policy = KeyPairPolicy(rate_limit=10)
    async with LocalManager(tmp_path / "manager", policy=policy) as manager:
        config = Config.from_env(pointing_at(manager, home))
        async with Client(config) as client:
            for _ in range(8):
                await client.send(doctor.calls.get_keypair())
        facts = [fact async for fact in first_facts(pointing_at(manager, home), "rate limit")]

    assert facts[-1].state == WARNING
    assert facts[-1].text == "1 of 10 requests are left in this quarter of an hour."


async def first_facts(environ: dict[str, str], last: str):
    """Yield facts up to the first of a topic; what comes after is not asked for."""
    examination = doctor.examine(environ, None)
    try:
        async for fact in examination:
            yield fact
            if fact.topic == last:
                return
    finally:
        await examination.aclose()


async def test_a_server_without_a_gpu_is_a_warning(tmp_path, home):
    slots = {"cpu": Decimal(2), "mem": Decimal(2**30)}
    async with LocalManager(tmp_path / "manager", slots=slots) as manager:
        facts = await facts_of(pointing_at(manager, home))

    assert facts["resources"].state == WARNING
    assert "This server has no GPU" in facts["resources"].text


async def test_a_look_that_the_server_refuses_is_told_and_the_others_go_on(manager, home):
    fault = manager.faults.status(500, times=None, path="/config/resource-slots")
    facts = await facts_of(pointing_at(manager, home))

    assert fault.hits > 0
    assert facts["slots"].state == WARNING
    assert facts["images"].state == OK


# -- the embedded manager ---------------------------------------------------------------------


async def test_with_nothing_configured_the_embedded_manager_is_told_of_and_not_started(home):
    facts = await facts_of(home)

    assert facts["embedded manager"].text == (
        "It does not run; the first notebook that needs it starts it."
    )
    assert not doctor.has_problem(list(facts.values()))
    assert "server" not in facts
    assert not Path(home["BACKENDAI_KERNEL_STATE"]).exists()


@pytest.fixture
def embedded(home: dict[str, str]) -> Iterator[int]:
    """Start an embedded manager as a kernel would; return its process id."""
    state = Path(home["BACKENDAI_KERNEL_STATE"]) / "local"
    discovery.start(state)
    pid = json.loads((state / discovery.STATE_FILE).read_text())["pid"]
    yield pid
    os.kill(pid, signal.SIGTERM)
    gone = os.open(state / "lock", os.O_RDWR)
    discovery_lock_is_free(gone)
    os.close(gone)


def discovery_lock_is_free(descriptor: int) -> None:
    """Return once the manager has let go of its lock, which it does when it ends."""
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)


async def test_a_running_embedded_manager_is_looked_at(embedded, home):
    facts = await facts_of(home)

    assert f"(process {embedded})" in facts["embedded manager"].text
    assert facts["server"].state == OK
    assert facts["sessions"].text == "You have none."


# -- kernelspecs ------------------------------------------------------------------------------


async def test_no_kernel_is_a_problem(home):
    specs.uninstall(None)
    facts = await facts_of(home)

    assert facts["kernels"] == Fact(
        "kernels", "Jupyter finds none of ours.", PROBLEM, "Run: backendai-kernel install"
    )


async def test_a_kernel_whose_interpreter_is_gone_is_a_problem(home, jupyter):
    path = jupyter / "kernel.json"
    content = json.loads(path.read_text())
    content["argv"][0] = "/nowhere/bin/python"
    path.write_text(json.dumps(content))
    facts = await facts_of(home)

    assert facts["kernel"].state == PROBLEM
    assert "its interpreter /nowhere/bin/python is gone" in facts["kernel"].text
    assert "uninstall backendai-python" in facts["kernel"].advice


def test_json_has_every_fact():
    facts = [Fact("a", "b"), Fact("c", "d", PROBLEM, "e")]

    assert json.loads(doctor.as_json(facts)) == {
        "ok": False,
        "facts": [
            {"topic": "a", "text": "b", "state": "ok", "advice": ""},
            {"topic": "c", "text": "d", "state": "problem", "advice": "e"},
        ],
    }


@pytest.mark.parametrize(
    ("key", "shown"), [("AKIAIOSFODNN7EXAMPLE", "AKIA…MPLE"), ("SHORT", "SHORT"), ("", "")]
)
def test_an_access_key_is_shortened(key, shown):
    assert doctor.shortened(key) == shown
