"""A TCP proxy that breaks connections on demand: between a kernel and whatever server there is."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit


class DroppingProxy:
    """Passes bytes on to a server, until it is told to lose some.

    Attributes:
        is_down: Connections are broken and refused: the network is gone.
        drops_answers: So many connections are broken when their answer comes.
        tls: What new connections are encrypted with; ``None``: they are not.
    """

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname, parts.port
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.StreamWriter] = set()
        self.is_down = False
        self.drops_answers = 0
        self.tls = tls

    async def __aenter__(self) -> DroppingProxy:
        await self._listen(0)
        return self

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self.tls)
        self._own_port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._own_port}"

    def cut(self) -> None:
        """Break every connection there is."""
        for writer in tuple(self._pairs):
            writer.transport.abort()

    async def down(self, seconds: float) -> None:
        """Be gone for a while."""
        self.is_down = True
        self.cut()
        await asyncio.sleep(seconds)
        self.is_down = False

    async def refuse(self, seconds: float) -> None:
        """Have nobody listen for a while."""
        self.close()
        await asyncio.sleep(seconds)
        await self._listen(self._own_port)

    async def show(self, tls: ssl.SSLContext) -> None:
        """Break every connection there is, and have others encrypted with something else."""
        self.close()
        self.tls = tls
        await self._listen(self._own_port)

    def close(self) -> None:
        """Break every connection there is, and listen no more."""
        assert self._server is not None
        self._server.close()
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_down:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        self._pairs |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, far_writer, is_answer=False))
                pumps.create_task(self._pump(far_reader, writer, is_answer=True))
        finally:
            self._pairs -= {writer, far_writer}
            writer.close()
            far_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if is_answer and self.drops_answers:
                    self.drops_answers -= 1
                    break
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # either end may be broken at any time, by us
        writer.transport.abort()
