"""`RunState` against the answers of a real server, as recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backendai_kernel.errors import ProtocolError
from backendai_kernel.model import RunAnswer
from backendai_kernel.protocol.run import (
    Finished,
    InputRequest,
    Media,
    Phase,
    PhaseEnded,
    RunState,
    Text,
    TimedOut,
)

SAMPLES = Path(__file__).parents[1] / "samples" / "run"


def recorded(name: str) -> list[dict[str, Any]]:
    """Return the exchanges of a recording: request, status and answer of each."""
    exchanges: list[dict[str, Any]] = json.loads((SAMPLES / f"{name}.json").read_text())[
        "exchanges"
    ]
    return exchanges


def answer_of(exchange: dict[str, Any]) -> RunAnswer:
    return msgspec.convert(exchange["answer"]["result"], RunAnswer)


def answer(status: str, *console: tuple[str, Any], **more: Any) -> RunAnswer:
    return RunAnswer(status_name=status, console=console, **more)


def new_state(code: str = "1+1", *, run_id: str = "ours", mode: str = "query") -> RunState:
    return RunState("session", run_id, mode, code)


def body(state: RunState) -> dict[str, Any]:
    call = state.next_call()
    assert call.body is not None
    return dict(call.body)


def replay(exchanges: list[dict[str, Any]]) -> tuple[RunState, list[Any]]:
    """Send what was recorded, once more; every request must be the one of the recording."""
    first = exchanges[0]["request"]
    state = RunState(
        "session", first.get("run_id", first.get("runId")), first["mode"], first["code"]
    )
    state.options = first.get("options")
    events: list[Any] = []
    for exchange in exchanges:
        asked = exchange["request"]
        if asked["mode"] == "input":
            state.give_input(asked["code"])
        sent = body(state)
        assert {key: sent[key] for key in ("mode", "code")} == {
            key: asked[key] for key in ("mode", "code")
        }
        assert sent["run_id"] == sent["runId"] == exchange["answer"]["result"]["runId"]
        events += state.receive(answer_of(exchange))
    return state, events


# -- recorded runs ----------------------------------------------------------------------------


def test_a_run_that_prints_ends_with_its_exit_code():
    state, seen = replay([recorded("streams")[1]])

    assert seen == [Text("stdout", "no newline"), Finished(0)]
    assert state.is_over


def test_every_recorded_stream_is_text_in_order():
    for exchange in recorded("streams"):
        _, seen = replay([exchange])

        console = exchange["answer"]["result"]["console"]
        assert [(e.stream, e.text) for e in seen[:-1]] == [tuple(item) for item in console]


def test_an_exception_is_text_and_an_exit_code():
    runs = [replay([exchange])[1] for exchange in recorded("exceptions")]

    assert "ZeroDivisionError" in "".join(e.text for e in runs[0] if isinstance(e, Text))
    assert {type(e) for run in runs for e in run} == {Text, Finished}
    assert runs[0][-1] == Finished(1)
    assert {run[-1].exit_code for run in runs} > {1}  # SystemExit has its own


def test_an_image_is_bare_base64():
    _, seen = replay(recorded("image"))
    (image,) = [e for e in seen if isinstance(e, Media)]

    assert image.mime == "image/png"
    assert image.data.startswith("iVBORw0KGgo")


def test_rich_output_is_media_or_text_and_never_an_error():
    runs = [replay([exchange])[1] for exchange in recorded("rich")]
    media = [e for run in runs for e in run if isinstance(e, Media)]

    assert {"image/svg+xml", "text/html"} <= {e.mime for e in media}
    assert all(run[-1] == Finished(0) for run in runs)


def test_a_prompt_is_taken_off_the_output_and_the_line_goes_out_under_the_same_run():
    exchanges = recorded("input")
    state, seen = replay(exchanges[:2])

    assert seen[0] == InputRequest("your name? ", is_password=False)
    assert seen[1:] == [Text("stdout", "hi Ada\n"), Finished(0)]
    assert state.is_over


def test_a_password_says_so():
    _, seen = replay(recorded("input")[2:4])

    assert seen[0].is_password


def test_two_questions_of_one_run():
    _, seen = replay(recorded("input")[4:7])

    assert [type(e) for e in seen if not isinstance(e, Text)] == [
        InputRequest,
        InputRequest,
        Finished,
    ]


def test_a_server_that_gives_the_run_another_name_is_followed():
    # 14a: the id was sent under the key that this server does not read
    first, *_, last = recorded("input-old-client")
    state = new_state(first["request"]["code"], run_id=first["request"]["runId"])
    state.next_call()
    state.receive(answer_of(first))

    given = first["answer"]["result"]["runId"]
    assert given != first["request"]["runId"]
    assert state.run_id == given
    state.give_input("Ada")
    assert body(state)["run_id"] == body_of(last)["run_id"] == given


def body_of(exchange: dict[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = exchange["request"]
    return request


def test_a_long_run_is_polled_until_it_is_finished():
    exchanges = recorded("long-poll")
    state, seen = replay(exchanges)

    assert [e["request"]["mode"] for e in exchanges] == ["query", "continue", "continue"]
    assert seen[-1] == Finished(0)
    assert state.is_over


def test_characters_of_all_planes_come_through():
    text = "".join(
        e.text
        for exchange in recorded("unicode")
        for e in replay([exchange])[1]
        if isinstance(e, Text)
    )
    console = "".join(
        item[1]
        for exchange in recorded("unicode")
        for item in exchange["answer"]["result"]["console"]
    )

    assert text == console
    assert max(map(ord, text)) > 0xFFFF


def test_a_batch_run_goes_through_its_phases():
    state, seen = replay(recorded("batch")[:3])

    assert seen[0] == PhaseEnded(Phase.CLEAN, recorded("batch")[0]["answer"]["result"]["exitCode"])
    assert any(isinstance(e, InputRequest) for e in seen)
    assert isinstance(seen[-1], Finished)
    assert state.is_over


# -- what must never be sent ------------------------------------------------------------------


def test_nothing_is_asked_after_the_end():
    # recordings 23 and 26: it would open the run again, for ever
    state = new_state()
    state.next_call()
    state.receive(answer("finished", exit_code=0))

    with pytest.raises(RuntimeError, match="over"):
        state.next_call()


def test_the_code_is_sent_once():
    state = new_state("x += 1")
    first = body(state)
    state.receive(answer("continued"))
    second = body(state)

    assert (first["mode"], first["code"]) == ("query", "x += 1")
    assert (second["mode"], second["code"]) == ("continue", "")


def test_a_run_that_waits_for_a_line_is_not_polled():
    state = new_state()
    state.next_call()
    state.receive(answer("waiting-input"))

    with pytest.raises(RuntimeError, match="input"):
        state.next_call()


def test_a_line_is_sent_once():
    state = new_state()
    state.next_call()
    state.receive(answer("waiting-input"))
    state.give_input("Ada")

    assert (body(state)["mode"], body(state)["mode"]) == ("input", "continue")


def test_the_run_id_of_an_answer_without_one_is_kept():
    state = new_state(run_id="ours")
    state.next_call()
    state.receive(answer("continued", run_id=None))

    assert state.run_id == "ours"


# -- the rest of the statuses -----------------------------------------------------------------


def test_the_servers_own_limit_ends_the_run():
    state = new_state()
    state.next_call()

    assert state.receive(answer("exec-timeout", ("stdout", "x"))) == [
        Text("stdout", "x"),
        TimedOut(),
    ]
    assert state.is_over


def test_a_status_that_we_do_not_know_is_an_error_and_the_end():
    state = new_state()
    state.next_call()
    with pytest.raises(ProtocolError, match="'suspended'"):
        state.receive(answer("suspended"))

    assert state.is_over


def test_silent_polls_are_counted_until_something_comes():
    state = new_state()
    state.next_call()
    counts = []
    for console in [(), (), (("stdout", "x"),), ()]:
        state.receive(answer("continued", *console))
        counts.append(state.silent_polls)

    assert counts == [1, 2, 0, 1]


@pytest.mark.parametrize(
    ("item", "events"),
    [
        (("stdout", "a"), [Text("stdout", "a")]),
        (("stdout", ""), []),
        (("log", "python-kernel: x"), [Text("stderr", "python-kernel: x")]),
        (("html", "<b>"), [Media("text/html", "<b>")]),
        (("media", ["image/svg+xml", "<svg/>"]), [Media("image/svg+xml", "<svg/>")]),
        (("media", ["image/png", "data:image/png;base64,QQ=="]), [Media("image/png", "QQ==")]),
        (("media", ["image/png", "QQ=="]), [Media("image/png", "QQ==")]),
        (("media", ["a/b", {"x": 1}]), [Media("a/b", {"x": 1})]),
        (("media", "nonsense"), []),
        (("completion", []), []),
        (("something-new", {}), []),
    ],
)
def test_an_item_of_the_console(item, events):
    state = new_state()
    state.next_call()

    assert state.receive(answer("continued", item)) == events


@pytest.mark.parametrize(
    ("console", "before", "prompt"),
    [
        ([("stdout", "name? ")], [], "name? "),
        ([("stdout", "line\nname? ")], [Text("stdout", "line\n")], "name? "),
        ([("stdout", "line\n")], [Text("stdout", "line\n")], ""),
        ([("stdout", "a"), ("stderr", "b")], [Text("stdout", "a"), Text("stderr", "b")], ""),
        ([], [], ""),
    ],
)
def test_the_prompt_is_the_last_line_of_the_output(console, before, prompt):
    state = new_state()
    state.next_call()

    assert state.receive(answer("waiting-input", *console)) == [
        *before,
        InputRequest(prompt, is_password=False),
    ]
