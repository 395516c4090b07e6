"""Messages of the session that belong to no running cell: late output, and both ends of a comm.

Each goes out as part of the request that it came of, so a thread's output lands under the cell that
started it and an Output widget finds what is meant for it.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from ..protocol.envelope import Message
from ..protocol.run import Event, Media, Text
from .packing import packed

if TYPE_CHECKING:
    from .lanes import QueryLane

_REMEMBERED = 10_000  # requests whose late output still finds its cell
_CONTROL = "jupyter.widget.control"
_AS_IS = ("stream", "clear_output", "error", "comm_open", "comm_msg", "comm_close")


class Relay:
    """Passes messages on, in both directions. It lives on the kernel's main loop."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._parents: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._remote: dict[str, _RemoteComm] = {}
        self._refused: str | None = None

    # -- from the session ---------------------------------------------------------------------

    def remember(self, parent: Any) -> str:
        """Return the name under which what comes of a request is to come back.

        Its header alone is kept: a file that a widget uploads would stay here for hours.
        """
        origin = str(parent.get("header", {}).get("msg_id") or uuid.uuid4().hex)
        self._parents[origin] = {"header": parent.get("header", {})}
        self._parents.move_to_end(origin)
        while len(self._parents) > _REMEMBERED:
            self._parents.popitem(last=False)
        return origin

    def deliver(self, event: Event | Message, origin: str = "") -> None:
        """Send what came of another request than the one that runs.

        Args:
            origin: Name of the request, for what does not bear it itself; ``""``: the newest.
        """
        match event:
            case Text(stream, text):
                self._send("stream", {"name": stream, "text": text}, origin=origin)
            case Media(mime, data):
                content = {"data": {mime: data}, "metadata": {}, "transient": {}}
                self._send("display_data", content, origin=origin)
            case Message(kind, content, metadata, named, buffers):
                self._deliver(kind, content, metadata, named, list(buffers))

    def _deliver(
        self,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any],
        origin: str,
        buffers: list[bytes],
    ) -> None:
        if kind == "comm_open":
            self._opened(content)
        elif kind == "comm_close":
            self._closed(str(content.get("comm_id")))
        if kind in ("display_data", "update_display_data", "execute_result"):
            content = {
                "data": content.get("data") or {},
                "metadata": content.get("metadata") or {},
                "transient": content.get("transient") or {},
            }
            # A result of a request that is long over would have no number to stand at.
            kind = "display_data" if kind == "execute_result" else kind
        elif kind not in _AS_IS:
            return
        self._send(kind, content, metadata, origin, buffers)

    def _send(
        self,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        origin: str = "",
        buffers: list[bytes] | None = None,
    ) -> None:
        kernel = self._kernel
        parent = self._parents.get(origin)
        if parent is None:
            parent = next(reversed(self._parents.values()), None)
        topic = kernel._topic(kind)  # noqa: SLF001  # the name that ipykernel gives its topics
        kernel.session.send(
            kernel.iopub_socket,
            kind,
            packed(content),
            parent=parent,
            ident=topic,
            buffers=buffers or None,
            metadata=metadata or None,
        )

    # -- comms --------------------------------------------------------------------------------

    def _opened(self, content: dict[str, Any]) -> None:
        comm_id, target = str(content.get("comm_id")), str(content.get("target_name"))
        comm = _RemoteComm(comm_id, target)
        self._remote[comm_id] = comm
        self._kernel.comm_manager.comms[comm_id] = comm  # so that comm_info tells of it

    def _closed(self, comm_id: str) -> None:
        if self._remote.pop(comm_id, None) is not None:
            self._kernel.comm_manager.comms.pop(comm_id, None)

    def close_all(self) -> None:
        """Close every comm whose other end is gone with its session: its widgets are dead."""
        for comm_id in tuple(self._remote):
            self._closed(comm_id)
            self._send("comm_close", {"comm_id": comm_id, "data": {}})

    def is_remote(self, kind: str, content: dict[str, Any], lane: QueryLane | None) -> bool:
        """Tell whether a front end's comm message is for the session."""
        if lane is None or not lane.is_open or lane.is_plain:
            return False
        if kind != "comm_open":
            return str(content.get("comm_id")) in self._remote
        # Both sides may know the target; the one that has widgets is meant.
        return bool(self._remote) or content.get("target_name") != _CONTROL

    def is_ambiguous(self, kind: str, content: dict[str, Any]) -> bool:
        """Tell whether the front end asks for all widgets while there are some on both sides.

        It is then told that nobody answers, and asks for each by itself.
        """
        if kind != "comm_open" or content.get("target_name") != _CONTROL or not self._remote:
            return False
        comms = self._kernel.comm_manager.comms
        return any(comm_id not in self._remote for comm_id in comms)

    def refuse(self, content: dict[str, Any], parent: Any) -> None:
        """Close a comm that the front end has just opened."""
        origin = self.remember(parent)
        self._refused = str(content.get("comm_id"))
        closing: dict[str, Any] = {"comm_id": content.get("comm_id"), "data": {}}
        self._send("comm_close", closing, origin=origin)

    def is_refused(self, content: dict[str, Any]) -> bool:
        """Tell whether a message is for the comm that was refused: its sender did not know yet."""
        return content.get("comm_id") == self._refused

    def opened_by_front_end(self, content: dict[str, Any]) -> None:
        """Take note of a comm that the front end opened to the session."""
        self._opened(content)

    def closed_by_front_end(self, content: dict[str, Any]) -> None:
        """Take note of a comm that the front end closed."""
        self._closed(str(content.get("comm_id")))


class _RemoteComm:
    """Stands for the session's end of a comm in ``comm_info``; messages never come here."""

    def __init__(self, comm_id: str, target_name: str) -> None:
        self.comm_id = comm_id
        self.target_name = target_name


def header_of(parent: Any) -> dict[str, str]:
    """Return the header of a request in texts, to be kept for what comes of it later."""
    header = parent.get("header", {})
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else str(value)
        for name, value in header.items()
        if name in ("msg_id", "msg_type", "session", "username", "version", "date")
    }


def comm_message(
    kind: str, content: dict[str, Any], metadata: dict[str, Any], buffers: list[Any]
) -> dict[str, Any]:
    """Return a front end's comm message as the bootstrap takes it."""
    import base64

    return {
        "kind": kind,
        "content": content,
        "metadata": metadata,
        "buffers": [base64.b64encode(bytes(buffer)).decode() for buffer in buffers],
    }
