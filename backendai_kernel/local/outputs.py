"""What becomes of the messages of an interpreter: the runner's filter, with all its gaps.

Pure functions, used by the runner.

Source: API reference 10.1 to 10.3; recordings 10 to 13, 19.
"""

from __future__ import annotations

import json
from typing import Any

_LARGE = 64 * 1024  # bytes of JSON from which on it counts how fast it is read
Record = tuple[str, bytes]  # kind (stdout, stderr, media, finished, ...) and payload


def records_of(kind: str, content: dict[str, Any]) -> list[Record]:
    """Return what the agent is told of one message of the interpreter: no record, or one.

    Of a rich output only the first MIME type counts, after ``text/plain`` has been put aside when
    there are others; types that the server does not know vanish. HTML goes out as it is, not as
    the JSON that the agent reads media as: that is the defect of recording 19.

    Raises:
        AttributeError: The payload of a text type is not text. The server's runner fails in the
            same way and ends the run with exit code 127.
    """
    if kind == "stream":
        return [(content["name"], _text(content["text"]))]
    if kind == "error":
        return [("stderr", _text("\n".join(content["traceback"])))]
    if kind in ("execute_result", "display_data"):
        return _rich(content["data"])
    return []


def exit_code_of(content: dict[str, Any]) -> int:
    """Return the exit code that an ``error`` message means.

    1, or for ``SystemExit`` its argument: nothing is 0, and what is not a number is 1.
    """
    if content.get("ename") != "SystemExit":
        return 1
    value = content.get("evalue")
    if value in (None, ""):
        return 0
    try:
        return int(str(value))
    except ValueError:
        return 1


def _rich(bundle: dict[str, Any]) -> list[Record]:
    types = [mime for mime in bundle if mime != "text/plain"] or list(bundle)
    if not types:
        return []
    mime = types[0]
    value = bundle[mime]
    if mime == "text/plain":
        return [("stdout", _text(value))]
    if mime == "text/html":
        return [("media", _text(value))]
    if mime in ("image/png", "image/jpeg"):
        return [("media", _media(mime, f"data:{mime};base64,{value}"))]
    if mime == "image/svg+xml":
        return [("media", _media(mime, value))]
    return []


def _text(value: Any) -> bytes:
    encoded: bytes = value.encode("utf-8", "replace")  # a lone surrogate is no reason to end a run
    return encoded


def _media(mime: str, data: Any) -> bytes:
    record = {"type": mime, "data": data}
    if isinstance(data, str) and len(data) > _LARGE:
        import msgspec

        try:
            return msgspec.json.encode(record)
        except UnicodeEncodeError:  # half a letter; the standard library has a way to write it
            pass
    return json.dumps(record).encode()


def read_json(text: str | bytes) -> Any:
    """Return what JSON says, a large picture several times as fast as the standard library.

    Raises:
        ValueError: It is no JSON.
    """
    if len(text) > _LARGE:
        import msgspec

        try:
            return msgspec.json.decode(text)
        except ValueError:  # such as NaN or half a letter, which the standard library takes
            pass
    return json.loads(text)
