"""The filter between an interpreter and the agent: API reference 10.1, line by line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backendai_kernel.local.outputs import exit_code_of, read_json, records_of


def shown(bundle: dict[str, Any]) -> list[tuple[str, bytes]]:
    return records_of("display_data", {"data": bundle})


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_streams_pass(name: str) -> None:
    assert records_of("stream", {"name": name, "text": "é"}) == [(name, "é".encode())]


def test_an_error_is_one_text_on_stderr() -> None:
    content = {"ename": "E", "evalue": "v", "traceback": ["\x1b[31m---", "E: v"]}

    assert records_of("error", content) == [("stderr", b"\x1b[31m---\nE: v")]


def test_a_lone_plain_text_is_stdout_without_a_newline() -> None:
    assert shown({"text/plain": "42"}) == [("stdout", b"42")]
    assert records_of("execute_result", {"data": {"text/plain": "42"}}) == [("stdout", b"42")]


@pytest.mark.parametrize("mime", ["image/png", "image/jpeg"])
def test_pictures_become_data_urls(mime: str) -> None:
    (kind, payload), *more = shown({"text/plain": "<Figure>", mime: "iVBO\n"})

    assert (kind, more) == ("media", [])
    assert json.loads(payload) == {"type": mime, "data": f"data:{mime};base64,iVBO\n"}


def test_a_drawing_keeps_its_markup() -> None:
    ((_, payload),) = shown({"image/svg+xml": "<svg/>", "text/plain": "p"})

    assert json.loads(payload) == {"type": "image/svg+xml", "data": "<svg/>"}


def test_html_goes_out_as_it_is() -> None:
    assert shown({"text/plain": "p", "text/html": "<b>"}) == [("media", b"<b>")]


def test_only_the_first_type_that_is_not_plain_text_counts() -> None:
    ((_, payload),) = shown({"text/plain": "p", "image/png": "x", "text/html": "<i>"})

    assert json.loads(payload)["type"] == "image/png"
    assert shown({"text/plain": "p", "text/markdown": "*", "image/png": "x"}) == []


@pytest.mark.parametrize(
    "mime",
    ["text/markdown", "text/latex", "application/json", "application/javascript", "x/custom"],
)
def test_other_types_vanish_and_take_the_plain_text_along(mime: str) -> None:
    assert shown({"text/plain": "p", mime: "data"}) == []


@pytest.mark.parametrize(
    "kind", ["update_display_data", "clear_output", "comm_open", "comm_msg", "status"]
)
def test_other_messages_vanish(kind: str) -> None:
    assert records_of(kind, {"data": {"text/plain": "p"}, "text": "t", "name": "stdout"}) == []


def test_an_empty_bundle_is_nothing() -> None:
    assert shown({}) == []


def test_a_plain_text_that_is_not_text_is_an_error() -> None:
    with pytest.raises(AttributeError):
        shown({"text/plain": 5})


@pytest.mark.parametrize(
    ("ename", "evalue", "code"),
    [
        ("ZeroDivisionError", "division by zero", 1),
        ("SystemExit", "3", 3),
        ("SystemExit", "", 0),
        ("SystemExit", None, 0),
        ("SystemExit", "text", 1),
        ("KeyboardInterrupt", "", 1),
    ],
)
def test_exit_codes(ename: str, evalue: str | None, code: int) -> None:
    assert exit_code_of({"ename": ename, "evalue": evalue}) == code


@pytest.mark.parametrize("value", ["iVBO" * 50_000, "\ud800" * 50_000, {"size": float("inf")}])
def test_a_drawing_of_any_size_is_said_as_json_has_it(value: Any) -> None:
    ((kind, payload),) = shown({"image/svg+xml": value})

    assert kind == "media"
    assert read_json(payload) == json.loads(payload) == {"type": "image/svg+xml", "data": value}


def test_a_large_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError):
        read_json("<b>" * 50_000)
