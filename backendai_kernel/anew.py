"""A fresh interpreter for a session whose code takes notice of nothing any more.

Interrupts may be ignored, and code that waits in compiled code never sees them. The container, its
files and its resources are kept.
"""

from __future__ import annotations

import asyncio

from .errors import RunLost, ServerError
from .protocol import calls, envelope
from .run import Run
from .session import ComputeSession

_LAST_POLL = 3.0  # seconds: a server holds one for 2
_LEAVING = 15.0  # seconds for an interpreter to notice that it is asked to go
_LOOK = 0.2  # seconds between two looks for whether it has begun to go
_PAUSE = 1.0  # seconds in which nothing is sent to an interpreter that is being replaced
_LIMIT = 60.0  # seconds for the new one to come up

_CANNOT = "The interpreter could not be replaced: its code lets nothing else run."
_HINT = (
    "Restart the kernel: the next cell then gets a new session, without the files of this one's "
    "work folder that lie in no virtual folder. Or wait for the code to end."
)


async def replace_interpreter(session: ComputeSession) -> None:
    """Give the session a fresh interpreter, also while its code runs and ignores interrupts.

    Servers up to 26.4.9 restart the container in place. Elsewhere a file asks the interpreter
    itself, in which a thread looks for it (`protocol.remote.watch`).

    Raises:
        RunLost: The code holds even that thread up, or no fresh interpreter came up.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    run = session.running
    if run is None:
        await session.restart()
        return
    before = session.hello.get("interpreter")
    if not await _restart_container(session, run):
        await _ask_from_outside(session)
    try:
        async with asyncio.timeout(_LIMIT):
            await session.prepare()
            while before is not None and session.hello.get("interpreter") == before:
                await asyncio.sleep(0.5)  # it is the old one still, on its way out
                await session.prepare()
    except TimeoutError:
        raise RunLost(
            "The session's interpreter did not come back after its restart.",
            hint="Run the cell again for a new session.",
        ) from None


async def _restart_container(session: ComputeSession, run: Run) -> bool:
    """Restart the container in place; false: this server does not do that."""
    session.may_send.clear()  # a poll that came behind it would open the run again, for ever
    try:
        await run.settle(_LAST_POLL)
        await session.client.send(calls.restart_session(session.id))
        run.forget()
    except ServerError as exc:
        if exc.status not in (501, 503) or exc.slug != "not-implemented":
            raise
        return False
    finally:
        session.may_send.set()
    async with session.turn:  # the run is let go
        return True


async def _ask_from_outside(session: ComputeSession) -> None:
    nonce = session.decoder.nonce
    if not nonce:  # it was never taught to look for a file
        raise RunLost(_CANNOT, hint=_HINT)

    async def write(text: str) -> None:
        part = calls.Part(envelope.RESTART_FILE, text.encode())
        await session.client.send(calls.upload_files(session.id, [part]))

    await write(nonce)
    try:
        async with asyncio.timeout(_LEAVING), session.turn:  # its last words are the end of the run
            # Or the code has ended by itself, and the interpreter has yet to see the file: what is
            # sent to it before it goes is lost.
            while not await _is_taken(session):  # noqa: ASYNC110 -- it is another computer
                await asyncio.sleep(_LOOK)
            await asyncio.sleep(_PAUSE)
    except TimeoutError:
        await write("")  # or it would be replaced when nobody expects it any more
        raise RunLost(_CANNOT, hint=_HINT) from None


async def _is_taken(session: ComputeSession) -> bool:
    """Tell whether the file is there no more: the interpreter goes at once."""
    found = await session.client.send(calls.list_files(session.id, "."))
    return not found.errors.strip() and f'"{envelope.RESTART_FILE}"' not in found.files
