from __future__ import annotations

import ast
import base64
import json
import zlib
from importlib import resources
from pathlib import Path

import pytest

from backendai_kernel.protocol import envelope, remote
from backendai_kernel.protocol.envelope import Decoder, Message
from backendai_kernel.protocol.run import Event, Finished, Media, Text

NONCE = "0123456789abcdef" * 2


def parts_of(kind: str, content: object, *, number: int = 1, size: int = 10**9) -> list[Event]:
    """Return the records that a session's interpreter sends for one message."""
    data = json.dumps([kind, content, {}, "", []]).replace(">", "\\u003e").encode()
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return [
        record(piece, number=number, part=index, parts=len(pieces))
        for index, piece in enumerate(pieces)
    ]


def record(
    data: bytes,
    *,
    version: int = envelope.VERSION,
    nonce: str = NONCE,
    number: int = 1,
    part: int = 0,
    parts: int = 1,
    crc: int | None = None,
    text: str | None = None,
) -> Event:
    checksum = zlib.crc32(data) if crc is None else crc
    body = data.decode() if text is None else text
    head = f"<!--bai:{version}:{nonce}:{number}:{part}:{parts}:{checksum}:"
    return Media("image/svg+xml", f"{head}{body}-->")


DISPLAY = {"data": {"text/html": "<b>x</b>"}, "metadata": {}, "transient": {}}
GOOD = json.dumps(["display_data", DISPLAY, {}, "", []]).replace(">", "\\u003e").encode()


def test_a_message_of_one_part():
    (only,) = parts_of("display_data", DISPLAY)

    assert Decoder(NONCE).read(only) == Message("display_data", DISPLAY)


def test_a_message_of_many_parts_comes_with_the_last():
    content = {"data": {"text/plain": "ü" * 5000}}
    records = parts_of("execute_result", content, size=1000)
    decoder = Decoder(NONCE)
    read = [decoder.read(each) for each in records]

    assert len(records) > 5
    assert read[:-1] == [None] * (len(records) - 1)
    assert read[-1] == Message("execute_result", content)


def test_a_message_of_megabytes():
    content = {"data": {"image/png": "A" * 20_000_000}}
    decoder = Decoder(NONCE)
    last = [decoder.read(each) for each in parts_of("display_data", content, size=192 * 1024)][-1]

    assert last == Message("display_data", content)


def test_messages_in_turn_keep_their_order():
    decoder = Decoder(NONCE)
    events: list[Event] = [
        Text("stdout", "a"),
        *parts_of("display_data", DISPLAY, number=1),
        Text("stdout", "b"),
        *parts_of("error", {"ename": "E"}, number=2),
        Finished(1),
    ]
    read = [decoder.read(each) for each in events]

    assert read == [
        Text("stdout", "a"),
        Message("display_data", DISPLAY),
        Text("stdout", "b"),
        Message("error", {"ename": "E"}),
        Finished(1),
    ]


def test_parts_of_two_messages_that_are_mixed_find_together():
    first = parts_of("display_data", {"data": {"a": "1" * 50}}, number=1, size=40)
    second = parts_of("display_data", {"data": {"b": "2" * 50}}, number=2, size=40)
    decoder = Decoder(NONCE)
    mixed = [each for pair in zip(first, second, strict=True) for each in pair]
    read = [m for m in map(decoder.read, mixed) if m is not None]

    assert [m.content["data"] for m in read] == [{"a": "1" * 50}, {"b": "2" * 50}]


# -- what is none -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        Text("stdout", "<!--bai:1:x:1:0:1:0:-->"),
        Media("image/png", "iVBORw0KGgo"),
        Media("image/svg+xml", "<svg/>"),
        Media("image/svg+xml", "<!-- a comment -->"),
        Media("image/svg+xml", {"not": "text"}),
        Media("text/html", record(GOOD).data),
        Finished(0),
    ],
)
def test_what_is_no_envelope_passes(event):
    assert Decoder(NONCE).read(event) is event


def test_an_envelope_with_something_around_it_is_a_picture_like_others():
    (only,) = parts_of("display_data", DISPLAY)
    around = Media("image/svg+xml", f"<svg/>{only.data}")

    assert Decoder(NONCE).read(around) is around


