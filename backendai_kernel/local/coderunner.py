"""What the agent knows of the runs of one container: whose turn it is, and who gets which output.

The structure is the server's own, so that its traps come out of it by themselves:

* Every run id that somebody asked for has a queue of records. One of them is current: what the
  container says goes there, and nowhere when there is none.
* A request under another id waits until the current run was let go, which only happens when its
  last record is answered. The next in line is then taken out of the line, not its requests.
* An answer is put together from the records of its window. Media are parsed in that moment: what is
  no JSON spoils the answer, and the record that ended the run is gone with it.
* A request is carried out to its end even when nobody waits for the answer any more.

Source: API reference 4.8, 10.2; recordings 15, 18, 19, 21 to 29, 36, 38, 39.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .outputs import read_json

QUEUE_SIZE = 4096  # records
QUEUE_TEXT = 8 * 2**20  # characters
ANSWER_TEXT = 4 * 2**20  # characters of text after which an answer does not wait for more
RECORD_SIZE = 10 * 2**20  # bytes of one stdout or stderr record; the rest is cut off

_STATUSES = {  # record → status of the answer
    "finished": "finished",
    "clean-finished": "clean-finished",
    "build-finished": "build-finished",
    "waiting-input": "waiting-input",
    "exec-timeout": "exec-timeout",
}
_ENDS_A_RUN = ("finished", "exec-timeout")
_ENDS_A_STEP = ("clean-finished", "build-finished")
_DONE = ("", "")
_CONSOLE = ("stdout", "stderr", "media", "html", "log")


class AgentFailure(Exception):
    """The agent could not do it; the manager answers with status 500."""


@dataclass(slots=True)
class _Line:
    """The place of one run id in the line."""

    turn: asyncio.Event = field(default_factory=asyncio.Event)
    records: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)
    waiting: int = 0  # characters in it


class CodeRunner:
    """The runs of one container.

    Args:
        send: Takes each command for the container: its kind and its payload.
        pause: Called when too much output waits for a request; `deliver` may still be called.
        resume: Called when there is room again.
        keeps_steps: After ``clean-finished`` and ``build-finished`` the run stays current, so that
            no output is lost until the next ``continue``. False is what the server does: it drops
            what comes in between, and a quick command polls ``continued`` for ever (recording 32).
    """

    def __init__(
        self,
        send: Callable[[str, bytes], None],
        *,
        pause: Callable[[], None] = lambda: None,
        resume: Callable[[], None] = lambda: None,
        keeps_steps: bool = True,
    ) -> None:
        self._send = send
        self._pause = pause
        self._resume = resume
        self._keeps_steps = keeps_steps
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._current_id: str | None = None
        self._output: _Line | None = None
        self._paused = False
        self._requests: set[asyncio.Task[dict[str, Any]]] = set()
        self._waiting: set[asyncio.Task[Any] | None] = set()
        self._closed = ""
        self._decoders = _new_decoders()

    # --- from the container ---------------------------------------------------------------

    def deliver(self, kind: str, payload: bytes) -> None:
        """Take one record of the container; it is dropped when no run is current."""
        if self._output is None:
            return
        if kind in self._decoders:
            text = self._decoders[kind].decode(payload[:RECORD_SIZE])
        else:
            text = payload.decode()
        line = self._output
        line.records.put_nowait((kind, text))
        line.waiting += len(text)
        if kind in _ENDS_A_RUN:
            self._decoders = _new_decoders()
        is_full = line.records.qsize() >= QUEUE_SIZE or line.waiting >= QUEUE_TEXT
        if is_full and not self._paused:
            self._paused = True
            self._pause()

    # --- from the manager -----------------------------------------------------------------

    async def execute(
        self,
        mode: str,
        code: str,
        run_id: str | None,
        options: Mapping[str, Any] | None,
        *,
        flush: float,
    ) -> dict[str, Any]:
        """Carry out one request and return its answer, as the API words it.

        An answer comes after *flush* seconds of output, or earlier when a run or a step ended or
        waits for input. Unlike the server's it also comes when it has much text, so that a flood
        takes no more memory the longer it lasts. Waiting for another run to end is not limited.

        Cancelling does not stop the request: output that falls into its window is lost.

        Args:
            mode: ``query``, ``batch``, ``continue`` or ``input``.
            run_id: ``None``: one is made up.
            options: Of ``batch``: the commands ``clean``, ``build`` and ``exec``.
            flush: In seconds: 2.0 for a REST request, 0.2 on a websocket.

        Raises:
            AgentFailure: The output cannot be put into an answer, or the container is gone.
        """
        if self._closed:
            raise AgentFailure(self._closed)
        request = asyncio.create_task(self._serve(mode, code, run_id, options or {}, flush))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)
        try:
            return await asyncio.shield(request)
        except asyncio.CancelledError:
            if request.cancelled():  # by `close`, not by our caller
                raise AgentFailure(self._closed) from None
            raise

    def close(self, reason: str) -> None:
        """Refuse what comes from now on, with an `AgentFailure` that says *reason*.

        What waits for its turn is refused as well. What has its turn is answered as if the code
        still ran (recordings 36, 37).
        """
        self._closed = reason
        for request in self._requests & self._waiting:
            request.cancel()

    async def _serve(
        self, mode: str, code: str, run_id: str | None, options: Mapping[str, Any], flush: float
    ) -> dict[str, Any]:
        await self._take_turn(run_id or secrets.token_hex(16))
        if mode == "query":
            self._send("code", code.encode())
        elif mode == "input":
            self._send("input", code.encode())
        elif mode == "batch":
            for step in ("clean", "build", "exec"):
                self._send(step, (options.get(step) or "").encode())
        return await self._answer(flush)

    async def _take_turn(self, run_id: str) -> None:
        line = self._lines.setdefault(run_id, _Line())
        if self._output is None:
            self._output = line
        elif self._current_id != run_id:
            if self._closed:  # since the request came in
                raise AgentFailure(self._closed)
            request = asyncio.current_task()
            self._waiting.add(request)
            try:
                await line.turn.wait()
            finally:
                self._waiting.discard(request)
            line.turn.clear()
        self._current_id = run_id
        if self._output is not line:
            raise AgentFailure("the output of this run is not the current one")

    async def _answer(self, flush: float) -> dict[str, Any]:
        records: list[tuple[str, str]] = []
        status, data, size = "continued", "", 0
        try:
            async with asyncio.timeout(flush):
                while status == "continued" and size < ANSWER_TEXT:
                    kind, data = await self._next()
                    status = _STATUSES.get(kind, "continued")
                    if kind in _CONSOLE:
                        records.append((kind, data))
                    if kind in self._decoders:
                        size += len(data)
        except TimeoutError:
            status = "continued"
        details = json.loads(data) if status != "continued" and data else {}
        answer = {
            "status": status,
            "runId": self._current_id,
            "exitCode": details.get("exitCode"),
            "options": details if status == "waiting-input" else None,
            "files": [],
            "console": console_of(records),
        }
        if status in _ENDS_A_RUN or (status in _ENDS_A_STEP and not self._keeps_steps):
            self._let_go()
        else:
            self._stay()
        return answer

    async def _next(self) -> tuple[str, str]:
        assert self._output is not None
        line = self._output
        record = await line.records.get()
        line.waiting -= len(record[1])
        is_low = line.records.qsize() < QUEUE_SIZE // 2 and line.waiting < QUEUE_TEXT // 2
        if self._paused and is_low:
            self._paused = False
            self._resume()
        return record

    def _stay(self) -> None:
        """Keep the run current and first in line."""
        if self._current_id is None:
            return
        try:
            self._lines.move_to_end(self._current_id, last=False)
        except KeyError:
            raise AgentFailure("a run that had waited for its turn was not over in time") from None

    def _let_go(self) -> None:
        """End the current run; the next in line leaves the line and becomes current."""
        if self._current_id is None:
            raise AgentFailure("there is no current run")
        self._lines.pop(self._current_id, None)
        self._current_id = None
        self._output = None
        if self._lines:
            _, line = self._lines.popitem(last=False)
            self._output = line
            line.turn.set()


def console_of(records: list[tuple[str, str]]) -> list[list[Any]]:
    """Return the ``console`` of an answer; neighbouring texts of one stream become one.

    *records* are used up.

    Raises:
        AgentFailure: A media record is not a JSON object with ``type`` and ``data``, such as HTML
            (API reference 10.2; recording 19).
    """
    items: list[list[Any]] = []
    texts: list[str] = []
    stream = ""

    def flush() -> None:
        if text := "".join(texts):
            items.append([stream, text])
        texts.clear()

    for at, (kind, data) in enumerate(records):
        records[at] = _DONE  # of a large picture there is never more than one copy
        if kind != stream:
            flush()
            stream = kind
        if kind in ("stdout", "stderr"):
            texts.append(data)
        elif kind == "media":
            try:
                media = read_json(data)
                items.append(["media", [media["type"], media["data"]]])
            except (ValueError, TypeError, KeyError, IndexError) as exc:
                raise AgentFailure(f"unreadable media record: {exc!r}") from exc
        else:
            items.append([kind, data])
    flush()
    return items


def _new_decoders() -> dict[str, codecs.IncrementalDecoder]:
    make = codecs.getincrementaldecoder("utf-8")
    return {"stdout": make("replace"), "stderr": make("replace")}
