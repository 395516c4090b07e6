"""A relay of TCP without any websocket: the least that a relay in Python costs.

``python plainrelay.py PORT`` prints the port at which it listens.
"""

from __future__ import annotations

import asyncio
import sys

PIECE = 2**18


class End(asyncio.BufferedProtocol):
    """One end; what it reads is written to the other."""

    buffer = memoryview(bytearray(PIECE))

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.other: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=2 * PIECE)
        if self.port:
            transport.pause_reading()
            self.opening = asyncio.ensure_future(self.open())

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        _, other = await loop.create_connection(End, "127.0.0.1", self.port)
        self.other, other.other = other, self
        self.transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.other.transport.write(self.buffer[:nbytes])
        if self.other.transport.get_write_buffer_size():
            type(self).buffer = End.buffer = memoryview(bytearray(PIECE))

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: End(int(sys.argv[1])), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
