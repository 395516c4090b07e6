"""A front end for the tests: a real kernel process, and what it answers to each cell."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from backendai_kernel.local.manager import LocalManager

ROOT = Path(__file__).parents[2]
LIMIT = 60.0  # seconds after which a test is lost; everything it waits for is a fact


@dataclass
class Cell:
    """One cell that was sent, and what has come of it so far.

    Attributes:
        messages: Type and content, in order; without ``status`` and ``execute_input``.
        questions: Contents of the ``input_request`` messages.
    """

    id: str
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    buffers: list[Any] = field(default_factory=list)
    is_busy: bool = False
    is_idle: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __str__(self) -> str:
        return f"{self.shown} after {self.cards[-1:]}, asked {self.questions}, said {self.reply}"

    def changed(self) -> None:
        self._changed.set()

    async def until(self, fact: Callable[[Cell], object], limit: float = LIMIT) -> Cell:
        """Return once *fact* holds; a message of the kernel makes it be looked at again."""
        try:
            async with asyncio.timeout(limit):
                while not fact(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"it never came: {self}") from None
        return self

    async def done(self, limit: float = LIMIT) -> Cell:
        """Return once the kernel has replied and is idle again."""
        return await self.until(lambda cell: cell.reply and cell.is_idle, limit)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [content for kind, content in self.messages if kind in kinds]

    @property
    def kinds(self) -> list[str]:
        """Types of the messages; of streams, their names; without cards of a start."""
        return [c["name"] if kind == "stream" else kind for kind, c in self.shown]

    @property
    def shown(self) -> list[tuple[str, dict[str, Any]]]:
        return [(kind, c) for kind, c in self.messages if not _is_card(c)]

    @property
    def cards(self) -> list[str]:
        """What the card of a start said, in order."""
        return [c["data"]["text/plain"] for _, c in self.messages if _is_card(c)]

    def stream(self, name: str) -> str:
        return "".join(c["text"] for c in self.of("stream") if c["name"] == name)

    @property
    def stdout(self) -> str:
        return self.stream("stdout")

    @property
    def stderr(self) -> str:
        return self.stream("stderr")

    @property
    def error(self) -> tuple[str, str]:
        """Name and value of the only error, which the reply names too."""
        errors = self.of("error")
        assert len(errors) == 1, f"not one error: {self.messages}, reply {self.reply}"
        [content] = errors
        assert self.reply["status"] == "error"
        assert (self.reply["ename"], self.reply["evalue"]) == (content["ename"], content["evalue"])
        return content["ename"], content["evalue"]

    @property
    def result(self) -> Any:
        [content] = self.of("execute_result")
        return content["data"]["text/plain"]

    @property
    def is_ok(self) -> bool:
        return self.reply.get("status") == "ok"


def _is_card(content: dict[str, Any]) -> bool:
    display_id = (content.get("transient") or {}).get("display_id", "")
    return str(display_id).startswith("backendai-")


class Notebook:
    """A kernel process and the one front end that talks to it."""

    def __init__(self, manager: AsyncKernelManager, folder: Path) -> None:
        self.manager = manager
        self.folder = folder
        self.client: AsyncKernelClient = manager.client()
        self._cells: dict[str, Cell] = {}
        self._readers: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        self.client.start_channels()
        await self.client.wait_for_ready(timeout=LIMIT)
        for read, take in (
            (self.client.get_iopub_msg, self._published),
            (self.client.get_shell_msg, self._replied),
            (self.client.get_stdin_msg, self._asked),
        ):
            self._readers.append(asyncio.create_task(self._read(read, take)))

    async def close(self) -> None:
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self._readers.clear()
        self.client.stop_channels()

    async def _read(self, read: Any, take: Callable[[Cell, dict[str, Any]], None]) -> None:
        while True:
            try:
                message = await read(timeout=1.0)
            except queue.Empty:
                continue
            parent = message["parent_header"]
            # The manager's channel for interrupts counts by itself, under the same session's name:
            # the id of an interrupt may be that of a cell.
            is_ours = parent.get("msg_type") not in ("interrupt_request", "shutdown_request")
            cell = self._cells.get(parent.get("msg_id", "")) if is_ours else None
            if cell is not None:
                take(cell, message)
                cell.changed()

    @staticmethod
    def _published(cell: Cell, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "status":
            cell.is_idle = content["execution_state"] == "idle"
            cell.is_busy = not cell.is_idle
        elif kind != "execute_input":
            cell.messages.append((kind, content))
            cell.buffers.extend(message["buffers"])

    @staticmethod
    def _replied(cell: Cell, message: dict[str, Any]) -> None:
        cell.reply = message["content"]

    @staticmethod
    def _asked(cell: Cell, message: dict[str, Any]) -> None:
        cell.questions.append(message["content"])

    def send(self, code: str, *, allow_stdin: bool = True, **options: Any) -> Cell:
        """Send a cell and return at once."""
        return self._watch(self.client.execute(code, allow_stdin=allow_stdin, **options))

    def _watch(self, message_id: str) -> Cell:
        cell = self._cells[message_id] = Cell(message_id)
        return cell

    async def ask(self, question: str, *args: Any, **options: Any) -> dict[str, Any]:
        """Ask what a method of the client asks, such as ``complete``; return the reply's content."""
        asked = self._watch(getattr(self.client, question)(*args, **options))
        return (await asked.until(lambda cell: cell.reply)).reply

    async def run(self, code: str, **options: Any) -> Cell:
        """Run a cell to its end."""
        return await self.send(code, **options).done()

    async def started(self, code: str, **options: Any) -> Cell:
        """Send a cell and return once its code runs in the session, which is on this computer.

        A file tells: printed text would come late, since a poll is held for 2 s.
        """
        sign = self.folder / f"begun-{os.urandom(4).hex()}"
        cell = self.send(f"open({str(sign)!r}, 'x').close()\n{code}", **options)
        await eventually(lambda: sign.exists() or cell.reply, "the code has begun")
        return cell

    async def request(self, request: str, **content: Any) -> Cell:
        """Send a request that is no cell, such as ``complete``; return once it is answered."""
        cell = Cell(getattr(self.client, request)(**content))
        self._cells[cell.id] = cell
        return await cell.until(lambda cell: cell.reply)

    async def tell(
        self,
        kind: str,
        content: dict[str, Any],
        buffers: list[bytes] | None = None,
        subshell: str | None = None,
    ) -> Cell:
        """Send a comm message, as a widget's view does; return once the kernel is idle again."""
        session = self.client.session
        message = session.msg(kind, content)
        message["header"]["subshell_id"] = subshell
        cell = Cell(message["header"]["msg_id"])
        self._cells[cell.id] = cell
        session.send(self.client.shell_channel.socket, message, buffers=buffers)
        return await cell.until(lambda cell: cell.is_idle)

    async def subshell(self) -> str:
        """Have a subshell, as JupyterLab has for comms; return its name. ipykernel 7 has them."""
        channel = self.client.control_channel
        channel.send(self.client.session.msg("create_subshell_request", {}))
        reply = await channel.get_msg(timeout=LIMIT)
        return str(reply["content"]["subshell_id"])

    def answer(self, text: str) -> None:
        """Type a line into the box of the last question."""
        self.client.input(text)

    async def interrupt(self) -> None:
        await self.manager.interrupt_kernel()

    async def interrupt_taken(self) -> None:
        """Interrupt, and return once the kernel has taken it: it answers a message of that kind."""
        await self.interrupt()
        if self.manager.kernel_spec.interrupt_mode == "message":
            socket = self.manager._control_socket
            assert await socket.poll(LIMIT * 1000), "the interrupt was not answered"
            await socket.recv_multipart()

    async def restart(self) -> None:
        """Restart the kernel, as the button does."""
        await self.close()
        await self.manager.restart_kernel()
        sent = self.client.session.message_count
        self.client = self.manager.client()
        # Or ids came again, and what a cell of before still says were taken for another's.
        self.client.session.message_count = max(sent, self.client.session.message_count)
        await self.open()

    async def is_alive(self) -> bool:
        return bool(await self.manager.is_alive())

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.manager.provisioner.pid)


