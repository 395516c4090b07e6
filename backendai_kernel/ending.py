"""Sessions ended on request, several at once, and what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from .client import Client
from .errors import APIError, BackendError, NotFound
from .listing import find_session, owner_of
from .protocol import calls


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of one session that was to be ended.

    Attributes:
        word: By which it was named.
        outcome: ``ended``, ``cancelled`` (it had not started), or ``failed``.
        error: Why it could not be ended.
    """

    word: str
    name: str = ""
    session_id: str = ""
    outcome: str = "failed"
    error: BackendError | None = None


class NotAllEnded(BackendError):
    """Some of several sessions could not be ended; ``outcomes`` has them all."""

    def __init__(self, outcomes: Sequence[Ended]) -> None:
        failed = [f"{each.word}: {each.error.message}" for each in outcomes if each.error]
        done = [f"{each.name} ({each.outcome})" for each in outcomes if each.error is None]
        super().__init__(
            " ".join(failed),
            hint=f"The others are done: {', '.join(done)}." if done else "None was ended.",
        )
        self.outcomes = tuple(outcomes)


async def end_sessions(
    client: Client, words: Sequence[str], *, owner: str | None = None, forced: bool = False
) -> tuple[Ended, ...]:
    """End sessions, all at once; the answer comes when the server has begun to end them.

    Args:
        words: Names or ids; one that is named twice is ended once.
        forced: Also those that a server ends by force only, such as one in ERROR.

    Raises:
        NotAllEnded: Some could not be ended. With a single session, its own error.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    unique = list(dict.fromkeys(words))
    outcomes = await asyncio.gather(*(_end(client, word, owner, forced) for word in unique))
    if any(each.error for each in outcomes):
        if len(outcomes) == 1 and outcomes[0].error is not None:
            raise outcomes[0].error
        raise NotAllEnded(outcomes)
    return tuple(outcomes)


async def _end(client: Client, word: str, owner: str | None, forced: bool) -> Ended:
    try:
        found = await find_session(client, word, owner=owner, broken=True)
        answer = await client.send(
            calls.destroy_session(found.id, forced=forced, owner=await owner_of(client, found))
        )
    except BackendError as exc:
        return Ended(word, error=_explained(word, exc, forced))
    stats = answer.get("stats") if isinstance(answer, dict) else None
    told = stats.get("status") if isinstance(stats, dict) else None
    waited = found.status_name in ("PENDING", "SCHEDULED")
    outcome = "cancelled" if told == "cancelled" or (told is None and waited) else "ended"
    return Ended(word, found.name, found.id, outcome)


def _explained(word: str, error: BackendError, forced: bool) -> BackendError:
    """Return the error with the next step, where the server wants force (API reference 4.6)."""
    if isinstance(error, APIError) and error.status == 403 and not forced:
        error.hint = f"`%bai rm --forced {word}` ends it whatever it is doing."
    elif isinstance(error, NotFound) and not error.hint:
        error.hint = "`%bai ps` lists what there is."
    return error
