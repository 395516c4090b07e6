"""The cheapest server of apps that there can be: what is measured before it is the tunnel.

``python cheap.py [CERTIFICATE KEY]`` prints a line of JSON with its ports and serves until its
standard input is closed: ``http`` (and ``https`` with a certificate) answer what a client needs to
open the app ``bench`` of the session ``bench``, ``tcp`` is the app itself without a server before it.
Bulk data is counted and dropped, and never unmasked.

The app reads nine bytes, a letter and a number N, and then

* ``U``: answers one byte, reads N bytes, answers one byte;
* ``D``: sends N bytes;
* ``E``: sends back whatever comes;
* ``L``: waits for a third of a second and sends N bytes, whether anything more comes or not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PIECE = 2**18  # as a manager sends it
ORDER = 9  # bytes
SESSION = {
    "id": "11111111-2222-3333-4444-555555555555",
    "session_id": "11111111-2222-3333-4444-555555555555",
    "name": "bench",
    "status": "RUNNING",
    "type": "INTERACTIVE",
}
ANSWERS: dict[str, Any] = {
    "/": {"version": "v9.20250722", "manager": "26.4.16"},
    "/stream/session/{}/apps": [{"name": "bench", "protocol": "tcp", "ports": [7000]}],
    "/admin/gql": {
        "data": {
            "compute_session_list": {"items": [SESSION], "total_count": 1},
            "compute_session": SESSION,
        }
    },
}
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def order(letter: str, number: int) -> bytes:
    """Return what the app is told."""
    return letter.encode() + number.to_bytes(ORDER - 1, "big")


class Plain:
    """The app's end of a plain connection."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        self._buffer = memoryview(bytearray(2**20))

    def read(self) -> bytes:
        return self.wire.recv(2**16)

    def skip(self, size: int) -> None:
        while size > 0:
            count = self.wire.recv_into(self._buffer, min(size, len(self._buffer)))
            if not count:
                raise EOFError
            size -= count

    def send(self, data: bytes) -> None:
        self.wire.sendall(data)


class Framed:
    """The app's end of a connection through a websocket: frames of a client, masked."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        self._file = wire.makefile("rb", buffering=2**16)
        self._plain = Plain(wire)
        self._left = 0
        self._key = b""

    def _head(self) -> None:
        while not self._left:
            first, second = self._exactly(2)
            size = second & 127
            if size >= 126:
                size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
            self._key = self._exactly(4)
            if first & 15 == 8:
                raise EOFError
            if first & 15 >= 8:
                self._exactly(size)
                if first & 15 == 9:
                    self.wire.sendall(b"\x8a\x00")  # a pong; nobody compares its words
            else:
                self._left = size

    def _exactly(self, size: int) -> bytes:
        found = self._file.read(size)
        if len(found) < size:
            raise EOFError
        return found

    def read(self) -> bytes:
        self._head()
        data, self._left = self._exactly(self._left), 0
        pattern = (self._key * (len(data) // 4 + 1))[: len(data)]
        mixed = int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")
        return mixed.to_bytes(len(data), "big")

    def skip(self, size: int) -> None:
        while size > 0:
            self._head()
            size -= self._left
            # What the file has read ahead, then straight from the socket.
            ahead = len(self._file.peek()) if self._left > 2**16 else self._left
            ahead = min(ahead, self._left)
            self._exactly(ahead)
            self._plain.skip(self._left - ahead)
            self._left = 0

    def send(self, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = bytes((0x82, size))
        elif size < 2**16:
            head = b"\x82\x7e" + size.to_bytes(2, "big")
        else:
            head = b"\x82\x7f" + size.to_bytes(8, "big")
        self.wire.sendall(head)
        self.wire.sendall(data)

    def end(self) -> None:
        self.wire.sendall(b"\x88\x02\x03\xe9")


def serve_app(end: Plain | Framed) -> None:
    """Do what the nine bytes say."""
    told = b""
    while len(told) < ORDER:
        came = end.read()
        if not came:
            return
        told += came
    letter, number = told[:1], int.from_bytes(told[1:ORDER], "big")
    if letter == b"U":
        end.send(b"+")
        end.skip(number)
        end.send(b"+")
    elif letter == b"E":
        data = told[ORDER:] or end.read()
        while data:
            end.send(data)
            data = end.read()
    elif letter in (b"D", b"L"):
        time.sleep(0.33 if letter == b"L" else 0)
        piece = bytes(PIECE)
        for _ in range(number // PIECE):
            end.send(piece)
        if letter == b"L" and isinstance(end, Framed):
            end.end()
            return
    end.read()  # the client ends it


def serve_http(wire: socket.socket, note: dict[str, int]) -> None:
    """Answer requests until one asks for a websocket."""
    while True:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = wire.recv(1)  # one at a time: what follows is for somebody else
            if not byte:
                return
            head += byte
        first, *lines = head.decode().split("\r\n")
        path = first.split()[1].partition("?")[0].rstrip("/") or "/"
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        wire_left = int(headers.get("content-length") or 0)
        while wire_left:
            wire_left -= len(wire.recv(wire_left))
        if path.endswith("/tcpproxy"):
            note["deflate"] += "permessage-deflate" in headers.get("sec-websocket-extensions", "")
            key = headers["sec-websocket-key"].encode()
            accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest()).decode()
            wire.sendall(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            )
            serve_app(Framed(wire))
            return
        if path == "/events/session":
            wire.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
            )
            wire.recv(1)  # it stays open until the client goes
            return
        known = "/stream/session/{}/apps" if path.endswith("/apps") else path
        body = json.dumps(note if path == "/_note" else ANSWERS.get(known, {})).encode()
        wire.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )


def listen(serve: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> int:
    """Serve each connection in a thread; return the port."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)

    def one(wire: socket.socket) -> None:
        try:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                wire = context.wrap_socket(wire, server_side=True)
            with wire:
                serve(wire)
        except (OSError, EOFError):
            pass  # the client has gone

    def forever() -> None:
        while True:
            wire, _ = listening.accept()
            threading.Thread(target=one, args=(wire,), daemon=True).start()

    threading.Thread(target=forever, daemon=True).start()
    return int(listening.getsockname()[1])


def main() -> None:
    note = {"deflate": 0}
    ports = {
        "tcp": listen(lambda wire: serve_app(Plain(wire))),
        "http": listen(lambda wire: serve_http(wire, note)),
    }
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        ports["https"] = listen(lambda wire: serve_http(wire, note), context)
    print(json.dumps(ports), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
