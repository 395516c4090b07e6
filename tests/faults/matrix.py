"""``make faults``: every kind of trouble in every kind of request, and what came of it.

Each pair is tried in a session of an embedded manager. It is *whole* when it succeeds with all that
is expected, once; *told* when it ends in one sentence that says so; anything else is *broken*. The
table is put into docs/reliability.md.

    python -m tests.faults.matrix docs/reliability.md
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import BackendError
from backendai_kernel.local.faults import Fault
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.protocol import calls
from backendai_kernel.protocol.envelope import Message
from backendai_kernel.protocol.run import Finished, InputRequest, Text
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session
from tests.conftest import ROOMY

LIMIT = 60.0  # seconds; more is a hang
HEAD = {"origin": "o", "count": 1, "options": {}}
BEGIN, END = "<!-- table -->\n", "<!-- end -->\n"
TROUBLE = {
    "closed before the server acted": ("drop", {}),
    "answer lost after the server acted": ("drop_after", {}),
    "answer cut in mid-body": ("cut", {}),
    "answer 1 s late": ("delay", {"seconds": 1.0}),
    "429 with Retry-After": ("status", {"code": 429, "retry_after": 0.2}),
    "500": ("status", {"code": 500}),
    "502": ("status", {"code": 502}),
    "503": ("status", {"code": 503}),
}

Strike = Callable[[str, str], Fault]
Operation = Callable[[LocalManager, ComputeSession, Strike], Awaitable[None]]


class Broken(AssertionError):
    """It neither succeeded nor said why not."""


async def _cell(
    session: ComputeSession, code: str, expected: str, at_text: Callable[[], object] = lambda: None
) -> None:
    said, is_over, is_armed = "", False, False
    async with session.cell(code, HEAD) as run:
        async for event in run:
            if isinstance(event, Text):
                said += event.text
            elif isinstance(event, InputRequest):
                at_text()
                run.give_input("Ada")
                continue
            is_over = isinstance(event, Finished)
            if said and not is_armed:
                is_armed = True
                at_text()
    if said != expected or not is_over:
        raise Broken(f"{said!r} in place of {expected!r}")


async def create(manager: LocalManager, session: ComputeSession, strike: Strike) -> None:
    before = {record.id for record in manager.registry.alive()}
    strike("POST", "/session")
    made = None
    try:
        made = await start_session(session.client, Request("python"), "other")
    finally:
        if made is not None:
            await made.destroy()
        async with asyncio.timeout(10):
            while {record.id for record in manager.registry.alive()} - before:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # an orphan would stay for ever


async def execute(manager: LocalManager, session: ComputeSession, strike: Strike) -> None:
    strike("POST", f"/session/{session.id}")
    await _cell(session, "print('a'); print('b')", "a\nb\n")


async def poll(manager: LocalManager, session: ComputeSession, strike: Strike) -> None:
    code = "import time\nfor n in range(12): print(n); time.sleep(0.1)"
    path = f"/session/{session.id}"
    expected = "".join(f"{n}\n" for n in range(12))
    await _cell(session, code, expected, lambda: strike("POST", path))


async def answer(manager: LocalManager, session: ComputeSession, strike: Strike) -> None:
    armed: list[Fault] = []
    path = f"/session/{session.id}"

    def once() -> None:
        if not armed:
            armed.append(strike("POST", path))

    await _cell(session, "print('hi', input('who? '))", "hi Ada\n", once)


async def interrupt(manager: LocalManager, session: ComputeSession, strike: Strike) -> None:
    strike("POST", "*/interrupt")
    await session.interrupt()


async def complete(manager: LocalManager, session: ComputeSession, strike: Strike) -> None:
    strike("POST", f"/session/{session.id}")
    value = None
    async with session.call("complete", code="pri", position=3) as run:
        async for event in run:
            if isinstance(event, Message) and event.kind == "result":
                value = event.content["value"]
    if not value or "print" not in value["matches"]:
        raise Broken(f"completed as {value!r}")


async def look(manager: LocalManager, session: ComputeSession, strike: Strike) -> None:
    strike("*", "/session/*")
    strike("*", "/admin/gql")
    if await session.look() is None:
        raise Broken("the session was not seen")


async def files(manager: LocalManager, session: ComputeSession, strike: Strike) -> None:
    strike("*", "*/files")
    await session.client.send(calls.list_files(session.id, "."))


async def end(manager: LocalManager, session: ComputeSession, strike: Strike) -> None:
    other = await start_session(session.client, Request("python"), "ends")
    strike("DELETE", "/session/*")
    try:
        await other.destroy()
    except BackendError:
        await other.destroy()
        raise


OPERATIONS: dict[str, Operation] = {
    "create": create,
    "execute": execute,
    "continue": poll,
    "input": answer,
    "interrupt": interrupt,
    "complete": complete,
    "ps": look,
    "files": files,
    "rm": end,
}


async def run(trouble: list[str], operations: list[str]) -> dict[tuple[str, str], str]:
    """Try pairs one after the other in one session; return what came of each."""
    found: dict[tuple[str, str], str] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with LocalManager(Path(folder), slots=ROOMY) as manager:
            config = Config.from_env(
                {},
                with_profile=False,
                endpoint=manager.url,
                access_key=manager.access_key,
                secret_key=manager.secret_key,
            )
            async with Client(config) as client:
                session = await start_session(client, Request("python"), "s1")
                for kind in trouble:
                    for name in operations:
                        found[kind, name] = await _outcome(manager, session, kind, name)
    return found


async def _outcome(manager: LocalManager, session: ComputeSession, kind: str, name: str) -> str:
    method, options = TROUBLE[kind]
    made: list[Fault] = []

    def strike(verb: str, path: str) -> Fault:
        fault: Fault = getattr(manager.faults, method)(method=verb, path=path, **options)
        made.append(fault)
        return fault

    try:
        async with asyncio.timeout(LIMIT):
            await OPERATIONS[name](manager, session, strike)
    except BackendError as exc:
        said = str(exc.args[0])
        outcome = "told" if said and "\n" not in said and "Traceback" not in said else "broken"
    except TimeoutError:
        outcome = "broken: it hung"
    except Broken as exc:
        outcome = f"broken: {exc}"
    else:
        outcome = "whole"
    manager.faults.clear()
    if not any(fault.hits for fault in made):
        return "broken: the trouble was not met"
    try:  # whatever happened, the session is there for the next cell
        await _cell(session, "print('ready')", "ready\n")
    except (BackendError, Broken) as exc:
        return f"broken: the next cell: {exc}"
    return outcome


def table(found: dict[tuple[str, str], str]) -> str:
    """Return a Markdown table: trouble by operation, and the counts below."""
    operations = list(dict.fromkeys(name for _, name in found))
    lines = [f"| trouble | {' | '.join(operations)} |", "|---" * (len(operations) + 1) + "|"]
    for kind in dict.fromkeys(kind for kind, _ in found):
        cells = [found[kind, name].partition(":")[0] for name in operations]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    counts = Counter(outcome.partition(":")[0] for outcome in found.values())
    summed = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    return "\n".join([*lines, "", f"{len(found)} pairs: {summed}.", ""])


def main() -> int:
    """Try all pairs, print the table and put it into a page; return 1 when one is broken."""
    found = asyncio.run(run(list(TROUBLE), list(OPERATIONS)))
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
