"""What a call is, and how a path names a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a multipart body: its name as the server is to have it, and its content."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and what its answer is read as.

    Attributes:
        method: HTTP method.
        path: Path and query, percent-encoded as it is signed and sent.
        body: JSON to send, or ``None`` for none.
        answer: What the JSON answer is decoded to; ``type(None)`` for an answer without a body.
        inside: Keys to follow from the top of the answer to the value.
        what: What is tried, as the subject of a sentence.
        is_read: Sending it twice does no harm, so it may be sent again when the answer is lost.
        signed: Whether the request carries a signature.
        is_stream: The answer is a stream of events that ends when somebody ends it.
        parts: Files to send as a multipart body, in place of *body*.
    """

    method: str
    path: str
    answer: type[T]
    body: Mapping[str, Any] | None = field(default=None, repr=False)  # it may be a login's
    inside: tuple[str, ...] = ()
    what: str = "The request"
    is_read: bool = False
    signed: bool = True
    is_stream: bool = False
    parts: tuple[Part, ...] = field(default=(), repr=False)


def session_path(
    session: str, suffix: str = "", query: Mapping[str, str | None] | None = None
) -> str:
    """Return the path of one session, or of something below it.

    A value of ``None`` in *query* is left out.
    """
    path = f"/session/{quote(session, safe='')}{suffix}"
    query = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(query)}" if query else path


def encode_parts(parts: Sequence[Part], boundary: str) -> bytes:
    """Return a ``multipart/form-data`` body; *boundary* must not occur in any part.

    Source: API reference 4.10.
    """
    pieces: list[bytes] = []
    for part in parts:
        # In this form servers undo the quoting; in the plain one it becomes part of the name.
        name = quote(part.name, safe="")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="src"; '
            f"filename*=utf-8''{name}\r\n"
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        pieces += [head.encode(), part.data, b"\r\n"]
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()])
