"""The requests of the fault matrix: each asks for trouble, does its work and looks what came of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from backendai_kernel.apps import find_app
from backendai_kernel.download import read_file
from backendai_kernel.errors import BackendError, NotFound
from backendai_kernel.listing import Query, find_session, list_sessions
from backendai_kernel.protocol.envelope import Message
from backendai_kernel.protocol.run import Finished, InputRequest, Text
from backendai_kernel.session import ComputeSession
from backendai_kernel.sessionfiles import download, send
from backendai_kernel.start import Request, start_session
from backendai_kernel.tunnel import App, Bind, Tunnel
from backendai_kernel.upload import plan_upload

from .places import Place, is_there

HEAD = {"origin": "o", "count": 1, "options": {}}
SETTLED = 15.0  # seconds for what was ended to be gone
OLD, NEW = "old\n" * 1000, "new\n" * 20000

Operation = Callable[[Place], Awaitable[None]]


class Broken(AssertionError):
    """It neither succeeded nor said why not."""


class Told(Exception):
    """It failed, and said so in this sentence."""


async def cell(
    session: ComputeSession, code: str, expected: str, at_text: Callable[[], object] = lambda: None
) -> None:
    """Run a cell that is to print *expected*, once and whole; a question is answered with Ada."""
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


async def create(place: Place) -> None:
    before = await place.alive()
    place.strike("POST", "/session", "")
    made = None
    try:
        made = await start_session(place.client, Request("python"), "other")
        await cell(made, "print('a')", "a\n")
    finally:
        if made is not None:
            await _ended(made)
        async with asyncio.timeout(SETTLED):
            while (await _alive(place)) - before:  # noqa: ASYNC110 -- an orphan would stay for ever
                await asyncio.sleep(0.05)


async def _alive(place: Place) -> set[str]:
    try:
        return await place.alive()
    except BackendError:
        return {"nobody can tell"}


async def _ended(session: ComputeSession) -> None:
    """End a session however often that takes: what is asked about is what came before."""
    async with asyncio.timeout(SETTLED):
        while True:
            try:
                await session.destroy()
            except BackendError:
                await asyncio.sleep(0.1)
            else:
                return


async def execute(place: Place) -> None:
    place.strike("POST", f"/session/{place.session.id}")
    await cell(place.session, "print('a'); print('b')", "a\nb\n")


async def poll(place: Place) -> None:
    code = "import time\nfor n in range(12): print(n); time.sleep(0.1)"
    expected = "".join(f"{n}\n" for n in range(12))
    path = f"/session/{place.session.id}"
    await cell(place.session, code, expected, lambda: place.strike("POST", path))


async def answer(place: Place) -> None:
    armed: list[bool] = []

    def once() -> None:
        if not armed:
            armed.append(True)
            place.strike("POST", f"/session/{place.session.id}")

    await cell(place.session, "print('hi', input('who? '))", "hi Ada\n", once)


async def interrupt(place: Place) -> None:
    place.strike("POST", "*/interrupt")
    await place.session.interrupt()


async def complete(place: Place) -> None:
    place.strike("POST", f"/session/{place.session.id}")
    value = None
    async with place.session.call("complete", code="pri", position=3) as run:
        async for event in run:
            if isinstance(event, Message) and event.kind == "result":
                value = event.content["value"]
    if not value or "print" not in value["matches"]:
        raise Broken(f"completed as {value!r}")


async def upload(place: Place) -> None:
    """A file is replaced; afterwards it is the old one or the new one, and never half."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.txt"
        session = await find_session(place.client, place.session.id)

        async def put(text: str) -> None:
            file.write_text(text)
            planned = plan_upload([str(file)], Path(folder), Path(folder))
            await send(place.client, session, planned, environ=place.environ)

        await put(OLD)
        place.strike("POST", "*/upload")
        failure = None
        try:
            await put(NEW)
        except BackendError as exc:
            failure = exc
        if await _is_back(place):
            there = (await read_file(place.client, session.id, "data.txt")).decode()
            if there not in ([NEW] if failure is None else [OLD, NEW]):
                raise Broken(f"{len(there)} of {len(NEW)} characters are there")
        if failure is not None:
            raise failure


async def fetch(place: Place) -> None:
    """A file is replaced here; afterwards it is the old one or the new one, and nothing else is."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "fetched.txt"
        here.write_text(OLD)
        await cell(place.session, f"open('fetched.txt', 'w').write({NEW!r}); print(1)", "1\n")
        session = await find_session(place.client, place.session.id)
        place.strike("*", "*/download")
        failure = None
        try:
            await download(
                place.client, session, ["fetched.txt"], Path(folder), environ=place.environ
            )
        except BackendError as exc:
            failure = exc
        if here.read_text() not in ([NEW] if failure is None else [OLD, NEW]):
            raise Broken("half a file is there")
        if others := [path.name for path in Path(folder).iterdir() if path != here]:
            raise Broken(f"{others} were left behind")
        if failure is not None:
            raise failure


async def tunnel(place: Place) -> None:
    """A connection to the session's SSH server brings its greeting; the port outlives the trouble."""
    session = await find_session(place.client, place.session.id)
    app = App(await find_app(place.client, session, "sshd"))
    notes: list[str] = []
    async with Tunnel(
        place.client, session, app, bind=Bind(port=0), on_note=notes.append
    ) as opened:
        place.strike("GET", "*/tcpproxy")
        if await _greeting(opened):
            return
        if not notes:
            raise Broken("the connection was closed without a word")
        if await _is_back(place) and not await _greeting(opened):
            raise Broken("the port does not work any more")
    raise Told(notes[0].partition("\n")[0])  # what follows is the next step


async def _greeting(opened: Tunnel) -> bytes:
    reader, writer = await asyncio.open_connection(*opened.address)
    try:
        return await reader.read(8)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def _is_back(place: Place) -> bool:
    """Wait for the trouble to be over; tell whether the session has lived through it."""
    await place.over()
    return await is_there(place)


async def ps(place: Place) -> None:
    place.strike("POST", "/admin/*")
    listed = await list_sessions(place.client, Query())
    is_listed = place.session.id in {session.id for session in listed.items}
    if not is_listed and await _is_back(place):
        raise Broken("the session was not listed")


async def remove(place: Place) -> None:
    other = await start_session(place.client, Request("python"), "ends")
    place.strike("DELETE", "/session/*", other.id)
    try:
        await other.destroy()
    except NotFound as exc:
        raise Broken("what is gone is no failure") from exc
    except BackendError:
        await _ended(other)
        raise
    finally:
        async with asyncio.timeout(SETTLED):
            while other.id in await _alive(place):  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.05)


OPERATIONS: dict[str, Operation] = {
    "create": create,
    "execute": execute,
    "continue": poll,
    "input": answer,
    "interrupt": interrupt,
    "complete": complete,
    "upload": upload,
    "download": fetch,
    "tunnel": tunnel,
    "ps": ps,
    "rm": remove,
}
"""The columns."""
