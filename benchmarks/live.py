"""What a running cell costs: requests a minute, and its first line; here and on a cluster."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from frontend import Frontend
from table import Row, told

SPENT = "%local get_ipython().kernel._lane.client.requests"
PRINTING = "import time\nfor i in range({}):\n    print(i, flush=True)\n    time.sleep(0.05)"
SILENT = "import time\ntime.sleep({})"
HELD = 2.0  # seconds that a server holds a poll: what plain polling costs
LINE = "import time\nprint('line', flush=True)\ntime.sleep(2.5)"


def live_rows(kernel: Frontend, where: str, seconds: float, rounds: range) -> Iterator[Row]:
    """Measure a kernel of ours.

    Args:
        where: The server, for the table.
        seconds: How long each cell runs.
    """
    delays = []
    for _ in rounds:
        began = time.monotonic()
        cell = kernel.run(LINE)
        delays.append(next(when for when, text in cell.texts if "line" in text) - began)
    middle = statistics.median(delays)
    yield Row(f"first line of a running cell, {where}, s", "", told(delays, 1, "s"), middle, 0.3)
    code = PRINTING.format(round(seconds / 0.05))
    rate, pictures = _rate(kernel, code)
    yield Row(f"requests a minute, printing, {where}", "", f"{rate:.0f}", rate, None)
    yield Row("… shown a second", "", f"{pictures:.1f}", pictures, 3, at_least=True)
    rate, _ = _rate(kernel, SILENT.format(seconds))
    plain = 60 / HELD
    yield Row(f"requests a minute, silent, {where}", f"{plain:g}", f"{rate:.0f}", rate, plain + 2)


def _rate(kernel: Frontend, code: str) -> tuple[float, float]:
    """Return a cell's requests a minute, and how many times a second it showed something."""
    before = _spent(kernel)
    cell = kernel.run(code)
    assert cell.status == "ok"
    return (_spent(kernel) - before) * 60 / cell.seconds, len(cell.texts) / cell.seconds


def _spent(kernel: Frontend) -> int:
    return int(kernel.run(SPENT).result)
