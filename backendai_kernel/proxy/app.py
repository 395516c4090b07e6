"""The process of a kernel: ipykernel's own application, with room for a slow front end."""

from __future__ import annotations

from typing import Any

import zmq
from ipykernel.iostream import OutStream
from ipykernel.kernelapp import IPKernelApp
from traitlets import DottedObjectName

UNREAD = 100_000
"""Messages that wait for a front end; beyond ZeroMQ's own 1000 it would drop them."""


class QuietStream(OutStream):
    """A stream whose `flush` costs nothing when nothing was written since the last one.

    ipykernel flushes its streams before each reply, and waits for another thread to have done so.
    What a session says does not come through them.
    """

    _is_written = False

    def write(self, string: str) -> int | None:  # type: ignore[override]  # as its own
        written = super().write(string)
        self._is_written = True
        return written

    def flush(self) -> None:
        if self._is_written:
            self._is_written = False  # before: what is written meanwhile is flushed again
            super().flush()


class BackendKernelApp(IPKernelApp):
    """ipykernel's application, whose front ends may be slower than the session.

    A cell of the session is read as fast as the network brings it. ipykernel's own cells share the
    processor with what sends their output, and so are slower than most front ends.
    """

    outstream_class = DottedObjectName(f"{__name__}.QuietStream").tag(config=True)

    def init_iopub(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Make the socket; a limit that is set later holds for no connection of it."""
        context.sndhwm = UNREAD
        super().init_iopub(context)

    def initialize(self, argv: Any = None) -> None:
        """Set all up, and have what nobody will read not be logged at all.

        traitlets gives its handler the level that was asked for, and the logger the lowest: a
        record is made of each message on its way, to be thrown away. That is a twelfth of what a
        short cell costs here.
        """
        super().initialize(argv)
        self.log.setLevel(self.log_level)
