"""Leases: held while their process lives, free however it ends, and never with a secret in them."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backendai_kernel import leases
from backendai_kernel.leases import Lease, Standing, Terms

ROOT = Path(__file__).parents[1]
NAME = "nb-0123456789abcdef"

HOLDER = """
import sys
from backendai_kernel.leases import Lease, Terms
lease = Lease({"BACKENDAI_KERNEL_STATE": sys.argv[1]}, sys.argv[2])
assert lease.hold()
lease.write(Terms(name=sys.argv[2], session_id="some-id", host=__import__("socket").gethostname()))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"BACKENDAI_KERNEL_STATE": str(tmp_path / "state")}


def holder(environ: dict[str, str]) -> subprocess.Popen[str]:
    """Return a process that holds the lease `NAME`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, environ["BACKENDAI_KERNEL_STATE"], NAME],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def test_a_lease_is_held_while_its_process_lives_and_left_when_that_is_killed(environ):
    process = holder(environ)
    [alive] = leases.survey(environ)
    is_taken = Lease(environ, NAME).hold()
    end(process, signal.SIGKILL)
    [dead] = leases.survey(environ)

    assert (alive.standing, is_taken) == (Standing.HELD, False)
    assert (dead.standing, dead.terms.session_id) == (Standing.LEFT, "some-id")
    assert [found.terms for found in leases.left_behind(environ)] == [dead.terms]


def test_the_next_process_of_a_kernel_holds_what_the_one_before_left(environ):
    process = holder(environ)
    end(process, signal.SIGKILL)
    lease = Lease(environ, NAME)

    assert lease.is_there and lease.hold() and lease.hold()
    assert lease.read().session_id == "some-id"
    assert [found.standing for found in leases.survey(environ)] == [Standing.HELD]
    lease.end()
    assert leases.survey(environ) == []


def test_folder_and_file_are_for_their_owner_alone(environ):
    lease = Lease(environ, NAME)
    lease.hold()
    folder = leases.folder(environ)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600
    lease.release()


def test_what_is_written_is_read_and_a_shorter_text_leaves_nothing_of_a_longer_one(environ):
    lease = Lease(environ, NAME)
    lease.hold()
    lease.write(Terms(name=NAME, endpoint="https://a.example.com", notebook="x" * 900))
    lease.write(Terms(name=NAME, endpoint="https://b.example.com"))
    lease.note_session("the-id")

    assert lease.read() == Terms(name=NAME, session_id="the-id", endpoint="https://b.example.com")
    json.loads((leases.folder(environ) / NAME).read_text())
    lease.release()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"host": 1, "server_pid": "x"}', b"\xff\xfe"])
def test_a_file_that_cannot_be_read_still_tells_the_sessions_name(environ, text):
    folder = leases.folder(environ)
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(text)
    [found] = leases.survey(environ)

    assert found.terms.name == NAME


def left(environ: dict[str, str], **terms: object) -> Lease:
    lease = Lease(environ, NAME)
    lease.hold()
    lease.write(Terms(name=NAME, **terms))  # type: ignore[arg-type]
    lease.release()
    return lease


def standing(environ: dict[str, str]) -> Standing:
    [found] = leases.survey(environ)
    return found.standing


def test_a_kernel_that_its_server_may_start_again_is_not_given_up_at_once(environ, tmp_path):
    wanted = tmp_path / "kernel-1.json"
    wanted.touch()
    host = leases.socket.gethostname()
    left(environ, host=host, server_pid=os.getpid(), connection_file=str(wanted))
    path = leases.folder(environ) / NAME
    now = standing(environ)
    wanted.unlink()
    unwanted = standing(environ)
    wanted.touch()
    os.utime(path, (time.time() - 100, time.time() - 100))
    later = standing(environ)

    assert (now, unwanted, later) == (Standing.RETURNING, Standing.LEFT, Standing.LEFT)


def test_a_kernel_of_another_computer_is_never_taken_for_dead_at_once(environ):
    left(environ, host="another-computer")
    path = leases.folder(environ) / NAME
    now = standing(environ)
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    later = standing(environ)

    assert (now, later) == (Standing.ELSEWHERE, Standing.SILENT)


def test_looking_does_not_keep_a_kernel_from_its_lease(environ):
    lease = left(environ)
    for _ in range(200):
        leases.survey(environ)
        assert lease.hold()
        lease.release()
