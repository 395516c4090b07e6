"""What a cell has shown, shown again: from the journal, under the cell that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..journal import NO_ROOM, Entry
from ..outputs import Translator
from ..protocol.envelope import Message
from .limit import TextLimit

Send = Callable[[str, dict[str, Any]], None]


def replay(entry: Entry, send: Send, limit: int) -> None:
    """Send all that a cell has shown.

    Its error is shown as text, since the cell that asks has not failed. Displays get names of their
    own, or they would change where they were shown first.
    """
    text = TextLimit(limit, entry.path)
    for kind, content in _messages(entry):
        if kind == "stream":
            for stream, shown in text.take(str(content["name"]), str(content["text"])):
                send("stream", {"name": stream, "text": shown})
        else:
            send(kind, content)
    for stream, shown in text.finish():
        send("stream", {"name": stream, "text": shown})
    if note := _note(entry):
        send("stream", {"name": "stderr", "text": note})


def _note(entry: Entry) -> str:
    if entry.is_cut:
        return NO_ROOM
    return "" if entry.is_over else "[The end of this cell has not come.]\n"


def _messages(entry: Entry) -> Iterator[tuple[str, dict[str, Any]]]:
    translator = Translator(entry.head.count, plain=not entry.head.key)
    for event in entry.events():
        if isinstance(event, Message) and event.kind.startswith("comm_"):
            continue
        for kind, content in translator.translate(event):
            if kind == "error":
                lines = "\n".join(content["traceback"])
                yield "stream", {"name": "stderr", "text": f"{lines}\n"}
            elif kind == "execute_result":
                shown = {name: content[name] for name in ("data", "metadata")}
                yield "display_data", {**shown, "transient": {}}
            elif display_id := (content.get("transient") or {}).get("display_id"):
                yield kind, {**content, "transient": {"display_id": f"{display_id}-again"}}
            else:
                yield kind, content
