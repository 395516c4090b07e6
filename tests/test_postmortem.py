"""Each end that a server tells of becomes one sentence, and one step to go on."""

from __future__ import annotations

from decimal import Decimal

import pytest

from backendai_kernel.errors import RunLost
from backendai_kernel.model import Container, SessionDetail
from backendai_kernel.postmortem import Cause, as_error, judge, merged
from backendai_kernel.views import post_mortem_html, post_mortem_text

OOM = "Kernel started\r\npython-kernel: +6.891 [WARNING] Out-of-memory detected!\r\n"


def session(status: str = "TERMINATED", info: str | None = None, **more: object) -> SessionDetail:
    facts = {"requested_slots": '{"cpu": "1", "mem": "536870912"}', **more}
    return SessionDetail(id="x", name="nb-1", status_name=status, status_info=info, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reason", "cause", "words"),
    [
        ("idle-timeout", Cause.IDLE, "as long as its server lets a session be idle"),
        ("idle-session-lifetime", Cause.LIFETIME, "limits how long a session may live"),
        ("idle-utilization", Cause.UTILIZATION, "too little use"),
        ("user-requested", Cause.USER, "somebody with your keypair"),
        ("force-terminated", Cause.FORCED, "by force"),
        ("agent-termination", Cause.AGENT, "the machine that it ran on was lost"),
        ("agent-lost", Cause.AGENT, "the machine that it ran on was lost"),
        ("preempted-by-scheduler", Cause.EVICTED, "needed its resources"),
        ("exec-timeout", Cause.TIMEOUT, "how long code may run"),
        ("self-terminated", Cause.CONTAINER, "its container ended by itself"),
        ("something-new", Cause.UNKNOWN, "something-new"),
        (None, Cause.UNKNOWN, "its server gives no reason"),
    ],
)
def test_each_reason_has_its_sentence(reason, cause, words):
    found = judge(session(info=reason), "", when="while the code ran")

    assert found.cause is cause
    assert found.sentence.startswith("The session has ended while the code ran: ")
    assert words in found.sentence
    assert (found.reason or None) == reason
    assert "`%bai retry`" in found.next_step


def test_memory_that_ran_out_is_told_with_what_there_was_and_twice_as_much_is_offered():
    slots = '{"mem": "1073741824"}'
    found = judge(session("RUNNING", occupying_slots=slots), OOM, when="x")

    assert found.cause is Cause.MEMORY
    assert found.sentence == "The session's interpreter has died: memory ran out (it had 1g)."
    assert found.wanted == ("mem=2g",)
    assert "a new session with mem=2g" in found.next_step


def test_a_container_that_died_without_memory_is_told_so_too():
    found = judge(session(info="self-terminated"), OOM, when="x")

    assert (found.cause, found.wanted) == (Cause.MEMORY, ("mem=1g",))


def test_an_accident_long_ago_is_not_the_cause():
    log = OOM + "line\n" * 100

    assert judge(session("RUNNING"), log, when="x").cause is Cause.CRASH


def test_a_session_that_was_ended_by_hand_is_not_called_short_of_memory():
    assert judge(session(info="user-requested"), OOM, when="x").cause is Cause.USER


@pytest.mark.parametrize("inside", [True, False])
def test_the_exit_code_is_told(inside):
    data = '{"kernel": {"exit_code": 137}}'
    told = (
        session(info="self-terminated", containers=(Container(id="c", status_data=data),))
        if inside
        else session(info="self-terminated", status_data=data)
    )
    found = judge(told, "", when="x")

    assert found.exit_code == 137
    assert "with exit code 137" in found.sentence


@pytest.mark.parametrize("data", ["{", "[]", '{"kernel": null}', '{"kernel": {"exit_code": "x"}}'])
def test_status_data_of_any_form_is_no_accident(data):
    assert judge(session(status_data=data), "", when="x").exit_code is None


def test_nothing_known_is_still_a_sentence():
    found = judge(None, "", when="since the last cell", reason="idle-timeout")

    assert found.cause is Cause.IDLE
    assert judge(None, "", when="x").sentence.endswith("its server gives no reason.")


def test_the_log_is_shown_without_control_characters_and_never_as_markup():
    log = "first\r\n\x1b[31;1mred\x1b[0m <script>x</script>\r\n\x07bell\r\n" + "y" * 1000
    found = judge(session(), log, when="x")
    text, html = post_mortem_text(found), post_mortem_html(found)

    assert found.log[:3] == ("first", "red <script>x</script>", "bell")
    assert len(found.log[3]) == 300
    assert "\x1b" not in text + html and "\x07" not in text
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_the_error_has_sentence_and_next_step():
    found = judge(session(info="idle-timeout"), "", when="x")
    error = as_error(found)

    assert isinstance(error, RunLost)
    assert (error.message, error.hint, error.post_mortem) == (
        found.sentence,
        found.next_step,
        found,
    )
    assert as_error(found, hint="back").hint == "back"


def test_more_memory_takes_the_place_of_what_was_asked_for():
    assert merged(["cpu=1", "mem=1g"], ["mem=2g"]) == ("cpu=1", "mem=2g")
    assert merged([], ["mem=2g"]) == ("mem=2g",)
    assert found_memory() == Decimal(536870912)


def found_memory() -> Decimal | None:
    return judge(session(), "", when="x").memory
