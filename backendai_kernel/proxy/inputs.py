"""``input()`` of the session, asked of the front end without blocking the kernel's loop.

ipykernel waits for the answer in a blocking loop; comms and interrupts then wait too. Here the
same message is sent and the stdin socket is looked at in turn with everything else.
"""

from __future__ import annotations

import asyncio
from typing import Any

import zmq

_LOOK = 0.02  # seconds between two looks at the socket: a person is typing


async def ask(kernel: Any, parent: Any, ident: Any, prompt: str, *, password: bool) -> str:
    """Return what the front end answers to an ``input_request``.

    Cancelling is safe; an answer that comes too late is thrown away before the next question.

    Args:
        kernel: The kernel whose stdin socket and message signer are used.
        parent: The request that the question belongs to.
        ident: The identity of the front end that sent it.
    """
    socket = kernel.stdin_socket
    _drop_stale(socket)
    content = {"prompt": prompt, "password": password}
    kernel.session.send(socket, "input_request", content, parent, ident=ident)
    while True:
        try:
            _, reply = kernel.session.recv(socket, zmq.NOBLOCK)
        except ValueError:
            reply = None  # not signed by this front end's key: not an answer
        if reply is not None:
            return str(reply["content"].get("value", ""))
        await asyncio.sleep(_LOOK)


def _drop_stale(socket: Any) -> None:
    while True:
        try:
            socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
