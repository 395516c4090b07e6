"""What a front end asks a kernel apart from running cells: completion, history, comms.

Most of it is answered by the session, and at once even while a cell runs: ipykernel itself answers
one request at a time, in the order in which they came, which for a cell that is only waited for
here would be a pity.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from ipykernel.ipkernel import IPythonKernel

from ..errors import BackendError
from .names import from_names
from .routing import Misplaced, route

if TYPE_CHECKING:
    from ..portal import Portal
    from .cell import Cell
    from .lanes import QueryLane
    from .relay import Relay

_AT_ONCE = frozenset(
    f"{name}_request"
    for name in ("comm_info", "complete", "history", "inspect", "is_complete", "kernel_info")
)
_COMMS = frozenset({"comm_open", "comm_msg", "comm_close"})


class RequestsKernel(IPythonKernel):
    """A kernel that asks its session; `BackendKernel` runs the cells."""

    _portal: Portal
    _lane: QueryLane | None
    _cells: list[Cell]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._relay_made: Relay | None = None
        for kind in _COMMS:
            self.shell_handlers[kind] = partial(self._comm_request, kind)

    @property
    def _relay(self) -> Relay:
        if self._relay_made is None:
            from .relay import Relay

            self._relay_made = Relay(self)
        return self._relay_made

    def _from_portal(self, function: Callable[..., None], *args: Any) -> None:
        self.io_loop.add_callback(function, *args)

    # -- while a cell runs --------------------------------------------------------------------

    async def shell_main(self, subshell_id: str | None, msg: Any) -> None:
        """Take a message of the shell channel, in ipykernel 7; in the thread of its subshell.

        Comm messages are taken at once. Where one comes while another request is waited for,
        ipykernel 7.4 says neither busy nor idle of it, and makes its parent that of the cell that
        has begun meanwhile. A view that never hears the idle sends nothing more, and a cell that
        loses its own never ends.
        """
        kind = self._kind_of(msg)
        if kind in _COMMS or (kind in _AT_ONCE and self._cells and subshell_id is None):
            await self._answer_now(msg, subshell_id)
        else:
            await super().shell_main(subshell_id, msg)

    def schedule_dispatch(self, dispatch: Any, *args: Any) -> None:
        """Take a message of any channel, in ipykernel 6."""
        is_now = dispatch == self.dispatch_shell and self._cells
        if is_now and self._kind_of(args[0]) in _AT_ONCE:
            asyncio.ensure_future(self._answer_now(args[0]))  # noqa: RUF006  # it logs by itself
        else:
            super().schedule_dispatch(dispatch, *args)  # type: ignore[misc]  # not in 7

    def _kind_of(self, msg: Any) -> str:
        """Return a message's type; who handles it checks its signature."""
        if self.session is None:
            return ""
        try:
            _, frames = self.session.feed_identities(msg, copy=False)
            header = self.session.unpack(getattr(frames[1], "bytes", frames[1]))
            return str(header["msg_type"])
        except (ValueError, TypeError, KeyError, IndexError):
            return ""  # ipykernel logs what it cannot read

    async def _answer_now(self, msg: Any, subshell_id: str | None = None) -> None:
        assert self.session is not None
        try:
            ident, frames = self.session.feed_identities(msg, copy=False)
            parent = self.session.deserialize(frames, content=True, copy=False)
        except Exception:  # as in ipykernel: anybody may have sent it
            self.log.exception("Invalid message")
            return
        running = self.get_parent("shell")
        self._publish_status("busy", "shell", parent=parent)
        try:
            kind = parent["header"]["msg_type"]
            await maybe(self.shell_handlers[kind](self._reply_stream(), ident, parent))
        except Exception:  # the outermost edge of a request, as in ipykernel
            self.log.exception("A request beside a cell could not be answered")
        self._publish_status("idle", "shell", parent=parent)
        if self._cells and subshell_id is None:  # a front end shows the last state that it was told
            self._publish_status("busy", "shell", parent=running)

    def _reply_stream(self) -> Any:
        if getattr(self, "_supports_kernel_subshells", False):
            manager = self.shell_channel_thread.manager
            return manager.get_subshell_to_shell_channel_socket(None)
        return self.shell_stream

    # -- what the front end asks --------------------------------------------------------------

    async def do_complete(self, code: str, cursor_pos: int) -> dict[str, Any]:
        """Complete in the session; while it is busy, from the names it last told of."""
        lane = self._lane
        if _is_local(code) or lane is None or not lane.is_open or lane.is_plain:
            return dict(await maybe(super().do_complete(code, cursor_pos)))
        if lane.is_busy:
            return from_names(code, cursor_pos, lane.names)
        answer = await self._ask_session("complete", code=code, position=cursor_pos)
        return answer or from_names(code, cursor_pos, lane.names)

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        """Inspect in the session; while it is busy there is nothing to tell."""
        lane = self._lane
        if _is_local(code) or lane is None or not lane.is_open or lane.is_plain:
            result = super().do_inspect(code, cursor_pos, detail_level, omit_sections)
            return dict(await maybe(result))
        answer = None
        if not lane.is_busy:
            answer = await self._ask_session(
                "inspect",
                code=code,
                position=cursor_pos,
                detail=detail_level,
                omit=list(omit_sections),
            )
        return answer or {"status": "ok", "found": False, "data": {}, "metadata": {}}

    async def do_history(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return inputs from the history that is kept here, with the real number of the session."""
        reply = dict(await maybe(super().do_history(*args, **kwargs)))
        if self.shell is not None:
            number = self.shell.history_manager.session_number
            reply["history"] = [(entry[0] or number, *entry[1:]) for entry in reply["history"]]
        return reply

    async def _ask_session(self, name: str, **arguments: Any) -> dict[str, Any] | None:
        """Return what a function of the bootstrap answers; ``None`` when it cannot."""
        lane = self._lane
        if lane is None:
            return None
        deliver = partial(self._from_portal, self._relay.deliver)
        try:
            answer = await self._portal.run(lane.call(name, deliver, **arguments))
        except BackendError as exc:
            self.log.warning("%s was not answered: %s", name, exc)
            return None
        return answer if isinstance(answer, dict) and "problem" not in answer else None

    # -- comms --------------------------------------------------------------------------------

    async def _comm_request(self, kind: str, stream: Any, ident: Any, parent: Any) -> None:
        """Take a front end's comm message to where the other end is."""
        content, lane = parent["content"], self._lane
        if lane is not None and self._relay.is_ambiguous(kind, content):
            self._relay.refuse(content, parent)
            return
        if self._relay.is_refused(content):
            return
        if lane is None or not self._relay.is_remote(kind, content, lane):
            self._tell_here(kind, stream, ident, parent)
        else:
            await self._on_main(self._tell_session(lane, kind, parent))

    def _tell_here(self, kind: str, stream: Any, ident: Any, parent: Any) -> None:
        """Have a widget of this process take a message; what it says belongs to that."""
        before = self._parent_ident["shell"], self.get_parent("shell")
        self.set_parent(ident, parent, channel="shell")
        try:
            getattr(self.comm_manager, kind)(stream, ident, parent)
        finally:
            for output in (sys.stdout, sys.stderr):  # they send late, and by then for another
                output.flush()
            self.set_parent(*before, channel="shell")

    async def _tell_session(self, lane: QueryLane, kind: str, parent: Any) -> None:
        from .relay import comm_message

        content = parent["content"]
        if kind == "comm_open":
            self._relay.opened_by_front_end(content)
        message = comm_message(kind, content, parent["metadata"], parent["buffers"])
        origin = self._relay.remember(parent)
        deliver = partial(self._from_portal, partial(self._relay.deliver, origin=origin))
        try:
            await self._portal.run(lane.call("comm", deliver, origin=origin, messages=[message]))
        except BackendError as exc:
            self.log.warning("A widget's message did not reach the session: %s", exc)
        if kind == "comm_close":
            self._relay.closed_by_front_end(content)

    async def _on_main(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* on the main loop, where the relay lives: a front end may use subshells.

        What has been delivered is then out before the kernel says that it is idle.
        """
        main: asyncio.AbstractEventLoop = self.io_loop.asyncio_loop  # type: ignore[attr-defined]
        if asyncio.get_running_loop() is main:
            await work
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, main))


def _is_local(code: str) -> bool:
    try:
        way = route(code)
    except Misplaced:
        return False
    return bool(way.local) and not way.remote


async def maybe(result: Any) -> Any:
    """Await what is awaitable: ipykernel 6 and 7 differ in which of their methods are."""
    return await result if hasattr(result, "__await__") else result
