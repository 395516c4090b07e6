"""The kernel: an IPythonKernel that sends its cells to a session.

What starts it must answer ``kernel_info`` at once, so nothing is imported here that ipykernel has
not imported anyway; the client comes with the first cell, or a moment after the kernel was greeted.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from traitlets import Float, Unicode

from .. import __version__
from ..errors import BackendError
from . import inputs
from .life import shutdown_limit
from .packing import packed
from .requests import maybe
from .routing import Misplaced, route
from .sessions import SessionsKernel

if TYPE_CHECKING:
    from .cell import Cell


_PREPARE_AFTER = 0.3  # seconds after kernel_info: the front end has its answer and draws
_SWITCH_INTERVAL = 0.0005  # seconds
_EXIT_AFTER = 0.1  # seconds: the reply is out by then
_SAVE_AFTER = 1.0  # seconds after a cell: those that come meanwhile are saved with it

Reply = dict[str, Any]


class BackendKernel(SessionsKernel):
    """A Python kernel whose cells run in a Backend.AI compute session."""

    implementation = "backendai-kernel"
    implementation_version = __version__

    problem = Unicode("", help="Why no session can be had; every cell is answered with it.").tag(
        config=True
    )

    # ipykernel waits this long before each reply, for its own streams; ours are out by then.
    _execute_sleep = Float(0.0)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._cells: list[Cell] = []
        self._greeted = False
        self._runs_here = False
        self._interrupted_early = False
        self._saving: asyncio.TimerHandle | None = None
        self._handles = False  # a cell's request is being handled
        self._is_restarted = False  # another process will have the session
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
        await maybe(super().kernel_info_request(stream, ident, parent))
        if not self._greeted:
            self._greeted = True
            asyncio.get_running_loop().call_later(_PREPARE_AFTER, _prepare, self._take_up)

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
            self._runs_here = True
            try:
                reply = await maybe(
                    super().do_execute(
                        way.local, silent, keep, user_expressions, allow_stdin, cell_id=cell_id
                    )
                )
            finally:
                self._runs_here = False
            remote = way.remote or self._take_next_code()
            if not remote or reply["status"] != "ok":
                return dict(reply)
            for stream in (sys.stdout, sys.stderr):  # they send late; the session's come at once
                stream.flush()
        else:
            remote = way.remote
        if not remote.strip():
            return self._reply(is_counted=bool(way.local))
        options = {
            "silent": silent,
            "store_history": store_history,
            "user_expressions": user_expressions or {},
            "cell_id": cell_id,
            "allow_stdin": allow_stdin,
        }
        return await self._execute_remote(remote, options, allow_stdin)

    async def _execute_remote(self, code: str, options: dict[str, Any], allow_stdin: bool) -> Reply:
        from .cell import Cell
        from .relay import header_of

        silent = bool(options["silent"])
        if self.problem:
            reply = self._fail("ConfigError", self.problem)
            self._keep(code, silent, bool(options["store_history"]))
            return reply
        lane = self._the_lane()
        if silent and not lane.is_open:
            # A front end looks around; that is no reason to start a session.
            return self._reply(is_counted=False)
        cell = Cell(
            self._portal,
            lane,
            self._sender(),
            self._asker() if allow_stdin else None,
            silent,
            relay=self._relay.deliver,
            parent=header_of(self.get_parent("shell")),
        )
        head = {
            "origin": self._relay.remember(self.get_parent("shell")),
            "count": self.execution_count,
            "options": options,
        }
        self._cells.append(cell)
        try:
            if self._interrupted_early:
                cell.interrupt()
            outcome = await cell.run(code, head)
        except Exception as exc:  # the outermost edge: without a reply the cell would never end
            self.log.exception("A cell could not be run")
            name = type(exc).__name__
            return self._fail(name, f"The kernel itself failed ({exc}); its log says more.")
        finally:
            self._cells.remove(cell)
        is_counted = bool(options["store_history"]) and not silent
        reply = self._reply(is_counted=is_counted) | {
            "payload": outcome.payload,
            "user_expressions": outcome.user_expressions,
        }
        if cell.lost is not None:
            self._lost = (code, cell.lost)
        if outcome.failure is not None:
            reply |= {"status": "error", **outcome.failure.content, "user_expressions": {}}
        self._keep(code, silent, bool(options["store_history"]))
        if outcome.count is not None and self.shell is not None:
            reply["execution_count"] = outcome.count
            self.shell.execution_count = outcome.count + 1
        if any(p.get("source") == "ask_exit" and not p.get("keepkernel") for p in outcome.payload):
            asyncio.get_running_loop().call_later(_EXIT_AFTER, self._exit)
        return reply

    def _keep(self, code: str, silent: bool, store_history: bool) -> None:
        """Put a cell that ran elsewhere into the history, and count it."""
        if store_history and not silent and self.shell is not None:
            # After the reply, which need not wait for it, and before the next request.
            store = self._store
            asyncio.get_running_loop().call_soon(store, self.shell.execution_count, code)
            self.shell.execution_count += 1

    def _store(self, count: int, code: str) -> None:
        """Put a cell into the history; its file is written when several have come.

        IPython's thread would write it at once, beside the next cell: 0.9 ms of one of 6.
        """
        assert self.shell is not None
        history = self.shell.history_manager
        size, history.db_cache_size = history.db_cache_size, sys.maxsize
        try:
            history.store_inputs(count, code)
        finally:
            history.db_cache_size = size
        if self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(_SAVE_AFTER, self._save)

    def _save(self) -> None:
        self._saving = None
        flag = getattr(self.shell.history_manager, "save_flag", None) if self.shell else None
        if flag is not None:  # there is none without a file
            flag.set()

    def _reply(self, *, is_counted: bool = True) -> Reply:
        return {
            "status": "ok",
            # As ipykernel: that of the last cell that was counted.
            "execution_count": self.execution_count - (not is_counted),
            "user_expressions": {},
            "payload": [],
        }

    def _fail(self, ename: str, evalue: str) -> Reply:
        content = {"ename": ename, "evalue": evalue, "traceback": [f"{ename}: {evalue}"]}
        self._sender()("error", content)
        return {**self._reply(), "status": "error", **content}

    def _sender(self) -> Callable[[str, dict[str, Any]], None]:
        # The request is noted now: a comm message may become the kernel's parent meanwhile.
        return self._sender_for(self.get_parent("shell"))

    def _sender_for(self, parent: Any) -> Callable[[str, dict[str, Any]], None]:
        def send(kind: str, content: dict[str, Any]) -> None:
            assert self.session is not None
            self.session.send(
                self.iopub_socket,
                kind,
                packed(content),  # type: ignore[arg-type]  # bytes are taken as they are
                parent=parent,
                ident=self._topic(kind),
            )

        return send

    def _asker(self) -> Callable[[str, bool], Awaitable[str]]:
        parent = self.get_parent("shell")
        ident = self._parent_ident["shell"]

        def ask(prompt: str, password: bool) -> Awaitable[str]:
            return inputs.ask(self, parent, ident, prompt, password=password)

        return ask

    # -- interrupt and end --------------------------------------------------------------------

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Interrupt the session's code; without any, what runs here."""
        if self._runs_here and not self._cells:
            await maybe(super().interrupt_request(stream, ident, parent))
            return
        if self._cells:
            self._interrupt()
        elif self._handles:  # its code is about to begin
            self._interrupted_early = True
        elif self._lane is not None and (self._lane.is_open or self._lane.is_taking_up):
            try:
                await self._portal.run(self._lane.interrupt())
            except BackendError as exc:
                self.log.warning("The interrupt did not reach the session: %s", exc)
            if self._lane.is_left_running:
                self._say_stuck()
        assert self.session is not None
        self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)

    def _say_stuck(self) -> None:
        """Say under the last cell how its code is ended; there is none that could ask."""
        from ..protocol.run import Text
        from .cell import STUCK

        self._relay.deliver(Text("stderr", STUCK))

    def _interrupt(self) -> None:
        for cell in tuple(self._cells):
            cell.interrupt()

    def pre_handler_hook(self) -> None:
        super().pre_handler_hook()
        # In ipykernel 6 a widget's message comes this way, too; its code runs in the session already.
        kind = self.get_parent("shell").get("header", {}).get("msg_type")
        self._interrupted_early, self._handles = False, kind == "execute_request"
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._signalled)

    def post_handler_hook(self) -> None:
        self._handles = False
        super().post_handler_hook()

    def _signalled(self, number: int, frame: Any) -> None:
        """Take a SIGINT while a request is handled.

        Raised in the loop it would end this process (as ipykernel's own kernels do), so only code
        that runs here gets it as an exception. One that comes just before the session's code is
        kept for it.
        """
        if self._cells:
            self._interrupt()
        elif self._runs_here:
            signal.default_int_handler(number, frame)
        else:
            self._interrupted_early = True

    def start(self) -> None:
        super().start()
        self._hold_lease(self._session_name(), is_new=False)
        # A cell goes from thread to thread; by default each may keep the others waiting for 5 ms.
        sys.setswitchinterval(_SWITCH_INTERVAL)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._terminated)

    def _terminated(self, *_: object) -> None:
        # Somebody ends this process without asking: the session must not stay behind. A front end
        # does so, too, when a restart takes long: then the next process has it.
        try:
            if not self._is_restarted:
                self._close(restart=False)
        finally:
            os._exit(128 + signal.SIGTERM)

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        """End the session this kernel started; for a restart, keep it with a fresh interpreter."""
        await asyncio.get_running_loop().run_in_executor(None, self._close, restart)
        return dict(await maybe(super().do_shutdown(restart)))

    def _exit(self) -> None:
        """End this process, as ``exit`` in a cell asks.

        A Jupyter server starts a kernel again that ends so, and names the notebook to it: like
        after a restart, the session is kept for it. Elsewhere nobody would come for the session.
        """
        is_started_again = bool(os.environ.get("JPY_SESSION_NAME"))
        leaving = asyncio.get_running_loop().run_in_executor(None, self._close, is_started_again)
        assert self.shell is not None
        leaving.add_done_callback(lambda _: setattr(self.shell, "exit_now", True))

    def _close(self, restart: bool) -> None:
        self._is_restarted = restart
        if self._is_attached:
            self.detach_session()
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
            closing.result(shutdown_limit())
        except (BackendError, TimeoutError) as exc:
            self.log.warning("The session %s is ended later: %s", lane.wish.name, exc or "slow")
            if not restart:
                self._hand_over()
            return
        self._portal.close(1.0)


def _prepare(go_on: Callable[[], None]) -> None:
    """Import the client in a thread, so that the first cell need not wait for it; then *go_on*."""

    def work() -> None:
        from . import cell, lanes  # noqa: F401

        if "aiohttp" not in sys.modules:
            import aiohttp  # noqa: F401
        gc.freeze()  # what was imported stays: it need not be looked through between cells
        go_on()

    threading.Thread(target=work, name="backendai-import", daemon=True).start()
