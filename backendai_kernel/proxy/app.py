"""The process of a kernel: ipykernel's own application, with room for a slow front end."""

from __future__ import annotations

import zmq
from ipykernel.kernelapp import IPKernelApp

UNREAD = 100_000
"""Messages that wait for a front end; beyond ZeroMQ's own 1000 it would drop them."""


class BackendKernelApp(IPKernelApp):
    """ipykernel's application, whose front ends may be slower than the session.

    A cell of the session is read as fast as the network brings it. ipykernel's own cells share the
    processor with what sends their output, and so are slower than most front ends.
    """

    def init_iopub(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Make the socket; a limit that is set later holds for no connection of it."""
        context.sndhwm = UNREAD
        super().init_iopub(context)
