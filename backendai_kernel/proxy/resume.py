"""A cell that outlived its kernel: it is brought to its end, and its output into the journal."""

from __future__ import annotations

from ..errors import ConnectError
from ..journal import Journal
from ..protocol.run import InputRequest
from ..session import ComputeSession
from ..start import Left


async def resume(journal: Journal, session: ComputeSession, left: Left) -> None:
    """Bring the run that another kernel process left to its end; what it says is kept.

    A question is not answered: the cell that could is over in the front end, so the code is
    interrupted there.

    Raises:
        RunLost, ConnectError, APIError, ProtocolError: As `Run`.
    """
    entry = journal.last()
    head = entry.head if entry is not None else None
    if (
        entry is None
        or head is None
        or not head.key
        or entry.is_over
        or head.session_id != session.id
    ):
        await session.take_over(left.run_id, asks=left.asks)
        return
    journal.resume(entry)
    try:
        async with session.resume(left.run_id, head.key, head.nonce, entry.have) as run:
            run.on_answer = journal.answer
            async for event in run:
                if isinstance(event, InputRequest):
                    await run.interrupt()
    except ConnectError as exc:
        if exc.sent:
            raise  # else its code had never arrived
    finally:
        journal.close()
