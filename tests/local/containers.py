"""Help for tests that run real containers."""

from __future__ import annotations

import asyncio
import itertools
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from backendai_kernel.local.agent import Container, ContainerSpec, start_container

FLUSH = 2.0
_ids = itertools.count()

EXECV = """\
import os, sys, threading, time
def again():
    time.sleep(0.3)  # the cell is over by then
    argv = open("/proc/self/cmdline", "rb").read().split(b"\\0")[:-1]
    fd = os.open("/dev/null", os.O_WRONLY); os.dup2(fd, 1); os.dup2(fd, 2)
    os.execv(sys.executable, argv)
x = 1
threading.Thread(target=again).start(); print(os.getpid())
"""


def spec(work: Path, **changed: Any) -> ContainerSpec:
    """Return what a small container is made from; its ids are its own."""
    work.mkdir(exist_ok=True)
    ours = str(uuid.uuid4())
    fields: dict[str, Any] = {
        "session_id": ours,
        "kernel_id": ours,
        "name": "s1",
        "image": "local/python:3",
        "access_key": "AKIAIOSFODNN7EXAMPLE",
        "work": work,
        "slots": {"cpu": Decimal(1), "mem": Decimal(2**30)},
        "environ": {},
        "bootstrap_script": None,
        "python": sys.executable,
    }
    return ContainerSpec(**{**fields, **changed})


@asynccontextmanager
async def running(work: Path, **changed: Any) -> AsyncIterator[Container]:
    """A container that is stopped at the end, whatever happens."""
    container = await start_container(spec(work, **changed))
    try:
        yield container
    finally:
        await container.stop()


async def ask(
    container: Container, mode: str, run_id: str | None, code: str = "", **options: Any
) -> dict[str, Any]:
    """One request, as over REST."""
    return await container.execute(mode, code, run_id, options, flush=FLUSH)


async def run(
    container: Container,
    code: str,
    *,
    mode: str = "query",
    typed: Iterable[str] = (),
    **options: Any,
) -> list[dict[str, Any]]:
    """Every answer of a run, polled to its end."""
    run_id = f"run{next(_ids)}"
    lines = iter(typed)
    answers = [await ask(container, mode, run_id, code, **options)]
    while answers[-1]["status"] != "finished":
        if answers[-1]["status"] == "waiting-input":
            answers.append(await ask(container, "input", run_id, next(lines)))
        else:
            answers.append(await ask(container, "continue", run_id))
    return answers


def text(answers: Iterable[dict[str, Any]], *streams: str) -> str:
    """What a run wrote to these streams; none named: to both."""
    wanted = streams or ("stdout", "stderr")
    items = [item for answer in answers for item in answer["console"]]
    return "".join(data for kind, data in items if kind in wanted)


async def started(request: asyncio.Task[Any], container: Container) -> None:
    """Return when the code of a request that was just made is executed."""
    first, _ = await asyncio.wait(
        {request, asyncio.ensure_future(container.running())},
        return_when=asyncio.FIRST_COMPLETED,
    )
    assert request not in first, "the run was over before it was seen to run"


async def until(fact: Callable[[], bool]) -> None:
    """Return when *fact* is true; it is about files or processes, which tell nobody."""
    async with asyncio.timeout(20):
        while not fact():  # noqa: ASYNC110 -- see above
            await asyncio.sleep(0.01)