@asynccontextmanager
async def open_notebook(
    folder: Path,
    environ: Mapping[str, str],
    *options: str,
    interrupt_mode: str = "message",
    module: str = "backendai_kernel",
    metadata: Mapping[str, Any] | None = None,
) -> AsyncIterator[Notebook]:
    """Start a kernel with *environ* and nothing else of ours in its environment; end it."""
    manager = AsyncKernelManager(
        connection_file=str(folder / f"kernel-{os.urandom(16).hex()}.json"),
        # Sockets in a folder of their own: no port can be taken by somebody else meanwhile.
        transport="ipc",
        ip=str(folder / f"k{os.urandom(3).hex()}"),
    )
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", module, "-f", "{connection_file}", *options],
        display_name="Backend.AI Python",
        language="python",
        interrupt_mode=interrupt_mode,
        metadata=dict(metadata or {}),
    )
    log = (folder / "kernel.log").open("ab")
    try:
        await manager.start_kernel(env=dict(environ), cwd=folder, stdout=log, stderr=log)
        notebook = Notebook(manager, folder)
        try:
            await notebook.open()
            yield notebook
        finally:
            await notebook.close()
            await manager.shutdown_kernel()
    finally:
        log.close()


def bare_environment(folder: Path) -> dict[str, str]:
    """Return our environment without settings of Backend.AI or Jupyter, with folders of its own."""
    strangers = ("BACKEND", "SORNA", "JUPYTER", "IPYTHON", "JPY", "PYTEST", "XDG")
    kept = {name: v for name, v in os.environ.items() if not name.startswith(strangers)}
    path = os.pathsep.join([str(ROOT), str(ROOT / "magics"), *_given("PYTHONPATH")])
    return kept | {
        "PYTHONPATH": path,
        "BACKENDAI_KERNEL_STATE": str(folder / "state"),
        "BACKENDAI_KERNEL_CONFIG": str(folder / "config.toml"),
        "IPYTHONDIR": str(folder / "ipython"),
    }


def _given(name: str) -> list[str]:
    return [value] if (value := os.environ.get(name)) else []


def environment_for(manager: LocalManager, folder: Path) -> dict[str, str]:
    """Return the environment of a kernel that uses *manager*."""
    return bare_environment(folder) | {
        "BACKEND_ENDPOINT": manager.url,
        "BACKEND_ENDPOINT_TYPE": "api",
        "BACKEND_ACCESS_KEY": manager.access_key,
        "BACKEND_SECRET_KEY": manager.secret_key,
    }


def spent(manager: LocalManager, since: int = 0) -> list[str]:
    """Return the requests since the *since*-th, each as ``METHOD /path`` without the session's id."""
    return [
        f"{request.method} {request.path.replace(_id_in(request.path), '{id}')}"
        for request in list(manager.requests)[since:]
    ]


def _id_in(path: str) -> str:
    part = path.split("/")[2] if path.startswith("/session/") else ""
    return part or "no id"


async def eventually(fact: Callable[[], object], what: str) -> None:
    """Return once *fact* holds, for facts that nobody announces."""
    try:
        async with asyncio.timeout(LIMIT):
            while not fact():  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it never came true: {what}") from None
