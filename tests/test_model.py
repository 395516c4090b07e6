from __future__ import annotations

import msgspec
import pytest

from backendai_kernel.model import (
    Created,
    Image,
    RunAnswer,
    RunStatus,
    Session,
    SessionStatus,
)


@pytest.mark.parametrize(
    ("word", "is_running", "is_over", "is_ending"),
    [
        ("PENDING", False, False, False),
        ("PREPARING", False, False, False),
        ("CREATING", False, False, False),
        ("RUNNING", True, False, False),
        ("RUNNING_DEGRADED", True, False, False),
        ("RESTARTING", False, False, False),
        ("TERMINATING", False, False, True),
        ("TERMINATED", False, True, True),
        ("CANCELLED", False, True, True),
        ("ERROR", False, True, True),
        ("TIMEOUT", False, False, False),
        ("DEPRIORITIZING", False, False, False),  # 26.9: a word that we do not know
    ],
)
def test_what_a_status_means(word, is_running, is_over, is_ending):
    status = SessionStatus(word)

    assert (status.is_running, status.is_over, status.is_ending) == (is_running, is_over, is_ending)


def test_a_word_that_we_do_not_know_is_kept_as_text():
    session = msgspec.convert({"id": "s", "status": "RESCHEDULING"}, Session)

    assert session.status is SessionStatus.UNKNOWN
    assert session.status_name == "RESCHEDULING"


def test_a_new_session_and_a_reused_one_are_told_apart():
    # recordings 01 and 03: the ports come under another key, and nobody needs them here
    new = {"sessionId": "a", "sessionName": "n", "status": "RUNNING", "servicePorts": []}
    reused = {"sessionId": "a", "status": "RUNNING", "service_ports": [], "created": False}
    read = [msgspec.convert(answer, Created) for answer in (new, reused)]

    assert [(each.session_id, each.created) for each in read] == [("a", True), ("a", False)]


def test_an_image_has_a_full_reference():
    image = Image(registry="cr.example.com", name="stable/python", tag="3.11-debian12")

    assert image.reference == "cr.example.com/stable/python:3.11-debian12"


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("continued", RunStatus.CONTINUED),
        ("waiting-input", RunStatus.WAITING_INPUT),
        ("exec-timeout", RunStatus.EXEC_TIMEOUT),
        ("something-new", RunStatus.UNKNOWN),
    ],
)
def test_the_status_of_a_run(word, status):
    assert RunAnswer(status_name=word).status is status


def test_an_answer_of_a_run_may_leave_out_what_it_does_not_have():
    answer = msgspec.convert({"status": "continued", "console": None, "new": 1}, RunAnswer)

    assert (answer.run_id, answer.exit_code, answer.console) == (None, None, None)
