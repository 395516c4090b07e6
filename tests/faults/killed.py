"""The rows of the fault matrix in which a kernel loses its process, or its Jupyter server.

A kernel that loses its server ends by itself. Each time a kernel with the same connection file
follows, as Jupyter starts one, and what was going on is looked for.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from backendai_kernel.local.manager import LocalManager
from tests.conftest import ROOMY
from tests.proxy.frontend import Cell, Notebook, environment_for, eventually, open_notebook

from .operations import NEW, OLD, Broken

KERNEL, SERVER = "kernel killed (`kill -9`)", "Jupyter server killed (`kill -9`)"
ROWS = (KERNEL, SERVER)
GONE_WITHIN = 20.0  # seconds: an orphaned kernel looks once a second
LINES = "import time\nfor number in range(20): print('line', number); time.sleep(0.05)\n"
EXPECTED = "".join(f"line {number}\n" for number in range(20))


@dataclass
class Bench:
    """A notebook, the manager of its session, and a way to kill."""

    notebook: Notebook
    manager: LocalManager

    @property
    def session(self) -> str:
        """The only session there is."""
        [record] = self.manager.registry.alive()
        return str(record.id)

    @property
    def name(self) -> str:
        return self.manager.session(self.session).name

    async def kill(self) -> None:
        """Kill what the front end started, and go on once the kernel is gone and started anew."""
        family = self.notebook.process.children(recursive=True)
        kernels = [each for each in family if "backendai_kernel" in each.cmdline()]
        self.notebook.process.kill()
        await self.notebook.manager.provisioner.wait()
        _, left = await asyncio.to_thread(psutil.wait_procs, kernels, GONE_WITHIN)
        if left:
            raise Broken("the kernel outlived its server")
        await self.notebook.restart()

    async def goes_on(self) -> None:
        """Fail unless the next cell finds its variable, in the same session."""
        cell = await self.notebook.run("kept")
        if cell.of("execute_result") == [] or cell.result != "'all of it'":
            raise Broken(f"the next cell: {cell}")

    def seen(self, path: str) -> int:
        return sum(request.path.endswith(path) for request in list(self.manager.requests))

    async def at_request(self, path: str, code: str) -> Cell:
        """Run a cell and return when the manager has seen its request."""
        before = self.seen(path)
        cell = self.notebook.send(code)
        await eventually(lambda: self.seen(path) > before or cell.reply, f"a request {path}")
        return cell


async def _replayed(bench: Bench, cell: Cell, expected: str) -> None:
    shown = await bench.notebook.run("%bai replay")
    if shown.stdout != expected:
        raise Broken(f"{shown.stdout!r} in place of {expected!r}")
    lines = cell.stdout.splitlines()
    if len(set(lines)) != len(lines):
        raise Broken(f"twice under its cell: {cell.stdout!r}")


async def create(bench: Bench) -> None:
    bench.notebook.send("print('a')")
    await eventually(bench.manager.registry.alive, "a session")
    await bench.kill()
    cell = await bench.notebook.run("kept = 'all of it'; print('b')")
    if cell.stdout != "b\n":
        raise Broken(f"the next cell: {cell}")


async def execute(bench: Bench) -> None:
    cell = await bench.notebook.started("print('a'); print('b')")
    await bench.kill()
    await _replayed(bench, cell, "a\nb\n")


async def poll(bench: Bench) -> None:
    cell = bench.notebook.send(LINES)
    await cell.until(lambda cell: "line 3\n" in cell.stdout)
    await bench.kill()
    await _replayed(bench, cell, EXPECTED)


async def answer(bench: Bench) -> None:
    cell = bench.notebook.send("input('who? ')")
    await cell.until(lambda cell: cell.questions)
    await bench.kill()


async def interrupt(bench: Bench) -> None:
    cell = await bench.notebook.started("import time\ntime.sleep(600)")
    await bench.notebook.interrupt()
    await bench.kill()
    waiting = bench.notebook.send("'next'")
    await waiting.until(lambda c: c.reply or any("this one waits" in card for card in c.cards))
    if not waiting.reply:  # it was killed before it could pass the interrupt on
        await bench.notebook.interrupt()
        await waiting.done()
    # What the kernel had received and not yet sent is not sent again, but it is in the journal.
    shown = await bench.notebook.run("%bai replay 2")
    if "KeyboardInterrupt" not in f"{cell.messages} {shown.messages}":
        raise Broken(f"no end is told: {cell} {shown}")


async def complete(bench: Bench) -> None:
    bench.notebook.client.complete("kep", 3)
    await bench.kill()
    await bench.goes_on()
    reply = await bench.notebook.ask("complete", "kep", 3)
    if reply["matches"] != ["kept"]:
        raise Broken(f"completed as {reply}")


async def upload(bench: Bench) -> None:
    file = bench.notebook.folder / "data.txt"
    line = f"%bai upload {bench.session} data.txt"
    file.write_text(OLD)
    await bench.notebook.run(line)
    file.write_text(NEW)
    await bench.at_request("/upload", line)
    await bench.kill()
    cell = await bench.notebook.run("print(open('data.txt').read())")
    if cell.stdout not in (OLD + "\n", NEW + "\n"):
        raise Broken(f"{len(cell.stdout)} of {len(NEW)} characters are there")


async def download(bench: Bench) -> None:
    await bench.notebook.run(f"n = open('data.txt', 'w').write({NEW!r})")
    folder = bench.notebook.folder / "to"
    folder.mkdir()
    file = folder / "data.txt"
    file.write_text(OLD)
    await bench.at_request("/download", f"%bai download {bench.session} data.txt --to to")
    await bench.kill()
    if file.read_text() not in (OLD, NEW):
        raise Broken("half a file is there")


async def tunnel(bench: Bench) -> None:
    cell = await bench.notebook.run(f"%bai app {bench.session} sshd -b 0")
    found = re.search(r"127\.0\.0\.1:(\d+)", str(cell.messages))
    if found is None:
        raise Broken(f"no port is told: {cell}")
    port = found[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    greeting = await reader.read(4)
    writer.close()
    if greeting != b"SSH-":
        raise Broken(f"the app said {greeting!r}")
    await bench.kill()
    async with asyncio.timeout(GONE_WITHIN):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", int(port))
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.1)


async def ps(bench: Bench) -> None:
    await bench.at_request("/admin/gql", "%bai ps")
    await bench.kill()
    if bench.name not in str((await bench.notebook.run("%bai ps")).messages):
        raise Broken("the session is not listed")


async def remove(bench: Bench) -> None:
    await bench.notebook.run("%bai start python --name other")
    other = bench.manager.session("other")
    bench.notebook.send("%bai rm other")
    await eventually(
        lambda: any(r.method == "DELETE" for r in list(bench.manager.requests)), "a request"
    )
    await bench.kill()
    await asyncio.wait_for(other.over.wait(), GONE_WITHIN)


OPERATIONS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "create": create,
    "execute": execute,
    "continue": poll,
    "input": answer,
    "interrupt": interrupt,
    "complete": complete,
    "upload": upload,
    "download": download,
    "tunnel": tunnel,
    "ps": ps,
    "rm": remove,
}


async def run(
    kind: str, operations: dict[str, Callable[[Bench], Awaitable[None]]] = OPERATIONS
) -> dict[tuple[str, str], str]:
    """Try one of `ROWS` with operations; return what came of each."""
    found = {}
    for name, operation in operations.items():
        found[kind, name] = await _outcome(kind, operation)
    return found


async def _outcome(kind: str, operation: Callable[[Bench], Awaitable[None]]) -> str:
    try:
        async with _bench(kind) as bench:
            if operation is not create:
                await bench.notebook.run("kept = 'all of it'")
            await operation(bench)
            await bench.goes_on()
            if len(list(bench.manager.registry.alive())) != 1:
                return "broken: a session was left behind"
    except AssertionError as exc:
        return f"broken: {exc}".replace("\n", " ")
    except TimeoutError:
        return "broken: it hung"
    return "whole"


@asynccontextmanager
async def _bench(kind: str) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="bai-") as name:
        folder = Path(name)
        module = "backendai_kernel" if kind == KERNEL else "tests.faults.parent"
        async with LocalManager(folder / "m", slots=ROOMY) as manager:
            async with open_notebook(
                folder, environment_for(manager, folder), module=module
            ) as notebook:
                yield Bench(notebook, manager)
            await eventually(lambda: not list(manager.registry.alive()), "every session has ended")
