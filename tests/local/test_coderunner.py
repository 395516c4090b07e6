"""The run queue, with a container that says what the test tells it to; recorded situations by number."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from backendai_kernel.local.coderunner import (
    QUEUE_SIZE,
    RECORD_SIZE,
    AgentFailure,
    CodeRunner,
    console_of,
)

FLUSH = 0.05


class Box:
    """A container that does nothing by itself."""

    def __init__(self, **how: Any) -> None:
        self.sent: list[tuple[str, str]] = []
        self.runs = CodeRunner(
            lambda kind, payload: self.sent.append((kind, payload.decode())), **how
        )

    def says(self, kind: str, text: str = "") -> None:
        self.runs.deliver(kind, text.encode())

    def ends(self, code: int = 0) -> None:
        self.says("finished", json.dumps({"exitCode": code}))

    def ask(
        self,
        mode: str,
        run_id: str | None,
        code: str = "",
        options: Mapping[str, Any] | None = None,
        flush: float = FLUSH,
    ) -> asyncio.Task[dict[str, Any]]:
        return asyncio.create_task(self.runs.execute(mode, code, run_id, options, flush=flush))

    async def began(self, code: str) -> None:
        """The container got this code: the run has its turn."""
        await until(lambda: ("code", code) in self.sent)


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not fact():  # noqa: ASYNC110 -- any fact about the box
            await asyncio.sleep(0)


async def hangs(request: asyncio.Task[Any]) -> bool:
    """The request has no answer long after a poll would have had one."""
    done, _ = await asyncio.wait({request}, timeout=6 * FLUSH)
    return not done


@pytest.fixture
def box() -> Box:
    return Box()


def text(answer: dict[str, Any]) -> str:
    return "".join(data for _, data in answer["console"])


# --- one run ------------------------------------------------------------------------------------


async def test_a_run_is_answered_as_soon_as_it_is_over(box: Box) -> None:
    request = box.ask("query", "r1", "6*7", flush=60)
    await box.began("6*7")
    box.says("stdout", "42")
    box.ends()

    assert await request == {
        "status": "finished",
        "runId": "r1",
        "exitCode": 0,
        "options": None,
        "files": [],
        "console": [["stdout", "42"]],
    }


async def test_a_run_without_an_id_gets_one_of_32_hex_digits(box: Box) -> None:
    request = box.ask("query", None, "1")
    await box.began("1")
    box.ends()

    assert int((await request)["runId"].rjust(32, "x"), 16) >= 0


async def test_output_of_a_running_cell_is_answered_when_the_time_is_up(box: Box) -> None:
    """Recording 15."""
    loop = asyncio.get_running_loop()
    asked = loop.time()
    request = box.ask("query", "r1", "loop")
    await box.began("loop")
    box.says("stdout", "tick 0\n")
    box.says("stdout", "tick 1\n")
    answer = await request

    assert answer["status"] == "continued"
    assert answer["console"] == [["stdout", "tick 0\ntick 1\n"]]
    assert answer["exitCode"] is None
    assert loop.time() - asked >= FLUSH * 0.9


async def test_output_between_two_polls_is_kept(box: Box) -> None:
    assert (await box.ask("query", "r1", "loop"))["status"] == "continued"
    box.says("stdout", "meanwhile")
    box.ends()

    assert text(await box.ask("continue", "r1")) == "meanwhile"


async def test_output_without_a_run_is_dropped(box: Box) -> None:
    box.says("stdout", "a thread of an earlier cell")
    request = box.ask("query", "r1", "1")
    await box.began("1")
    box.ends()

    assert (await request)["console"] == []


@pytest.mark.parametrize(("payload", "options"), [('{"is_password": true}', True), ("", None)])
async def test_a_question_is_answered_at_once_and_the_run_goes_on(
    box: Box, payload: str, options: bool | None
) -> None:
    """Recordings 14 and 32: in batch mode the options are empty."""
    request = box.ask("query", "r1", "ask", flush=60)
    await box.began("ask")
    box.says("stdout", "pw: ")
    box.says("waiting-input", payload)
    answer = await request
    typed = box.ask("input", "r1", "s3cret", flush=60)
    await until(lambda: ("input", "s3cret") in box.sent)
    box.ends()

    assert answer["status"] == "waiting-input"
    assert answer["options"] == ({"is_password": options} if options else {})
    assert answer["exitCode"] is None
    assert (await typed)["status"] == "finished"


# --- the shape of the console ---------------------------------------------------------------------


def test_neighbouring_texts_of_one_stream_become_one() -> None:
    """Recording 10."""
    records = [
        ("stdout", "to stdout\n"),
        ("stdout", "more\n"),
        ("stderr", "to stderr\n"),
        ("stdout", "42"),
    ]

    assert console_of(records) == [
        ["stdout", "to stdout\nmore\n"],
        ["stderr", "to stderr\n"],
        ["stdout", "42"],
    ]


def test_media_are_parsed_and_part_texts() -> None:
    records = [
        ("stdout", "a"),
        ("media", '{"type": "image/svg+xml", "data": "<svg/>"}'),
        ("media", '{"type": "x/any", "data": {"k": [1]}}'),
        ("stdout", ""),
        ("stdout", "b"),
    ]

    assert console_of(records) == [
        ["stdout", "a"],
        ["media", ["image/svg+xml", "<svg/>"]],
        ["media", ["x/any", {"k": [1]}]],
        ["stdout", "b"],
    ]


@pytest.mark.parametrize("html", ["<b>bold</b>", "[1]", "7", '{"type": "text/html"}', ""])
def test_media_that_are_not_such_json_spoil_the_answer(html: str) -> None:
    with pytest.raises(AgentFailure, match="unreadable media"):
        console_of([("stdout", "lost too"), ("media", html)])


async def test_one_record_is_cut_to_its_first_ten_mebibytes(box: Box) -> None:
    """Recording 35."""
    request = box.ask("query", "r1", "big")
    await box.began("big")
    box.says("stdout", "z" * (RECORD_SIZE + 5))
    box.ends()

    assert len(text(await request)) == RECORD_SIZE == 10_485_760


async def test_a_character_cut_between_two_records_comes_whole(box: Box) -> None:
    request = box.ask("batch", "r1", options={"exec": "x"})
    await until(lambda: bool(box.sent))
    whole = "한".encode()
    box.runs.deliver("stdout", whole[:1])
    box.runs.deliver("stderr", b"\xff")
    box.runs.deliver("stdout", whole[1:])
    box.ends()

    assert (await request)["console"] == [["stderr", "�"], ["stdout", "한"]]


# --- runs that go wrong ---------------------------------------------------------------------------


async def test_html_loses_the_answer_and_blocks_other_runs(box: Box) -> None:
    """Recording 19."""
    first = box.ask("query", "r1", "html")
    await box.began("html")
    box.says("media", "<b>bold</b>")
    box.ends()
    with pytest.raises(AgentFailure):
        await first
    second = box.ask("query", "r2", "next")
    stuck = await hangs(second)
    rescue = box.ask("query", "r1", "rescue")
    await box.began("rescue")
    box.says("stdout", "recovered\n")
    box.ends()

    assert stuck
    assert text(await rescue) == "recovered\n"
    await box.began("next")  # the run that hung runs after all


async def test_html_of_a_cell_that_goes_on_loses_one_window_only(box: Box) -> None:
    first = box.ask("query", "r1", "html")
    await box.began("html")
    box.says("media", "<b>bold</b>")
    with pytest.raises(AgentFailure):
        await first
    box.says("stdout", "later")
    box.ends()

    assert text(await box.ask("continue", "r1")) == "later"


@pytest.mark.parametrize("run_id", ["known", "neverseen"])
async def test_continue_of_a_run_that_is_over_opens_it_again(box: Box, run_id: str) -> None:
    """Recording 23."""
    first = box.ask("query", "known", "1")
    await box.began("1")
    box.ends()
    await first
    polls = [await box.ask("continue", run_id) for _ in range(2)]
    stuck = await hangs(box.ask("query", "other", "other"))
    rescue = box.ask("query", run_id, "rescue")
    await box.began("rescue")
    box.ends()

    assert [poll["status"] for poll in polls] == ["continued", "continued"]
    assert stuck
    assert (await rescue)["status"] == "finished"


async def test_the_output_of_a_lost_answer_is_lost_and_the_rest_comes(box: Box) -> None:
    """Recording 25."""
    lost = box.ask("query", "r1", "slow")
    await box.began("slow")
    box.says("stdout", "one\n")
    lost.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lost
    box.says("stdout", "two\n")  # still in the window of the lost request
    await until(lambda: not box.runs._requests)  # its window is over
    silent = await box.ask("continue", "r1")
    box.says("stdout", "three\n")
    box.ends()
    last = await box.ask("continue", "r1")

    assert (silent["status"], silent["console"]) == ("continued", [])
    assert (last["status"], text(last)) == ("finished", "three\n")


async def test_after_a_lost_finished_a_new_run_works_and_a_continue_opens_the_old_one(
    box: Box,
) -> None:
    """Recordings 26 and 27."""
    lost = box.ask("query", "r1", "slow")
    await box.began("slow")
    lost.cancel()
    box.says("stdout", "output of the lost reply")
    box.ends()
    fresh = box.ask("query", "r2", "fresh")
    await box.began("fresh")
    box.ends()
    answer = await fresh
    reopened = await box.ask("continue", "r1")
    stuck = await hangs(box.ask("query", "r3", "third"))

    assert (answer["status"], answer["console"]) == ("finished", [])
    assert (reopened["status"], reopened["console"]) == ("continued", [])
    assert stuck


async def test_a_second_run_waits_until_the_first_was_polled_to_its_end(box: Box) -> None:
    """Recordings 18 and 39."""
    first = await box.ask("query", "r1", "a")
    second = box.ask("query", "r2", "b")
    box.says("stdout", "a ends\n")
    box.ends()
    unsent = await hangs(second) and ("code", "b") not in box.sent
    last = await box.ask("continue", "r1")
    await box.began("b")
    box.says("stdout", "b runs\n")
    box.ends()

    assert first["status"] == "continued"
    assert unsent
    assert (last["status"], text(last)) == ("finished", "a ends\n")
    assert text(await second) == "b runs\n"


async def test_a_waiting_run_that_was_given_up_runs_all_the_same(box: Box) -> None:
    """Recording 38: nobody hears of its output, and a poll under its id waits for ever."""
    await box.ask("query", "r1", "a")
    given_up = box.ask("query", "r2", "b")
    await asyncio.sleep(0)
    given_up.cancel()
    box.ends(1)
    last = await box.ask("continue", "r1")
    await box.began("b")
    box.says("stdout", "b runs\n")
    box.ends()
    late = await box.ask("continue", "r2")
    stuck = [box.ask("continue", "r1"), box.ask("query", "r4", "new")]
    hung = [await hangs(request) for request in stuck]
    rescue = box.ask("query", "r2", "rescue")
    await box.began("rescue")
    box.ends()

    assert (last["status"], last["exitCode"]) == ("finished", 1)
    assert (late["status"], late["console"]) == ("continued", [])
    assert hung == [True, True]
    assert (await rescue)["status"] == "finished"


async def test_the_rescue_may_be_answered_with_the_rest_of_the_old_run(box: Box) -> None:
    """Recording 27, at its end."""
    lost = box.ask("query", "r5", "slow")
    await box.began("slow")
    lost.cancel()
    box.says("stdout", "x")
    await until(lambda: not box.runs._requests)  # its window is over
    box.says("stdout", "y\n")
    box.ends()
    rescue = await box.ask("query", "r5", "print(ran)")

    assert (rescue["status"], text(rescue)) == ("finished", "y\n")


async def test_a_run_that_waited_and_then_takes_longer_than_a_poll_breaks_the_session(
    box: Box,
) -> None:
    """Seen on a cluster of release 26.4.16: 500 for that poll, and for each one under its id."""
    await box.ask("query", "r1", "a")
    second = box.ask("query", "r2", "b")
    box.ends()
    await box.ask("continue", "r1")
    await box.began("b")
    with pytest.raises(AgentFailure):
        await second
    with pytest.raises(AgentFailure):
        await box.ask("continue", "r2")
    with pytest.raises(AgentFailure):
        await box.ask("query", "r2", "rescue")

    assert await hangs(box.ask("query", "r3", "c"))


async def test_nothing_answers_when_the_interpreter_is_dead(box: Box) -> None:
    """Recording 28."""
    statuses = []
    for mode in ("query", "continue", "query", "continue"):
        statuses.append((await box.ask(mode, "r1", "code"))["status"])

    assert statuses == ["continued"] * 4
    assert await hangs(box.ask("batch", "r2", options={"exec": "echo"}))


# --- batch mode ---------------------------------------------------------------------------------


async def test_a_batch_run_sends_its_three_commands(box: Box) -> None:
    request = box.ask("batch", "r1", options={"clean": None, "build": "make", "exec": "*"})
    await until(lambda: len(box.sent) == 3)
    box.says("clean-finished", '{"exitCode": 0}')
    answer = await request

    assert box.sent == [("clean", ""), ("build", "make"), ("exec", "*")]
    assert (answer["status"], answer["exitCode"]) == ("clean-finished", 0)


async def test_output_after_a_step_waits_for_the_next_poll(box: Box) -> None:
    request = box.ask("batch", "r1", options={"exec": "exit 6"})
    await until(lambda: len(box.sent) == 3)
    box.says("clean-finished", '{"exitCode": 0}')
    await request
    box.says("stdout", "quick")
    box.ends(6)
    answer = await box.ask("continue", "r1")

    assert (answer["status"], answer["exitCode"], text(answer)) == ("finished", 6, "quick")


async def test_as_on_the_server_output_after_a_step_is_dropped() -> None:
    """Recording 32: a quick command polls for ever."""
    box = Box(keeps_steps=False)
    request = box.ask("batch", "r1", options={"exec": "exit 6"})
    await until(lambda: len(box.sent) == 3)
    box.says("clean-finished", '{"exitCode": 0}')
    await request
    box.ends(6)
    answers = [await box.ask("continue", "r1") for _ in range(2)]
    rescue = box.ask("query", "r1", "rescue")
    await box.began("rescue")
    box.ends()

    assert [answer["status"] for answer in answers] == ["continued", "continued"]
    assert (await rescue)["status"] == "finished"


# --- the ends of it -------------------------------------------------------------------------------


async def test_the_container_is_told_to_pause_when_nobody_fetches_its_output() -> None:
    told: list[str] = []
    box = Box(pause=lambda: told.append("pause"), resume=lambda: told.append("resume"))
    await box.ask("query", "r1", "flood")
    for _ in range(QUEUE_SIZE + 10):
        box.says("stdout", "x")
    before = list(told)
    answer = await box.ask("continue", "r1")

    assert before == ["pause"]
    assert told == ["pause", "resume"]
    assert text(answer) == "x" * (QUEUE_SIZE + 10)


async def test_when_the_container_has_gone_waiting_and_new_requests_fail_and_polls_end(
    box: Box,
) -> None:
    """Recordings 36 and 37."""
    poll = box.ask("query", "r1", "a")
    await box.began("a")
    waiting = box.ask("query", "r2", "b")
    await asyncio.sleep(0)
    box.says("stdout", "begin\n")
    box.runs.close("the container is gone")

    assert (await poll)["console"] == [["stdout", "begin\n"]]
    with pytest.raises(AgentFailure, match="gone"):
        await waiting
    with pytest.raises(AgentFailure, match="gone"):
        await box.ask("continue", "r1")
