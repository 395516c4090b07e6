"""The kernel: an IPythonKernel that sends its cells to a session.

What starts it must answer ``kernel_info`` at once, so nothing is imported here that ipykernel has
not imported anyway; the client comes with the first cell, or a moment after the kernel was greeted.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipykernel.ipkernel import IPythonKernel
from traitlets import List, Unicode

from .. import __version__
from ..errors import BackendError
from ..portal import Portal
from . import inputs
from .routing import Misplaced, route

if TYPE_CHECKING:
    from .cell import Cell
    from .lanes import QueryLane

_PREPARE_AFTER = 0.3  # seconds after kernel_info: the front end has its answer and draws
_SHUTDOWN_LIMIT = 2.0  # seconds: after 2.5 a server sends SIGTERM
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")

Reply = dict[str, Any]


class BackendKernel(IPythonKernel):
    """A Python kernel whose cells run in a Backend.AI compute session."""

    implementation = "backendai-kernel"
    implementation_version = __version__

    image = Unicode("python", help="Image of the session: full reference or alias.").tag(
        config=True
    )
    resources = List(
        Unicode(), help="Resources of the session, such as ['cpu=2', 'mem=4g', 'gpu=0.5']."
    ).tag(config=True)

    problem = Unicode("", help="Why no session can be had; every cell is answered with it.").tag(
        config=True
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._portal = Portal()
        self._lane: QueryLane | None = None
        self._cells: list[Cell] = []
        self._greeted = False
        self._lane_lock = threading.Lock()
        if self.shell is not None:
            self.shell.extension_manager.load_extension("bai")

    @property
    def banner(self) -> str:  # type: ignore[override]  # as ipykernel's own
        what = " ".join([self.image, *self.resources])
        return f"Backend.AI kernel {__version__}: cells run in a compute session ({what}).\n"

    @property
    def kernel_info(self) -> dict[str, Any]:
        info = dict(super().kernel_info)
        # A debugger would stop here, in the proxy, and not where the code runs.
        features = [f for f in info.get("supported_features", ()) if f != "debugger"]
        return {**info, "supported_features": features, "debugger": False}

    async def kernel_info_request(self, stream: Any, ident: Any, parent: Any) -> None:
        await _maybe(super().kernel_info_request(stream, ident, parent))
        if not self._greeted:
            self._greeted = True
            asyncio.get_running_loop().call_later(_PREPARE_AFTER, _import_client)

    # -- cells --------------------------------------------------------------------------------

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: dict[str, Any] | None = None,
        cell_id: str | None = None,
    ) -> Reply:
        """Run a cell where it belongs; see `routing`."""
        try:
            way = route(code)
        except Misplaced as exc:
            reply = self._fail("UsageError", str(exc))
            self._keep(code, silent, store_history)
            return reply
        if way.local:
            keep = store_history and not way.remote
            reply = await _maybe(
                super().do_execute(
                    way.local, silent, keep, user_expressions, allow_stdin, cell_id=cell_id
                )
            )
            if not way.remote or reply["status"] != "ok":
                return dict(reply)
            for stream in (sys.stdout, sys.stderr):  # they send late; the session's come at once
                stream.flush()
        if not way.remote.strip():
            return self._reply()
        return await self._execute_remote(way.remote, silent, store_history, allow_stdin)

    async def _execute_remote(
        self, code: str, silent: bool, store_history: bool, allow_stdin: bool
    ) -> Reply:
        from .cell import Cell

        if self.problem:
            return self._fail("ConfigError", self.problem)
        lane = self._the_lane()
        if silent and not lane.is_open:
            return self._reply()  # a front end looks around; that is no reason to start a session
        cell = Cell(
            self._portal, lane, self._sender(), self._asker() if allow_stdin else None, silent
        )
        self._cells.append(cell)
        try:
            with self._interruptible(cell):
                failure = await cell.run(code, self.execution_count)
        finally:
            self._cells.remove(cell)
        reply = self._reply()
        if failure is not None:
            reply |= {"status": "error", **failure.content}
        self._keep(code, silent, store_history)
        return reply

    def _keep(self, code: str, silent: bool, store_history: bool) -> None:
        """Put a cell that ran elsewhere into the history, and count it."""
        if store_history and not silent and self.shell is not None:
            self.shell.history_manager.store_inputs(self.shell.execution_count, code)
            self.shell.execution_count += 1

    def _reply(self) -> Reply:
        return {
            "status": "ok",
            "execution_count": self.execution_count,
            "user_expressions": {},
            "payload": [],
        }

    def _fail(self, ename: str, evalue: str) -> Reply:
        content = {"ename": ename, "evalue": evalue, "traceback": [f"{ename}: {evalue}"]}
        self._sender()("error", content)
        return {**self._reply(), "status": "error", **content}

    def _sender(self) -> Callable[[str, dict[str, Any]], None]:
        # The request is noted now: a comm message may become the kernel's parent meanwhile.
        parent = self.get_parent("shell")

        def send(kind: str, content: dict[str, Any]) -> None:
            assert self.session is not None
            self.session.send(
                self.iopub_socket, kind, content, parent=parent, ident=self._topic(kind)
            )

        return send

    def _asker(self) -> Callable[[str, bool], Awaitable[str]]:
        parent = self.get_parent("shell")
        ident = self._parent_ident["shell"]

        def ask(prompt: str, password: bool) -> Awaitable[str]:
            return inputs.ask(self, parent, ident, prompt, password=password)

        return ask

    # -- the session --------------------------------------------------------------------------

    def _the_lane(self) -> QueryLane:
        from .lanes import QueryLane, Wish

        with self._lane_lock:
            if self._lane is None:
                wish = Wish(self._session_name(), self.image, tuple(self.resources))
                self._lane = QueryLane(wish, os.environ, cwd=Path.cwd())
            return self._lane

    def describe_session(self) -> list[tuple[str, str]]:
        """Return what there is to say about the session: pairs of a label and a value."""
        lane = self._lane
        session = lane.session if lane is not None else None
        facts = [("Image", self.image), ("Resources", " ".join(self.resources) or "the image's")]
        if session is None:
            return [("Session", "none yet: the first cell starts it"), *facts]
        return [("Session", f"{session.name} ({session.id})"), *facts]

    def _session_name(self) -> str:
        """Return a name that stays over restarts of this kernel and is nobody else's.

        The connection file keeps its name while a kernel is restarted. Where that is not a UUID, as
        for ``jupyter console``, computer and folder go into the name as well.
        """
        path = Path(str(getattr(self.parent, "connection_file", "") or "kernel"))
        if match := _UUID.search(path.name):
            return f"nb-{match[0].replace('-', '')[:16]}"
        mark = f"{socket.gethostname()}\n{path.resolve()}"
        return f"nb-{hashlib.sha256(mark.encode()).hexdigest()[:16]}"

    # -- interrupt and end --------------------------------------------------------------------

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Interrupt the session's code; without any, what runs here."""
        if not self._cells:
            await _maybe(super().interrupt_request(stream, ident, parent))
            return
        self._interrupt()
        assert self.session is not None
        self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)

    def _interrupt(self) -> None:
        for cell in tuple(self._cells):
            cell.interrupt()

    @contextmanager
    def _interruptible(self, cell: Cell) -> Iterator[None]:
        # A SIGINT would raise in the loop and end this process (ipykernel's own kernels do).
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, lambda *_: cell.interrupt())
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def start(self) -> None:
        super().start()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._terminated)

    def _terminated(self, *_: object) -> None:
        # Somebody ends this process without asking: the session must not stay behind.
        try:
            self._close(restart=False)
        finally:
            os._exit(128 + signal.SIGTERM)

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        """End the session this kernel started; for a restart, keep it with a fresh interpreter."""
        await asyncio.get_running_loop().run_in_executor(None, self._close, restart)
        return dict(await _maybe(super().do_shutdown(restart)))

    def _was_left_a_session(self) -> bool:
        from .kept import KeptNote

        return bool(KeptNote(os.environ, self._session_name()).read())

    def _close(self, restart: bool) -> None:
        if not restart and self._lane is None and self._was_left_a_session():
            self._the_lane()
        with self._lane_lock:
            lane, self._lane = self._lane, None
        if lane is None:
            return
        for cell in tuple(self._cells):
            cell.abandon()
        closing = self._portal.start(lane.close(restart=restart))
        try:
            closing.result(_SHUTDOWN_LIMIT)
        except (BackendError, TimeoutError) as exc:
            self.log.warning("The session %s may still be there: %s", lane.wish.name, exc)
            return
        self._portal.close(1.0)

    # -- what the front end asks --------------------------------------------------------------

    async def do_complete(self, code: str, cursor_pos: int) -> dict[str, Any]:
        """Complete what runs here; names of the session are not known here."""
        if _is_local(code):
            return dict(await _maybe(super().do_complete(code, cursor_pos)))
        return {
            "status": "ok",
            "matches": [],
            "cursor_start": cursor_pos,
            "cursor_end": cursor_pos,
            "metadata": {},
        }

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        """Inspect what runs here; objects of the session are not here."""
        if _is_local(code):
            result = super().do_inspect(code, cursor_pos, detail_level, omit_sections)
            return dict(await _maybe(result))
        return {"status": "ok", "found": False, "data": {}, "metadata": {}}


def _is_local(code: str) -> bool:
    try:
        way = route(code)
    except Misplaced:
        return False
    return bool(way.local) and not way.remote


def _import_client() -> None:
    """Import the client in a thread, so that the first cell need not wait for it."""

    def work() -> None:
        from . import cell, lanes  # noqa: F401

        if "aiohttp" not in sys.modules:
            import aiohttp  # noqa: F401

    threading.Thread(target=work, name="backendai-import", daemon=True).start()


async def _maybe(result: Any) -> Any:
    """Await what is awaitable: ipykernel 6 and 7 differ in which of their methods are."""
    return await result if hasattr(result, "__await__") else result
