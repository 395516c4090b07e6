"""What a run brings, as the messages that a front end is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backendai_kernel.model import RunAnswer
from backendai_kernel.outputs import Outgoing, Translator, failure_from_text
from backendai_kernel.protocol.envelope import Message
from backendai_kernel.protocol.run import Event, Finished, Media, Phase, PhaseEnded, RunState, Text

SAMPLES = Path(__file__).parent / "samples" / "execute"

ERROR = Message(
    "error", {"ename": "ZeroDivisionError", "evalue": "division by zero", "traceback": ["a", "b"]}
)
RESULT = Message("execute_result", {"data": {"text/plain": "42"}, "metadata": {}})


def translated(*events: Event | Message, **options: Any) -> list[Outgoing]:
    translator = Translator(7, **options)
    return [message for event in events for message in translator.translate(event)]


def recorded(code: str, sample: str = "exceptions") -> list[Event]:
    """Return the events of a recorded cell of a server of 26.4."""
    cells = json.loads((SAMPLES / f"{sample}.json").read_text())
    answer = next(cell["result"] for cell in cells if cell["code"].startswith(code))
    state = RunState("session", "run", "query", code, is_sent=True)
    return state.receive(msgspec.convert(answer, RunAnswer))


def test_text_goes_to_its_stream():
    assert translated(Text("stdout", "a\n"), Text("stderr", "b\n")) == [
        ("stream", {"name": "stdout", "text": "a\n"}),
        ("stream", {"name": "stderr", "text": "b\n"}),
    ]


def test_an_image_of_the_servers_own_is_a_display():
    assert translated(Media("image/png", "iVBOR")) == [
        ("display_data", {"data": {"image/png": "iVBOR"}, "metadata": {}, "transient": {}})
    ]


def test_a_result_bears_the_number_of_the_notebooks_cell():
    [(kind, content)] = translated(RESULT)

    assert kind == "execute_result"
    assert content == {"data": {"text/plain": "42"}, "metadata": {}, "execution_count": 7}


def test_a_silent_cell_shows_no_result_but_what_it_prints():
    messages = translated(RESULT, Text("stdout", "a"), silent=True)

    assert messages == [("stream", {"name": "stdout", "text": "a"})]


@pytest.mark.parametrize("kind", ["display_data", "update_display_data"])
def test_a_display_keeps_its_whole_bundle_and_its_id(kind):
    data = {"text/plain": "t", "text/html": "<b>t</b>", "application/json": {"a": [1]}}
    content = {"data": data, "metadata": {"text/html": {"w": 1}}, "transient": {"display_id": "d"}}

    assert translated(Message(kind, content)) == [(kind, content)]


def test_mime_keys_stay_as_the_code_has_them():
    content = {"data": {"text/html; charset=utf-8": "<b>", "text/plain": "t"}}
    [(_, shown)] = translated(Message("display_data", content))

    assert shown["data"] == content["data"]


@pytest.mark.parametrize("content", [{}, {"data": None}, {"data": "text"}])
def test_a_display_without_a_bundle_is_an_empty_one(content):
    [(_, shown)] = translated(Message("display_data", content))

    assert shown == {"data": {}, "metadata": {}, "transient": {}}


def test_an_error_is_shown_and_remembered_as_the_failure():
    translator = Translator(1)
    [(kind, content)] = translator.translate(ERROR)

    assert kind == "error"
    assert content == ERROR.content
    assert translator.failure is not None
    assert translator.failure.content == ERROR.content


def test_an_error_with_parts_missing_is_an_error_all_the_same():
    [(_, content)] = translated(Message("error", {"traceback": "not a list"}))

    assert content == {"ename": "Error", "evalue": "", "traceback": []}


@pytest.mark.parametrize("exit_code", [0, 1, None])
def test_envelopes_tell_of_an_error_whatever_the_exit_code(exit_code):
    translator = Translator(1)
    kinds = [kind for e in (ERROR, Finished(exit_code)) for kind, _ in translator.translate(e)]

    assert kinds == ["error"]
    assert translator.failure is not None
    assert translator.exit_code == exit_code


def test_a_traceback_that_the_code_prints_itself_is_text_where_envelopes_tell_of_errors():
    text = "Traceback (most recent call last)\nValueError: logged"
    translator = Translator(1)
    messages = [m for e in (Text("stderr", text), Finished(0)) for m in translator.translate(e)]

    assert messages == [("stream", {"name": "stderr", "text": text})]
    assert translator.failure is None


def test_a_failed_build_step_is_said_on_stderr():
    messages = translated(PhaseEnded(Phase.BUILD, 2), PhaseEnded(Phase.CLEAN, 0))

    assert messages == [("stream", {"name": "stderr", "text": "[build failed: 2]\n"})]


# -- without envelopes: the text of the traceback is all there is ---------------------------------


def plain(events: list[Event]) -> tuple[list[Outgoing], Translator]:
    translator = Translator(1, plain=True)
    return [m for event in events for m in translator.translate(event)], translator


def test_a_recorded_exception_is_an_error_and_not_a_stream():
    (kind, before), (last, error) = plain(recorded("print('before')"))[0]

    assert (kind, before) == ("stream", {"name": "stdout", "text": "before\n"})
    assert last == "error"
    assert (error["ename"], error["evalue"]) == ("ZeroDivisionError", "division by zero")
    assert "\x1b[" in error["traceback"][0]  # its colours are kept
    assert "division by zero" in error["traceback"][-1]


def test_a_recorded_syntax_error_is_an_error():
    messages, translator = plain(recorded("def f("))

    assert [kind for kind, _ in messages] == ["error"]
    assert translator.failure is not None
    assert (translator.failure.ename, translator.failure.evalue) == (
        "SyntaxError",
        "invalid syntax",
    )


def test_a_recorded_exit_is_an_error_after_what_ipython_says_of_it():
    messages, translator = plain(recorded("import sys; sys.exit(3)"))

    assert [kind for kind, _ in messages] == ["stream", "error"]
    assert translator.failure is not None
    assert (translator.failure.ename, translator.failure.evalue) == ("SystemExit", "3")


def test_a_recorded_cell_that_works_is_no_error():
    messages, translator = plain(recorded("print('still alive'"))

    assert messages == [("stream", {"name": "stdout", "text": "still alive 1\n"})]
    assert translator.failure is None


def test_a_server_that_always_says_zero_is_not_believed():
    events = [e for e in recorded("print('before')") if not isinstance(e, Finished)]
    _, translator = plain([*events, Finished(0)])

    assert translator.failure is not None
    assert translator.failure.ename == "ZeroDivisionError"


def test_a_traceback_that_is_followed_by_more_was_only_printed():
    traceback = next(e for e in recorded("print('before')") if "Zero" in getattr(e, "text", ""))
    messages, translator = plain([traceback, Text("stdout", "went on\n"), Finished(0)])

    assert [kind for kind, _ in messages] == ["stream", "stream"]
    assert translator.failure is None


@pytest.mark.parametrize(("exit_code", "kinds"), [(0, ["stream"]), (1, ["error"])])
def test_pythons_own_form_of_a_traceback_is_an_error_if_the_server_says_so(exit_code, kinds):
    text = "Traceback (most recent call last):\n  File 'a'\nValueError: x"
    messages, translator = plain([Text("stderr", text), Finished(exit_code)])

    assert [kind for kind, _ in messages] == kinds
    assert (translator.failure is not None) == bool(exit_code)


def test_stderr_that_is_no_traceback_is_shown_at_once():
    translator = Translator(1, plain=True)

    assert list(translator.translate(Text("stderr", "warning: slow\n"))) == [
        ("stream", {"name": "stderr", "text": "warning: slow\n"})
    ]


@pytest.mark.parametrize(
    ("text", "ename", "evalue"),
    [
        ("---\nKeyError: 'a'", "KeyError", "'a'"),
        ("---\nmodule.sub.MyError: two\nlines", "MyError", "two\nlines"),
        ("---\nKeyboardInterrupt: ", "KeyboardInterrupt", ""),
        ("---\nKeyboardInterrupt", "KeyboardInterrupt", ""),
        ("\x1b[31mValueError\x1b[39m: \x1b[1mx\x1b[0m", "ValueError", "x"),
        ("something else", "Error", "something else"),
    ],
)
def test_the_last_line_of_a_traceback_names_the_error(text, ename, evalue):
    failure = failure_from_text(text)

    assert (failure.ename, failure.evalue) == (ename, evalue)
    assert failure.traceback == text.split("\n")