def test_without_a_nonce_nothing_is_an_envelope():
    (only,) = parts_of("display_data", DISPLAY)

    assert Decoder().read(only) is only


@pytest.mark.parametrize(
    "forged",
    [
        record(GOOD, nonce="f" * 32),
        record(GOOD, nonce=NONCE[:-1]),
        record(GOOD, version=envelope.VERSION + 1),
        record(GOOD, crc=1),
        record(GOOD, part=1, parts=1),
        record(GOOD, part=0, parts=0),
        record(GOOD, part=0, parts=10**9),
        record(GOOD, text=GOOD.decode()[:-1]),  # cut short
        record(GOOD, text=GOOD.decode().replace("x", "ü")),
        record(b"[]"),
        record(b"no json"),
        record(b'"text"'),
        record(b"[1, 2]"),
        record(json.dumps(["shutdown_request", {}]).encode()),
        record(json.dumps(["display_data", "no object"]).encode()),
        record(json.dumps(["display_data", {}, "more"]).encode()),
        record(b'["\\ud800", {}]'),
        record(json.dumps([{"a": 1}, {}]).encode()),
        record(b"[" * 200_000),
    ],
)
def test_a_forged_or_damaged_envelope_is_dropped(forged):
    assert Decoder(NONCE).read(forged) is None


def test_a_lost_part_loses_its_message_and_no_other():
    records = parts_of("display_data", DISPLAY, number=1, size=20)
    decoder = Decoder(NONCE)
    read = [decoder.read(each) for each in (records[0], *records[2:])]
    (after,) = parts_of("display_data", DISPLAY, number=2)

    assert read == [None] * len(read)
    assert decoder.read(after) == Message("display_data", DISPLAY)
    assert decoder._parts == {}


def test_parts_in_the_wrong_order_are_no_message():
    records = parts_of("display_data", DISPLAY, size=20)
    decoder = Decoder(NONCE)

    assert [decoder.read(each) for each in reversed(records)] == [None] * len(records)


def test_a_part_that_comes_twice_is_no_message():
    first, *rest = parts_of("display_data", DISPLAY, size=20)
    decoder = Decoder(NONCE)

    assert [decoder.read(each) for each in (first, first, *rest)] == [None] * (len(rest) + 2)


# -- the code that is sent --------------------------------------------------------------------


def test_a_nonce_cannot_be_guessed():
    drawn = {envelope.draw_nonce() for _ in range(100)}

    assert len(drawn) == 100
    assert {len(nonce) for nonce in drawn} == {32}


def test_the_bootstrap_is_one_expression_and_has_the_nonce():
    code = envelope.bootstrap(NONCE)

    compile(code, "<bootstrap>", "eval")
    assert repr(NONCE) in code


@pytest.mark.parametrize("part", remote.PARTS)
def test_the_bootstrap_is_read_by_old_pythons(part):
    source = resources.files(remote).joinpath(f"{part}.py").read_text()

    ast.parse(source, feature_version=(3, 8))


def test_every_file_of_the_bootstrap_is_sent():
    files = {Path(file.name).stem for file in resources.files(remote).iterdir() if file.is_file()}

    assert files == {"__init__", *remote.PARTS}


# -- requests -------------------------------------------------------------------------------------


def test_a_request_is_one_line_before_the_code():
    [only] = envelope.requests(NONCE, {"count": 3}, "x\n")

    assert only == f'#%bai:{NONCE} {{"count": 3}}\nx\n'


def test_a_large_request_goes_in_parts_that_a_server_takes():
    code = "".join(chr(0x4E00 + i % 20000) for i in range(1_500_000))
    *parts, last = envelope.requests(NONCE, {"count": 3}, code)
    heads = [json.loads(part.split(" ", 1)[1]) for part in (*parts, last)]
    text = "".join(head["with"]["text"] for head in heads[:-1])

    assert all(len(json.dumps({"code": part})) < 900_000 for part in (*parts, last))
    assert {head["with"]["packet"] for head in heads[:-1]} == {heads[-1]["packet"]}
    assert json.loads(zlib.decompress(base64.b64decode(text))) == [{"count": 3}, code]
