"""A cell that outlived its kernel: it is brought to its end, and its output into the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..anew import replace_interpreter
from ..errors import BackendError, ConnectError, RunLost
from ..journal import Entry, Journal
from ..protocol.run import InputRequest
from ..run import HELD_BY_ANOTHER
from ..session import ComputeSession
from ..start import Left
from .left import LeftCell

OnLeft = Callable[[Entry], LeftCell | None]

_HEEDING = 4.0  # seconds for the code of a kernel that was restarted to heed its interrupt


class StillRunning(BackendError):
    """Code of an earlier kernel process holds the session, and nobody can tell what it will do."""

    def __init__(self) -> None:
        super().__init__(
            "Code from before the kernel was started again still runs in the session, and takes no "
            "notice of interrupts.",
            hint="Run the cell again when it may have ended, or restart the kernel for a fresh "
            "interpreter.",
        )


async def resume(
    journal: Journal,
    session: ComputeSession,
    left: Left,
    on_left: OnLeft = lambda entry: None,
) -> None:
    """Bring the run that another kernel process left to its end; what it says is kept.

    After a restart its code is interrupted, and its interpreter replaced if it does not heed that.
    A question is not answered: the cell that could is over in the front end, so the code is
    interrupted there.

    Args:
        on_left: Told the cell, returns what shows the rest of its output, or ``None``.

    Raises:
        StillRunning: It cannot be told from the end of a run that nobody polls.
        RunLost, ConnectError, APIError, ProtocolError: As `Run`.
    """
    if not (left.key and left.nonce):  # nothing over there knows of it
        if await session.take_over(left.run_id, asks=left.asks):
            return
        if left.is_planned:
            raise RunLost(HELD_BY_ANOTHER)
        raise StillRunning
    entry = left_entry(journal, session.id, left)
    shown: LeftCell | None = None
    if entry is not None:
        journal.resume(entry)
        shown = None if left.is_planned else on_left(entry)
    have = entry.have if entry is not None else {}
    try:
        async with (
            asyncio.timeout(_HEEDING if left.is_planned else None),
            session.resume(left.run_id, left.key, left.nonce, have) as run,
        ):
            if entry is not None:
                run.on_answer = journal.answer
            if left.is_planned:
                await run.interrupt()
            elif shown is not None:
                run.on_contact = shown.publish
            async for event in run:
                if isinstance(event, InputRequest):
                    await run.interrupt()
                elif shown is not None:
                    shown.publish(event)
                    await shown.room()
    except TimeoutError:
        await replace_interpreter(session)
    except ConnectError as exc:
        if exc.sent:
            raise  # else its code had never arrived
    finally:
        journal.close()


def left_entry(journal: Journal, session_id: str, left: Left) -> Entry | None:
    """Return the cell that another kernel process left in the midst of it, if it was a cell."""
    entry = journal.last()
    if entry is None or entry.is_over or entry.head.session_id != session_id:
        return None
    return entry if left.key and entry.head.key == left.key else None
