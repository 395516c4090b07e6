"""One manager for a state folder: found, started, shared, stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import psutil
import pytest

from backendai_kernel.local import discovery
from backendai_kernel.local.auth import KeyPair
from backendai_kernel.local.serve import main
from tests.signed import Served, Signed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder; the manager that serves from it at the end is stopped."""
    folder = tmp_path / "state"
    yield folder
    if (folder / discovery.STATE_FILE).exists():
        stop(folder)


def pid_of(state: Path) -> int:
    return int(json.loads((state / discovery.STATE_FILE).read_text())["pid"])


def stop(state: Path, number: int = signal.SIGTERM) -> None:
    process = psutil.Process(pid_of(state))
    process.send_signal(number)
    wait_until_gone(process)


def wait_until_gone(process: psutil.Process) -> None:
    deadline = time.monotonic() + 20
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the manager does not stop"
        time.sleep(0.02)


def test_nothing_is_found_where_nothing_serves(state: Path) -> None:
    assert discovery.find(state) is None


def test_a_started_manager_is_found_and_outlives_its_starter(state: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from backendai_kernel.local import discovery; "
        "print(discovery.start(Path(sys.argv[1])).url)"
    )
    started = subprocess.run(
        [sys.executable, "-c", code, str(state)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    found = discovery.find(state)

    assert found is not None
    assert started.stdout.strip() == found.url
    assert found.secret_key not in repr(found)


def test_many_that_start_at_once_share_one(state: Path) -> None:
    with ThreadPoolExecutor(6) as threads:
        endpoints = list(threads.map(lambda _: discovery.start(state), range(6)))
    serving = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(state) in (process.info["cmdline"] or ()) and process.pid == pid_of(state)
    ]

    assert len(set(endpoints)) == 1
    assert serving == [pid_of(state)]


def test_secrets_are_for_their_owner_and_stay_the_same(state: Path) -> None:
    first = discovery.start(state)
    command = " ".join(psutil.Process(pid_of(state)).cmdline())
    modes = {
        name: stat.S_IMODE((state / name).stat().st_mode)
        for name in (discovery.STATE_FILE, "keypair.json")
    }
    stop(state)
    again = discovery.start(state)

    assert set(modes.values()) == {0o600}
    assert first.secret_key not in command
    assert (first.access_key, first.secret_key) == (again.access_key, again.secret_key)
    assert first.secret_key not in (state / discovery.LOG_FILE).read_text()


def test_a_stopped_manager_takes_its_address_back(state: Path) -> None:
    discovery.start(state)
    stop(state)

    assert not (state / discovery.STATE_FILE).exists()
    assert discovery.find(state) is None


def test_what_a_killed_manager_left_is_not_believed(state: Path) -> None:
    first = discovery.start(state)
    stop(state, signal.SIGKILL)
    left = (state / discovery.STATE_FILE).exists()
    found = discovery.find(state)
    second = discovery.start(state)

    assert left and found is None
    assert second.access_key == first.access_key
    assert discovery.find(state) == second


def test_another_program_on_the_port_is_not_taken_for_a_manager(tmp_path: Path) -> None:
    state = tmp_path
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = {
            "url": f"http://127.0.0.1:{server.getsockname()[1]}",
            "pid": os.getpid(),
            "access_key": "AK",
            "secret_key": "SK",
        }
        (state / discovery.STATE_FILE).write_text(json.dumps(told))
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(discovery.find, state)
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-something\r\n")

        assert found.result() is None


def test_a_manager_that_cannot_start_says_why(state: Path) -> None:
    state.mkdir()
    (state / "keypair.json").mkdir()
    with pytest.raises(RuntimeError, match=r"keypair\.json"):
        discovery.start(state, timeout=20)


def test_an_idle_manager_stops_and_leaves_no_session(state: Path) -> None:
    state.mkdir()
    command = [sys.executable, "-m", "backendai_kernel.local", "--state", str(state)]
    process = subprocess.Popen(
        [*command, "--idle-limit", "0.5"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdout is not None
        welcome = process.stdout.readline()
        process.wait(20)

    assert welcome.startswith("Serving Backend.AI's API on http://127.0.0.1:")
    assert process.returncode == 0
    assert not (state / discovery.STATE_FILE).exists()


def test_a_second_one_by_hand_is_refused(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    discovery.start(state)

    assert main(["--state", str(state)]) == 1
    assert "serves from" in capsys.readouterr().err


def test_finding_one_needs_neither_server_nor_loop() -> None:
    code = (
        "import sys; from backendai_kernel.local import discovery; "
        "print([m for m in ('aiohttp', 'asyncio', 'msgspec', 'psutil') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )

    assert run.stdout.strip() == "[]"


async def test_a_signal_ends_all_sessions(state: Path) -> None:
    endpoint = await asyncio.to_thread(discovery.start, state)
    keypair = KeyPair(access_key=endpoint.access_key, secret_key=endpoint.secret_key)
    async with aiohttp.ClientSession() as http:
        api = Signed(Served(endpoint.url, keypair), http)
        session = await api.start("ends")
        told = await api.run(session, "import os; print(os.getpid())")
    child = psutil.Process(int(told["console"][0][1]))
    await asyncio.to_thread(stop, state)

    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
