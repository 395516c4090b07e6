"""A websocket's frames, as bytes."""

from __future__ import annotations

import os

import pytest

from backendai_kernel.errors import ProtocolError
from backendai_kernel.protocol import websocket
from backendai_kernel.protocol.websocket import FrameReader
from backendai_kernel.relay import _load_mask


def server_frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    size = len(payload)
    head = bytes([opcode | (0x80 if final else 0)])
    if size < 126:
        head += bytes([size])
    elif size < 2**16:
        head += bytes([126]) + size.to_bytes(2, "big")
    else:
        head += bytes([127]) + size.to_bytes(8, "big")
    return head + payload


def test_the_word_of_the_handshake_is_answered_as_the_standard_says():
    assert websocket.accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_no_handshake_offers_compression():
    said = websocket.handshake("/x", "host", {"Date": "now"}, "key")

    assert b"extensions" not in said.lower()
    assert said.endswith(b"Date: now\r\n\r\n")


@pytest.mark.parametrize("mask", [websocket.mask_slowly, _load_mask()], ids=["slow", "fast"])
@pytest.mark.parametrize("size", [0, 1, 3, 125, 126, 65535, 65536, 300_001])
def test_a_frame_is_masked_and_can_be_unmasked(size, mask):
    payload = os.urandom(size)
    frame = websocket.frame(websocket.BINARY, payload, mask)
    extra = 0 if size < 126 else 2 if size < 2**16 else 8
    key, masked = frame[2 + extra : 6 + extra], bytearray(frame[6 + extra :])
    mask(key, masked)

    assert frame[0] == 0x82
    assert frame[1] & 0x80
    assert masked == payload


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_frames_are_read_however_they_are_cut(step):
    payloads = [b"", b"a", b"b" * 126, b"c" * 70_000]
    said = b"".join(server_frame(websocket.BINARY, payload) for payload in payloads)
    said += server_frame(websocket.PING, b"there?")
    said += server_frame(websocket.BINARY, b"d", final=False)
    said += server_frame(websocket.CONTINUATION, b"e")
    said += server_frame(websocket.PONG, b"")
    said += server_frame(websocket.CLOSE, (1001).to_bytes(2, "big") + b"bye")
    reader = FrameReader()
    came: list[tuple[int, bytes]] = []
    for at in range(0, len(said), step):
        came += [(op, bytes(data)) for op, data in reader.feed(memoryview(said)[at : at + step])]
    data = b"".join(payload for opcode, payload in came if opcode == websocket.BINARY)
    others = [each for each in came if each[0] != websocket.BINARY]

    assert data == b"".join(payloads) + b"de"
    assert others == [
        (websocket.PING, b"there?"),
        (websocket.PONG, b""),
        (websocket.CLOSE, b"\x03\xe9bye"),
    ]
    assert websocket.closing_code(others[-1][1]) == 1001


@pytest.mark.parametrize(
    "said",
    [b"\xc2\x01x", b"\x82\x81abcdx", b"\x89\x7e\x01\x00", b"\x83\x00"],
    ids=["compressed", "masked", "large ping", "unknown"],
)
def test_what_a_server_may_not_send_is_refused(said):
    with pytest.raises(ProtocolError):
        list(FrameReader().feed(memoryview(said)))


def test_what_is_no_http_is_refused():
    with pytest.raises(ProtocolError):
        websocket.read_head(b"SSH-2.0-dropbear")
