"""``%bai ps`` in a new process and in one that has asked before, against the official command."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from table import Row, in_turn

QUEUED = 1000  # sessions that wait, for the long list

# In a new process with all that a kernel has imported: how long %load_ext takes, the first ps, and later ones; in seconds.
OURS = """
import json, sys, time
import ipykernel.ipkernel
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.history_manager.enabled = False
clock = time.perf_counter
def ps(words=""):
    began = clock()
    repr(shell.run_line_magic("bai", "ps " + words))
    return clock() - began
began = clock()
shell.extension_manager.load_extension("bai")
loaded = clock() - began
first = ps()
told = {"loaded": loaded, "cold": loaded + first, "warm": [ps() for _ in range(30)]}
connection = shell.magics_manager.registry["BaiMagics"].connection
def count(words):
    before = connection._client.requests
    ps(words)
    return connection._client.requests - before
told["requests"] = [count(words) for words in sys.argv[1:]]
shell.extension_manager.unload_extension("bai")
print(json.dumps(told))
"""

# Sessions that stay queued: each asks for all there is.
FILL = """
import asyncio, os, sys
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.start import Request, enqueue_session
from decimal import Decimal
async def main():
    async with Client(Config.from_env(os.environ, with_profile=False)) as client:
        request = Request("python", {"cpu": Decimal(4)})
        for number in range(int(sys.argv[1])):
            await enqueue_session(client, request, f"queued-{number:04}")
asyncio.run(main())
"""


def official_command() -> str | None:
    """Return the official executable, which cannot live in this environment."""
    return os.environ.get("BACKENDAI_CLI") or os.environ.get("REALBAI_CLI")


def ps_rows(
    environ: Mapping[str, str], folder: Path, rounds: int, official: str | None
) -> Iterator[Row]:
    """Measure in turn; without the official command its rows are left out."""

    def ours(*words: str) -> dict[str, list[float]]:
        done = subprocess.run(
            [sys.executable, "-c", OURS, *words],
            env=dict(environ),
            cwd=folder,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    subprocess.run([sys.executable, "-c", FILL, "20"], env=dict(environ), check=True)
    ours()  # what a first run leaves in the caches of the disk
    theirs, told = [], []
    for _ in range(rounds):
        if official is not None:
            began = time.perf_counter()
            subprocess.run(
                [official, "ps"], env=dict(environ), cwd=folder, check=True, capture_output=True
            )
            theirs.append(time.perf_counter() - began)
        told.append(ours())
    if official is not None:
        cold = [(mine["cold"], other) for mine, other in zip(told, theirs, strict=True)]
        yield _faster("first `%bai ps` with all imports", cold, 8)
        warm = [
            (statistics.median(mine["warm"]), other)
            for mine, other in zip(told, theirs, strict=True)
        ]
        yield _faster("`%bai ps` after that", warm, 150)
    loaded = statistics.median(each["loaded"] for each in told) * 1e3
    yield Row("`%load_ext bai`, ms", "", f"{loaded:.1f}", loaded, 20)
    subprocess.run([sys.executable, "-c", FILL, str(QUEUED)], env=dict(environ), check=True)
    short, long = ours("--limit 20", f"--limit {QUEUED}")["requests"]
    yield Row("requests for 20 sessions", "", str(short), short, 1)
    yield Row(f"requests for {QUEUED} sessions", "", str(long), long, QUEUED // 100)


def _faster(what: str, pairs: list[tuple[float, float]], target: float) -> Row:
    """Return a row whose ratio says how many times faster we are than the official command."""
    row = in_turn(what, pairs, 1e3, "ms", target, at_least=True)
    return Row(what, row.ours, row.direct, row.ratio, target, at_least=True)
