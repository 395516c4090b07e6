"""Pictures, display updates, widgets and completion: what goes over the query API as envelopes.

*Direct* is a plain ipykernel, *whole* ours before the embedded manager, as in `run.py`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from frontend import Frontend
from table import Row, in_turn

PICTURE = 5_000_000  # bytes of a PNG; a third more as base64
UPDATES = 10_000
DISPLAYS = 1000  # for the cost of one
PLAIN_SIZE = len('{"data": {"text/plain": "x"}, "metadata": {}, "transient": {}}')

SETUP = f"""
import os, time, ipywidgets
from IPython.display import Image, display
picture = b"\\x89PNG\\r\\n\\x1a\\n" + os.urandom({PICTURE})
slider = ipywidgets.IntSlider(max=10**9)
slider.observe(lambda change: print("moved to", change.new, flush=True), "value")
"""
UPDATE = f"""
handle = display(0, display_id=True)
for number in range({UPDATES}):
    handle.update(number)
"""
COST = f"""
began = time.perf_counter()
for _ in range({DISPLAYS}):
    display({{"text/plain": "x"}}, raw=True)
print("cost", (time.perf_counter() - began) / {DISPLAYS})
"""
# What the server is sent for one display, in bytes.
SIZE = """
bai = get_ipython()._bai
sent, raw = [], bai.send_raw
def listening(stream, kind, content=None, **rest):
    if kind == "display_data":
        sent.append(len(content))
    return raw(stream, kind, content, **rest)
bai.send_raw = listening
display({"text/plain": "x"}, raw=True)
bai.send_raw = raw
print("size", sent[0])
"""


def rich_rows(pair: list[Frontend], rounds: range, trips: range) -> Iterator[Row]:
    """Measure a plain kernel and ours, in turn.

    Args:
        rounds: For what takes a second.
        trips: For what takes milliseconds.
    """
    for kernel in pair:
        assert kernel.run(SETUP).status == "ok"
    yield in_turn(
        "5 MB PNG, whole", [_timed(pair, "display(Image(picture))") for _ in rounds], 1e3, "ms", 2
    )
    yield in_turn(
        f"{UPDATES} `update_display_data`", [_updates(pair) for _ in rounds], 1, "s", None
    )
    costs = [[_number(kernel, COST, "cost") for kernel in pair] for _ in rounds]
    yield in_turn("one `display` in the session", costs, 1e6, "µs", None)
    size = _number(pair[1], SIZE, "size")
    yield Row(
        "… its message's content, bytes", str(PLAIN_SIZE), f"{size:g}", size / PLAIN_SIZE, None
    )
    yield in_turn("slider to its callback's output", list(_moves(pair, trips)), 1e3, "ms", None)
    yield from _completion(pair, trips)


def _timed(pair: list[Frontend], code: str) -> list[float]:
    taken = []
    for kernel in pair:
        cell = kernel.run(code)
        assert cell.kinds.count("display_data") == 1
        taken.append(cell.seconds)
    return taken


def _updates(pair: list[Frontend]) -> list[float]:
    taken = []
    for kernel in pair:
        cell = kernel.run(UPDATE)
        assert cell.kinds.count("update_display_data") == UPDATES
        taken.append(cell.seconds)
    return taken


def _number(kernel: Frontend, code: str, word: str) -> float:
    [text] = [text for text in kernel.run(code).text.splitlines() if text.startswith(word)]
    return float(text.split()[1])


def _moves(pair: list[Frontend], trips: range) -> Iterator[list[float]]:
    """Yield seconds from a slider's message to what its callback prints."""
    comms = [kernel.run("print(slider.comm.comm_id)").text.strip() for kernel in pair]
    for number in trips:
        taken = []
        for kernel, comm_id in zip(pair, comms, strict=True):
            data = {"method": "update", "state": {"value": number + 1}, "buffer_paths": []}
            began = time.monotonic()
            cell = kernel.tell("comm_msg", {"comm_id": comm_id, "data": data})
            [came] = [when for when, text in cell.texts if f"moved to {number + 1}" in text]
            taken.append(came - began)
        yield taken


def _completion(pair: list[Frontend], trips: range) -> Iterator[Row]:
    """Compare completions, the first of each kernel left out."""
    request = {"code": "picture.dec", "cursor_pos": 11}
    taken = []
    for number in trips:
        seconds = []
        for kernel in pair:
            began = time.monotonic()
            reply = kernel.ask("complete_request", request)
            assert reply["matches"], reply
            seconds.append(time.monotonic() - began)
        if number:
            taken.append(seconds)
    yield in_turn("completion, whole", taken, 1e3, "ms", None)
    over = statistics.median(ours - theirs for theirs, ours in taken) * 1e3
    yield Row("… over plain, ms", "", f"{over:.1f}", over, 30)
