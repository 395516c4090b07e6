"""Output is joined where it comes fast, and keeps its order."""

from __future__ import annotations

import asyncio
import threading

from backendai_kernel.protocol.envelope import Message
from backendai_kernel.protocol.run import Text
from backendai_kernel.proxy.queue import OutputQueue, joined

DISPLAY = Message("display_data", {"data": {}})


def out(text: str) -> Text:
    return Text("stdout", text)


def test_neighbours_of_one_stream_are_joined_and_others_are_not():
    events = [out("a"), out("b"), Text("stderr", "c"), out("d"), DISPLAY, out("e"), out("f")]

    assert list(joined(events)) == [out("ab"), Text("stderr", "c"), out("d"), DISPLAY, out("ef")]


def test_a_message_stays_below_a_size_that_front_ends_can_take():
    events = [out("x" * 600_000)] * 5
    sizes = [len(event.text) for event in joined(events) if isinstance(event, Text)]

    assert sum(sizes) == 3_000_000
    assert max(sizes) < 2_000_000


async def test_a_flood_from_another_thread_comes_whole_in_few_messages():
    seen: list[str] = []
    done = asyncio.Event()

    def deliver(event: object) -> None:
        assert isinstance(event, Text)
        seen.append(event.text)
        if event.text.endswith("!"):
            done.set()

    queue = OutputQueue(asyncio.get_running_loop(), deliver)
    numbers = [f"{n}\n" for n in range(5000)]

    def flood() -> None:
        for text in numbers:
            queue.put(out(text))
        queue.put(out("!"))

    thread = threading.Thread(target=flood)
    thread.start()
    await done.wait()
    thread.join()

    assert "".join(seen) == "".join(numbers) + "!"
    assert len(seen) < 500


async def test_what_waits_is_handed_over_when_asked_for():
    seen: list[object] = []
    queue = OutputQueue(asyncio.get_running_loop(), seen.append)
    queue.put(out("a"))
    queue.put(DISPLAY)
    queue.flush()

    assert seen == [out("a"), DISPLAY]
