from __future__ import annotations

from decimal import Decimal

import pytest

from backendai_kernel.protocol import calls


def test_a_creation_has_every_key_that_servers_of_all_generations_read():
    call = calls.create_session(
        image="python",
        name="train",
        slots={"cpu": Decimal("1.0"), "mem": Decimal(4 * 2**30), "cuda.shares": Decimal("0.50")},
        domain="default",
        group="research",
        environ={"A": "1"},
        mounts=("data",),
    )

    assert (call.method, call.path, call.is_read) == ("POST", "/session", False)
    assert call.body is not None
    assert call.body["config"]["resources"] == {
        "cpu": "1",
        "mem": "4294967296",
        "cuda.shares": "0.5",
    }
    assert call.body["config"]["mounts"] == ["data"]
    assert call.body["config"]["environ"] == {"A": "1"}
    assert (call.body["domain"], call.body["group"]) == ("default", "research")
    assert call.body["enqueueOnly"] is True
    assert call.body["reuseIfExists"] is call.body["reuse"] is True


@pytest.mark.parametrize("mode", ["query", "continue", "input"])
def test_a_run_is_named_under_both_keys(mode):
    call = calls.execute("s", "run-1", mode, "1+1")

    assert call.body == {"mode": mode, "code": "1+1", "runId": "run-1", "run_id": "run-1"}
    assert not call.is_read


def test_a_batch_run_has_options():
    call = calls.execute("s", "r", "batch", options={"exec": "*"})

    assert call.body is not None
    assert call.body["options"] == {"exec": "*"}


@pytest.mark.parametrize(
    ("session", "path"),
    [
        ("train", "/session/train"),
        ("bad name!", "/session/bad%20name%21"),
        ("a/b", "/session/a%2Fb"),
    ],
)
def test_a_session_is_quoted(session, path):
    assert calls.execute(session, "r", "query").path == path


def test_an_end_may_be_forced():
    assert calls.destroy_session("s").path == "/session/s"
    assert calls.destroy_session("s", forced=True).path == "/session/s?forced=true"


def test_what_may_be_sent_twice_says_so():
    reads = [
        calls.get_version(),
        calls.get_slot_types(),
        calls.get_session("s"),
        calls.list_sessions(limit=1),
        calls.list_images(),
        calls.get_keypair(),
        calls.get_logs("s"),
        calls.interrupt("s"),
        calls.destroy_session("s"),
        calls.check_presets("default"),
    ]
    acts = [
        calls.restart_session("s"),
        calls.execute("s", "r", "query"),
        calls.login("user", "password"),
    ]

    assert all(call.is_read for call in reads)
    assert not any(call.is_read for call in acts)


def test_the_secret_key_is_never_asked_for():
    assert calls.get_keypair().body is not None
    assert "secret" not in calls.get_keypair().body["query"]


def test_a_session_is_asked_for_as_a_variable_and_never_pasted_into_the_query():
    call = calls.get_session('"; drop')

    assert call.body is not None
    assert call.body["variables"] == {"id": '"; drop'}
    assert "drop" not in call.body["query"]


def test_a_one_time_password_is_sent_only_when_there_is_one():
    assert calls.login("user", "pw").body == {"username": "user", "password": "pw"}
    assert calls.login("user", "pw", "123456").body == {
        "username": "user",
        "password": "pw",
        "otp": "123456",
    }


def test_a_password_is_not_in_the_text_of_a_call():
    assert "s3cret" not in repr(calls.login("user", "s3cret", "123456"))
