"""Every reader of what a server or a session sends: a value, or one sentence; never anything else."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
import tempfile
import time
import typing
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="the extra dev has it")

from hypothesis import given
from hypothesis import strategies as st

from backendai_kernel import answers, client, download, expiry, model, postmortem, usage
from backendai_kernel.clock import Clock
from backendai_kernel.config import Config
from backendai_kernel.errors import APIError, BackendError, ConfigError, ProtocolError
from backendai_kernel.events import read_events
from backendai_kernel.outputs import Translator
from backendai_kernel.protocol import calls, envelope, websocket
from backendai_kernel.protocol.calls import Call
from backendai_kernel.protocol.envelope import KINDS, Decoder, Message
from backendai_kernel.protocol.run import Media, RunState, Text
from backendai_kernel.proxy.names import from_names
from backendai_kernel.ratelimit import RateLimit
from backendai_kernel.slots import parse_slots
from backendai_kernel.unpack import link_of, unpack

from .hostile import JSON, TEXTS, body, changed, damaged, objects

NONCE = "ab" * 16
CONFIG = Config(endpoint="http://127.0.0.1:1", access_key="A", secret_key="S")
IDLE = {"session_lifetime": {"remaining": 3600, "remaining_time_type": "expire_after"}}
SESSION = {
    "id": "0" * 32,
    "name": "s",
    "status": "RUNNING",
    "status_data": '{"kernel": {"exit_code": 1}}',
    "created_at": "2026-01-01T00:00:00+00:00",
    "occupying_slots": '{"cpu": "1", "mem": "1073741824"}',
    "service_ports": '[{"name": "jupyter"}]',
    "idle_checks": json.dumps(IDLE),
    "containers": [{"id": "1", "status_data": "{}", "live_stat": "{}"}],
}
FOLDER = {"name": "f", "id": "0" * 32, "host": "h", "size": 1, "numFiles": 2, "used_bytes": 3}
RUN = {
    "status": "continued",
    "runId": "r",
    "exitCode": 0,
    "options": {"is_password": True},
    "console": [["stdout", "x"], ["media", ["image/png", "aaaa"]], ["html", "<b>"], ["log", ""]],
}
ASKED: list[tuple[Call[Any], Any]] = [
    (calls.get_version(), {"version": "v9.20250722", "manager": "26.4.16"}),
    (calls.execute("s", "r", "query", ""), {"result": RUN}),
    (calls.get_keypair(), {"keypair": {"user_id": "u", "access_key": "A", "is_active": True}}),
    (
        calls.list_sessions(limit=2),
        {"compute_session_list": {"items": [SESSION], "total_count": 1}},
    ),
    (calls.get_session_detail("0"), {"compute_session_list": {"items": [SESSION]}}),
    (calls.list_usage(limit=2), {"compute_session_list": {"items": [SESSION]}}),
    (calls.list_images(), {"images": [{"name": "n", "tag": "t", "labels": [{"key": "k"}]}]}),
    (calls.get_slot_types(), {"cpu": "count", "mem": "bytes"}),
    (
        calls.check_presets("default"),
        {
            "keypair_limits": {"cpu": "1"},
            "keypair_remaining": {"cpu": "Infinity"},
            "scaling_groups": {"g": {"using": {"cpu": "0"}}},
            "presets": [{"name": "p", "resource_slots": {"cpu": "1"}, "allocatable": True}],
        },
    ),
    (calls.list_scaling_groups("default"), {"scaling_groups": [{"name": "g"}]}),
    (calls.list_folders(), [FOLDER]),
    (calls.list_apps("0"), [{"name": "a", "protocol": "http", "ports": [80]}]),
    (calls.request_download("0", "x"), {"token": "t", "url": "http://127.0.0.1/"}),
    (calls.get_logs("0"), {"result": {"logs": "line"}}),
    (calls.list_files("0", "."), {"files": "[]", "errors": ""}),
    (calls.check_login(), {"authenticated": True, "data": {}}),
]


def told(read: Callable[[], Any], *errors: type[BackendError]) -> Any:
    """Return what a reader reads, or ``None`` after an error that is one sentence of ours."""
    try:
        return read()
    except (ProtocolError, *errors) as exc:
        assert 10 < len(exc.message) < 5000
        assert exc.message.strip()
        str(exc)
        return None


def looked_at(value: Any) -> None:
    """Use what views use of a value: what it computes when it is asked for it."""
    if isinstance(value, tuple | list):
        for each in value:
            looked_at(each)
        return
    for name in dir(type(value)):
        if not name.startswith("_") and isinstance(getattr(type(value), name), property):
            told(lambda name=name: repr(getattr(value, name)))
    for name in ("items", "containers", "service_ports"):
        if isinstance(inner := getattr(value, name, None), tuple):
            looked_at(inner)


@pytest.mark.parametrize(("call", "good"), ASKED, ids=lambda each: getattr(each, "what", ""))
def test_answers(call: Call[Any], good: Any) -> None:
    is_graphql = call.path.endswith("gql")

    @given(
        st.one_of(
            changed({"data": good} if is_graphql else good).map(body),
            objects("errors", "data", "result", "status").map(body),
            damaged(body(good)),
            st.binary(max_size=40),
            st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b"\xff", b""]),
        )
    )
    def read(said: bytes) -> None:
        value = told(lambda: answers.read(said, call), APIError)
        if value is not None:
            looked_at(value)
            if isinstance(value, model.RunAnswer):
                state = RunState("s", "r", "query", "", is_sent=True)
                told(lambda: state.receive(value))

    assert answers.read(body({"data": good} if is_graphql else good), call) is not None
    read()


@given(
    st.integers(300, 599),
    st.one_of(objects("type", "title", "msg", "data", "agent-details").map(body), st.binary()),
    st.dictionaries(st.sampled_from(["Retry-After", "Location"]), TEXTS, max_size=2),
)
def test_refusals(status: int, said: bytes, headers: dict[str, str]) -> None:
    error = answers.refusal(CONFIG, status, "Reason", headers, said, "Trying")

    assert 5 < len(error.message) < 5000
    wait = getattr(error, "retry_after", None)
    assert RateLimit().refused(wait) < 4000


@given(objects("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"), TEXTS)
def test_headers(headers: dict[str, Any], date: str) -> None:
    texts = {name: str(value) for name, value in headers.items()}
    rate, clock = RateLimit(), Clock()
    rate.observe(texts)
    clock.observe({"Date": date})
    clock.observe({"Date": "Fri, 31 Dec 9999 23:59:59 GMT"})

    assert 0 <= rate.gap() < 60
    assert clock.skew is None


@given(st.one_of(TEXTS, st.text("v0123456789.²", max_size=12)))
def test_versions(text: str) -> None:
    told(lambda: client._version(text))


@given(st.dictionaries(st.text(max_size=5), TEXTS, max_size=3))
def test_slots(answer: dict[str, str]) -> None:
    amounts = told(lambda: parse_slots(answer))

    assert amounts is None or all(len(format(amount, "f")) < 5100 for amount in amounts.values())


@given(changed(SESSION), TEXTS)
def test_what_is_found_out_after_an_end(session: Any, log: str) -> None:
    call = calls.get_session_detail("0")
    said = body({"data": {"compute_session_list": {"items": [session]}}})
    page = told(lambda: answers.read(said, call), APIError)
    found = postmortem.judge(page and page.items[0], log, when="now")

    assert found.sentence


@given(st.one_of(TEXTS, JSON.map(json.dumps), changed(IDLE).map(json.dumps)))
def test_idle_checks_and_figures(text: str) -> None:
    deadlines = expiry.read_deadlines(text)
    stats = usage._read(text)

    assert all(0 <= int(each.seconds) < 1e11 for each in deadlines)
    for name in stats:
        figure = usage._figure(stats, name, "current")
        assert figure is None or int(figure) is not None


# -- what a session says ----------------------------------------------------------------------


def sealed(message: Any, number: int = 1, part: str = "0", parts: str = "1") -> Media:
    text = json.dumps(message).replace(">", "\\u003e")
    check = zlib.crc32(text.encode())
    head = f"{envelope.VERSION}:{NONCE}:{number}:{part}:{parts}:{check}"
    return Media("image/svg+xml", f"<!--bai:{head}:{text}-->")


@given(
    st.sampled_from(sorted(KINDS)),
    st.one_of(
        objects("data", "metadata", "transient", "name", "text", "traceback", "ename", "wait"),
        objects("payload", "user_expressions", "error", "count", "execution_count", "evalue"),
        JSON,
    ),
    st.one_of(st.just({}), JSON),
    st.one_of(st.just([]), JSON),
)
def test_messages_in_envelopes(kind: str, content: Any, metadata: Any, buffers: Any) -> None:
    decoder, translator = Decoder(NONCE), Translator(1)
    message = decoder.read(sealed([kind, content, metadata, "origin", buffers]))
    sent = list(translator.translate(message)) if isinstance(message, Message) else []

    assert message is None or isinstance(message, Message)
    assert all(isinstance(out, dict) for _, out in sent)
    assert all(isinstance(out["text"], str) for name, out in sent if name == "stream")
    json.dumps([translator.payload, translator.user_expressions])


@given(st.one_of(st.binary().map(lambda b: b.decode("latin-1")), TEXTS, damaged(b"x").map(repr)))
def test_what_looks_like_an_envelope(text: str) -> None:
    decoder = Decoder(NONCE)
    for form in (text, f"<!--bai:{text}-->", f"<!--bai:4:{NONCE}:{text}:0:1:2:-->"):
        decoder.read(Media("image/svg+xml", form))
        decoder.read(Text("stdout", form))
    decoder.read(Media("image/svg+xml", None))

    assert decoder._parts == {}


@given(damaged(str(sealed(["display_data", {"data": {"a": "b"}}, {}, "", []]).data).encode()))
def test_a_damaged_envelope_is_dropped(data: bytes) -> None:
    event = Media("image/svg+xml", data.decode("utf-8", "replace"))
    read = Decoder(NONCE).read(event)

    assert read is None or read is event or isinstance(read, Message)


def test_messages_that_are_never_whole_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "_MOST_WAITING", 100_000)
    decoder = Decoder(NONCE)
    for number in range(1, 200):
        decoder.read(sealed("x" * 5000, number, "0", "2"))

    assert sum(len(each.body) for each in decoder._parts.values()) <= 100_000


REPLAY = {
    "is_known": True,
    "is_over": True,
    "items": [["stdout", "x"], ["rich", '["display_data", {}, {}, "", []]']],
    "at": {"stdout": 1, "stderr": 0, "rich": 1},
    "missing": {"stdout": 0},
    "last": 1,
    "serial": 1,
}


@given(st.one_of(changed(REPLAY), JSON))
def test_replays(value: Any) -> None:
    replay = envelope.replay_of(value)

    for event in replay.events if replay is not None else ():
        assert isinstance(event, Message) or isinstance(event.text, str)


@given(st.text(max_size=10), st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_completions_from_what_a_session_named(code: str, names: dict[str, Any]) -> None:
    assert isinstance(from_names(code, len(code), names)["matches"], list)


# -- streams ----------------------------------------------------------------------------------

EVENT = b'event: session_terminated\ndata: {"sessionId": "1", "sessionName": "s"}\n\n: ping\n\n'


@given(
    st.one_of(
        damaged(EVENT),
        JSON.map(lambda value: b"event: e\ndata: " + body(value).replace(b"\n", b"") + b"\n\n"),
        st.sampled_from([b"event: e\ndata: " + b"[" * 100_000 + b"\n\n", b"\xff\n\n", b"data"]),
    )
)
def test_events(said: bytes) -> None:
    async def read() -> None:
        stream = asyncio.StreamReader(limit=2**20)
        stream.feed_data(said)
        stream.feed_eof()
        async for event in read_events(typing.cast(Any, stream)):
            assert isinstance(event.name, str)

    told(lambda: asyncio.run(read()))


@given(
    st.one_of(
        st.binary(max_size=60), damaged(b"\x82\x05hello\x89\x00\x88\x02\x03\xe8\x82\x7e\x01\x00")
    )
)
def test_websocket_frames(said: bytes) -> None:
    reader = websocket.FrameReader()

    def read() -> int:
        pieces = (piece for at in said for piece in reader.feed(memoryview(bytes([at]))))
        return sum(len(payload) for _, payload in pieces)

    size = told(read)
    assert size is None or size <= len(said)


@given(st.one_of(st.binary(max_size=80), damaged(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket")))
def test_heads_of_answers(said: bytes) -> None:
    head = told(lambda: websocket.read_head(said))

    assert head is None or 100 <= head[0] <= 999


# -- files ------------------------------------------------------------------------------------


def archive(form: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as tar:
        for name in ("folder/a.txt", "n" * 90 + "/" + "n" * 60, "ü" * 30):
            member = tarfile.TarInfo(name)
            member.size = 5
            tar.addfile(member, io.BytesIO(b"hello"))
    return packed.getvalue()


ARCHIVES = [
    archive(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
]


@given(st.sampled_from(ARCHIVES).flatmap(damaged))
def test_archives(packed: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told(lambda: unpack(packed, folder / "to", limit=10**6), ConfigError)
        link_of(packed)

        assert [path for path in folder.iterdir() if path.name != "to"] == []


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_whose_sizes_are_negative_has_an_end(kind: bytes, tmp_path: Path) -> None:
    member = tarfile.TarInfo("a")
    member.type = kind
    head = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = b"\xff" * 8 + (-512 & 0xFFFFFFFF).to_bytes(4, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    began = time.monotonic()
    told(lambda: unpack(bytes(head) * 2 + bytes(1024), tmp_path), ConfigError)

    assert time.monotonic() - began < 10


PARTS = b"--b\r\nContent-Length: 5\r\n\r\nhello\r\n--b\r\n\r\nworld\r\n--b--\r\n"


@given(
    st.one_of(
        TEXTS, st.just("multipart/mixed; boundary=b"), st.just('multipart/x; boundary="\udcff"')
    ),
    st.one_of(damaged(PARTS), st.binary(max_size=60)),
)
def test_parts_of_downloads(kind: str, said: bytes) -> None:
    parts = told(lambda: list(download.read_parts(kind, said)))

    assert parts is None or sum(map(len, parts)) <= len(said)
