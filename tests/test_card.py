"""The card of a session that starts: one display, updated in place."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from backendai_kernel.card import StartCard
from backendai_kernel.errors import QuotaExceeded
from backendai_kernel.start import Progress


class FrontEnd:
    """Takes a card's messages."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self._came = asyncio.Event()

    def send(self, kind: str, content: dict[str, Any]) -> None:
        self.messages.append((kind, content))
        self._came.set()

    async def shown(self, words: str) -> None:
        """Return once the card says *words*."""
        async with asyncio.timeout(10):
            while words not in self.text:
                self._came.clear()
                await self._came.wait()

    @property
    def text(self) -> str:
        return self.messages[-1][1]["data"]["text/plain"] if self.messages else ""

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.messages]


@pytest.fixture
def front_end():
    return FrontEnd()


def new_card(front_end):
    return StartCard(front_end.send, "python", ("cpu=2", "gpu=0.5"))


async def test_a_session_that_is_there_at_once_gives_one_card_that_is_ready(front_end):
    async with new_card(front_end) as card:
        card.progress(Progress("RUNNING"))
        card.ready("nb-1", "https://api.example.org", is_local=False)

    assert front_end.kinds == ["display_data"]
    assert "ready" in front_end.text
    assert "python cpu=2 gpu=0.5" in front_end.text
    assert "nb-1 on api.example.org" in front_end.text


async def test_a_card_follows_the_start_in_place(front_end):
    async with new_card(front_end) as card:
        await front_end.shown("queued (connecting)")
        card.progress(Progress("PENDING", note="The cluster is busy."))
        await front_end.shown("The cluster is busy.")
        card.progress(Progress("PULLING"))
        await front_end.shown("preparing (pulling)")
        card.ready("nb-1", "http://127.0.0.1:1", is_local=True)

    assert front_end.kinds[0] == "display_data"
    assert set(front_end.kinds[1:]) == {"update_display_data"}
    assert len({content["transient"]["display_id"] for _, content in front_end.messages}) == 1
    assert "nb-1 on this computer" in front_end.text


async def test_the_same_is_not_said_twice(front_end):
    async with new_card(front_end) as card:
        await front_end.shown("connecting")
        for _ in range(3):
            card.progress(Progress("PENDING"))
        await front_end.shown("pending")
        card.ready("nb-1", "http://x", is_local=False)

    texts = [content["data"]["text/plain"] for _, content in front_end.messages]
    assert all(one != two for one, two in itertools.pairwise(texts))


async def test_a_failed_start_ends_the_card_and_leaves_the_reason_to_the_error(front_end):
    with pytest.raises(QuotaExceeded):
        async with new_card(front_end):
            await front_end.shown("connecting")
            raise QuotaExceeded("The quota is used up.", status=412)

    assert front_end.text.startswith("✗ No session after")
    assert "quota" not in front_end.text


async def test_a_start_that_fails_before_the_card_was_shown_shows_none(front_end):
    with pytest.raises(QuotaExceeded):
        async with new_card(front_end):
            raise QuotaExceeded("The quota is used up.", status=412)

    assert front_end.messages == []


async def test_a_cancelled_start_says_that_nothing_was_left(front_end):
    async def start() -> None:
        async with new_card(front_end):
            await asyncio.Event().wait()

    starting = asyncio.create_task(start())
    await front_end.shown("connecting")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert "Start cancelled" in front_end.text
    assert "Nothing was left running." in front_end.text


async def test_nothing_is_shown_after_the_end(front_end):
    async with new_card(front_end) as card:
        await front_end.shown("connecting")
        ticking = card._ticking
        card.ready("nb-1", "http://x", is_local=False)
    before = len(front_end.messages)
    with pytest.raises(asyncio.CancelledError):
        await ticking

    assert len(front_end.messages) == before
