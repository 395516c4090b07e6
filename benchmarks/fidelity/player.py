"""Plays a notebook on a kernel, as a front end does, and writes down all that comes of it."""

from __future__ import annotations

import asyncio
import base64
import copy
import queue
import time
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode, ValidationError

LIMIT = 60  # seconds after which a cell counts as lost
_CARD = "backendai-"  # how the display ids of the card begin that tells of a starting session
_DEATH = 12.0  # seconds in which a kernel that was told to exit goes away


@dataclass
class Played:
    """What came of a notebook.

    Attributes:
        cells: For each code cell its source, ``outputs`` (as kept in the notebook), ``count``,
            ``reply``, and ``traffic``: type and content of each message, texts joined.
        widgets: Widget state as it is kept in the notebook.
    """

    cells: list[dict[str, Any]] = field(default_factory=list)
    widgets: dict[str, Any] = field(default_factory=dict)
    notebook: NotebookNode | None = None


class Player(NotebookClient):  # type: ignore[misc]
    """An nbclient that also keeps the messages themselves, and acts as a widget's view.

    What a person would do after a cell stands in its metadata, under ``fidelity``:
    ``tell``, messages of a widget's view, and ``ask``, requests such as ``complete``.
    """

    def __init__(self, notebook: NotebookNode, manager: AsyncKernelManager) -> None:
        super().__init__(notebook, km=manager, timeout=LIMIT, allow_errors=True)
        self.record_timing = False
        self.traffic: list[list[Any]] = []
        self.reply: dict[str, Any] = {}
        self.models: list[tuple[str, str]] = []
        self.on_cell_executed = self._executed

    def _executed(self, execute_reply: dict[str, Any], **_: Any) -> None:
        self.reply = _of_protocol(execute_reply["content"])

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        content = msg["content"]
        transient = content.get("transient") or {}
        if str(transient.get("display_id", "")).startswith(_CARD):
            return None
        if msg["msg_type"] != "status":
            self._note(msg["msg_type"], copy.deepcopy(content), msg["buffers"])
        try:
            return super().process_message(msg, cell, cell_index)
        except ValidationError:  # a bundle that no notebook can keep: the messages are compared
            return None

    def _note(self, kind: str, content: dict[str, Any], buffers: list[Any]) -> None:
        if kind == "comm_open":
            state = (content.get("data") or {}).get("state") or {}
            self.models.append((state.get("_model_name", ""), content["comm_id"]))
        last = self.traffic[-1] if self.traffic else ["", {}]
        if kind == last[0] == "stream" and content["name"] == last[1]["name"]:
            last[1]["text"] += content["text"]
        else:
            encoded = [base64.b64encode(bytes(buffer)).decode() for buffer in buffers]
            self.traffic.append([kind, content, *([encoded] if encoded else [])])

    async def play(self) -> Played:
        """Run all cells; a kernel that dies leaves the others without anything."""
        played = Played(notebook=self.nb)
        async with self.async_setup_kernel(cleanup_kc=True):
            await self.kc.kernel_info(reply=True, timeout=LIMIT)
            nudging = asyncio.create_task(self._nudge())
            try:
                for index, cell in enumerate(self.nb.cells):
                    if cell.cell_type == "code":
                        played.cells.append(await self._play(cell, index))
            finally:
                nudging.cancel()
            self.set_widgets_metadata()
        played.widgets = dict(self.nb.metadata.get("widgets", {}))
        return played

    async def _nudge(self) -> None:
        # jupyter_client sends past the loop, on the socket itself. That may swallow the sign that
        # something has come in, and whoever waits for a reply then waits to the end of its time.
        while True:
            await asyncio.sleep(0.1)
            self.kc.shell_channel.socket._schedule_remaining_events()

    async def _play(self, cell: NotebookNode, index: int) -> dict[str, Any]:
        self.traffic, self.reply = [], {}
        began = time.monotonic()
        told: dict[str, Any] = {}
        wishes = cell.metadata.get("fidelity", {})
        try:
            await self.async_execute_cell(cell, index)
            for wish in wishes.get("tell", ()):
                await self._tell(wish, cell, index)
            answers = [await self._ask(**wish) for wish in wishes.get("ask", ())]
            if answers:
                told["answers"] = answers
            if wishes.get("dies"):
                told["died"] = await self._dies()
        except DeadKernelError:
            told["died"] = True
        except CellTimeoutError:
            told["died"] = "it never ended"
        return {
            "source": cell.source,
            "count": cell.execution_count,
            "outputs": [dict(output) for output in cell.get("outputs", ())],
            "reply": self.reply,
            "traffic": self.traffic,
            "seconds": time.monotonic() - began,
            **told,
        }

    async def _tell(self, wish: dict[str, Any], cell: NotebookNode, index: int) -> None:
        """Send what a widget's view would, and take what comes of it."""
        found = [comm for model, comm in self.models if model == wish["model"]]
        if not found:
            self.traffic.append(["no such widget", {"model": wish["model"]}])
            return
        if "custom" in wish:
            data = {"method": "custom", "content": wish["custom"]}
        else:
            paths = wish.get("buffer_paths", [])
            data = {"method": "update", "state": wish["state"], "buffer_paths": paths}
        session = self.kc.session
        content = {"comm_id": found[wish.get("nth", 0)], "data": data}
        message = session.msg("comm_msg", content)
        buffers = [base64.b64decode(text) for text in wish.get("buffers", ())]
        session.send(self.kc.shell_channel.socket, message, buffers=buffers)
        try:
            async with asyncio.timeout(LIMIT):
                await self._until_idle(message["header"]["msg_id"], cell, index)
        except TimeoutError:
            self.traffic.append(["never idle", {"model": wish["model"]}])

    async def _until_idle(self, asked: str, cell: NotebookNode, index: int) -> None:
        while True:
            came = await self.kc.get_iopub_msg(timeout=None)
            if came["parent_header"].get("msg_id") == asked:
                try:
                    self.process_message(came, cell, index)
                except CellExecutionComplete:
                    return

    async def _ask(self, request: str, **arguments: Any) -> dict[str, Any]:
        asked = getattr(self.kc, request)(**arguments)
        while True:
            try:
                reply = await self.kc.get_shell_msg(timeout=LIMIT)
            except queue.Empty:
                return {"status": "never answered"}
            if reply["parent_header"].get("msg_id") == asked:
                return _of_protocol(reply["content"])

    async def _dies(self) -> bool:
        try:
            async with asyncio.timeout(_DEATH):
                while await self.km.is_alive():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return False
        return True


def _of_protocol(reply: dict[str, Any]) -> dict[str, Any]:
    # An old relation of ipyparallel's that the messaging protocol does not know.
    return {name: value for name, value in reply.items() if name != "engine_info"}
