"""``make faults``: every kind of trouble in every kind of request, and what came of it.

Each pair is tried on an embedded manager. It is *whole* when it succeeds with all that is expected,
once; *told* when it ends in one sentence that says so; anything else is *broken*. The table is put
into docs/reliability.md.

    python -m tests.faults.matrix docs/reliability.md
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from backendai_kernel.errors import BackendError

from . import killed
from .operations import OPERATIONS, Broken, Told, cell
from .places import (
    Distrusted,
    ManagerKilled,
    NoName,
    Place,
    Refused,
    RunnerKilled,
    Unmet,
    WebsocketClosed,
    is_there,
    scripted,
)

LIMIT = 100.0  # seconds; more is a hang
BEGIN, END = "<!-- table -->\n", "<!-- end -->\n"
Row = Callable[[Path], Place]
Found = dict[tuple[str, str], str]

TROUBLE: tuple[Row, ...] = (
    Refused,
    NoName,
    Distrusted,
    scripted("closed before the server acted", "drop"),
    scripted("answer lost after the server acted", "drop_after"),
    scripted("answer cut in mid-body", "cut"),
    scripted("answer 30 s late", "delay", seconds=30.0),
    scripted("429 with Retry-After", "status", code=429, retry_after=0.2),
    scripted("500", "status", code=500),
    scripted("502", "status", code=502),
    scripted("503", "status", code=503),
    WebsocketClosed,
    ManagerKilled,
    RunnerKilled,
)
"""The rows whose requests go on in this process; those where a process is killed: `killed`."""


async def run(row: Row, operations: Iterable[str] = OPERATIONS) -> Found:
    """Try one kind of trouble with operations, one after the other; return what came of each."""
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        async with row(Path(folder)) as place:
            for name in operations:
                found[place.name, name] = await _outcome(place, name)
    return found


async def _outcome(place: Place, name: str) -> str:
    place.was_met = False
    try:
        async with asyncio.timeout(LIMIT):
            await OPERATIONS[name](place)
    except Unmet:
        return "none"
    except (BackendError, Told) as exc:
        said = str(exc.args[0])
        is_one = "\n" not in said and "Traceback" not in said
        outcome = f"told: {said}" if said and is_one else f"broken: said {said!r}"
    except TimeoutError:
        outcome = "broken: it hung"
    except Broken as exc:
        outcome = f"broken: {exc}"
    else:
        outcome = "whole"
    await place.over()
    if not place.was_met:
        return "broken: the trouble was not met"
    if not await is_there(place):
        await place.renew()
    try:  # whatever happened, there is a next cell
        async with asyncio.timeout(LIMIT):
            await cell(place.session, "print('ready')", "ready\n")
    except (BackendError, Broken, TimeoutError) as exc:
        return f"broken: the next cell: {exc!r}"
    if left := await place.alive() - {place.session.id}:
        return f"broken: {len(left)} sessions were left behind"
    return outcome


def table(found: Found) -> str:
    """Return a Markdown table: trouble by operation, and the counts below."""
    operations = list(dict.fromkeys(name for _, name in found))
    lines = [f"| trouble | {' | '.join(operations)} |", "|---" * (len(operations) + 1) + "|"]
    for kind in dict.fromkeys(kind for kind, _ in found):
        cells = [found[kind, name].partition(":")[0] for name in operations]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    counts = Counter(outcome.partition(":")[0] for outcome in found.values())
    no = counts.pop("none", 0)
    summed = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    said = f"{len(found) - no} pairs: {summed}. None: that request uses no websocket."
    return "\n".join([*lines, "", said, ""])


async def everything() -> Found:
    """Try all pairs."""
    found: Found = {}
    for row in (*TROUBLE, *killed.ROWS):
        began = time.monotonic()
        part = await (run(row) if row in TROUBLE else killed.run(row))
        found |= part
        for (kind, name), outcome in part.items():
            print(kind, name, outcome, sep=" | ", flush=True)
        print(f"{time.monotonic() - began:.0f} s\n", flush=True)
    return found


def main() -> int:
    """Try all pairs, print the table and put it into a page; return 1 when one is broken."""
    found = asyncio.run(everything())
    shown = table(found)
    print(shown)
    for pair, outcome in found.items():
        if outcome.startswith("broken"):
            print(*pair, outcome, sep=": ")
    for page in map(Path, sys.argv[1:]):
        text = page.read_text(encoding="utf-8")
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        page.write_text(before + BEGIN + shown + END + after, encoding="utf-8")
    return int(any(outcome.startswith("broken") for outcome in found.values()))


if __name__ == "__main__":
    sys.exit(main())
