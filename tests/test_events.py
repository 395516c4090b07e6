"""Server-sent events, taken apart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from backendai_kernel.errors import ProtocolError
from backendai_kernel.events import SessionEvent, read_events

SAMPLES = Path(__file__).parent / "samples" / "events"


async def events_of(text: str) -> list[SessionEvent]:
    stream = asyncio.StreamReader()
    stream.feed_data(text.encode())
    stream.feed_eof()
    return [event async for event in read_events(stream)]


async def test_an_event_has_its_name_its_session_and_the_reason():
    data = {"sessionId": "11-22", "sessionName": "train", "reason": "user-requested", "x": 1}

    assert await events_of(f"event: session_terminated\r\ndata: {json.dumps(data)}\r\n\r\n") == [
        SessionEvent("session_terminated", "11-22", "train", "user-requested")
    ]


async def test_what_is_missing_is_empty():
    told = await events_of('event: session_started\ndata: {"reason": null}\n\nevent: a\n\n')

    assert told == [SessionEvent("session_started"), SessionEvent("a")]


async def test_comments_and_data_without_a_name_are_passed_over():
    assert await events_of(': ping\n\ndata: {"a": 1}\n\nretry: 5\n\n') == []


async def test_data_over_several_lines_is_one_object():
    [event] = await events_of('event: a\ndata: {"reason":\ndata: "b"}\n\n')

    assert event.reason == "b"


async def test_the_servers_goodbye_ends_the_stream():
    told = await events_of("event: a\ndata: {}\n\nevent: server_close\ndata:\n\nevent: b\n\n")

    assert [event.name for event in told] == ["a"]


async def test_an_event_that_is_cut_off_is_not_told():
    assert await events_of('event: session_terminated\ndata: {"reason": "x"}\n') == []


async def test_characters_cut_by_the_network_do_not_matter():
    stream = asyncio.StreamReader()
    for byte in 'event: a\ndata: {"sessionName": "日本"}\n\n'.encode():
        stream.feed_data(bytes([byte]))
    stream.feed_eof()

    assert [event.session_name async for event in read_events(stream)] == ["日本"]


@pytest.mark.parametrize("data", ["{", "[1]", "text"])
async def test_data_that_is_no_object_is_an_error_of_ours(data):
    with pytest.raises(ProtocolError, match="event"):
        await events_of(f"event: a\ndata: {data}\n\n")


async def test_a_recorded_life_of_a_session_is_understood():
    told = await events_of((SAMPLES / "life.txt").read_bytes().decode())

    names = [event.name for event in told]
    assert names.index("session_started") < names.index("session_terminated")
    assert len({event.session_id for event in told}) == 1
    assert next(e.reason for e in told if e.name == "session_terminating") == "user-requested"
