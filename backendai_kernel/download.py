"""Small files of a session, over the API; what a server sends is not trusted to be what it says."""

from __future__ import annotations

from collections.abc import Iterator

from .archive import BROKEN, open_tar
from .client import Client
from .errors import APIError, NotFound, ProtocolError, ServerError, clipped
from .protocol import calls


def read_parts(content_type: str, body: bytes) -> Iterator[bytes]:
    """Yield the parts of a ``multipart/mixed`` answer.

    Raises:
        ProtocolError: It is none.

    Source: API reference 4.10; recording 30.
    """
    boundary = ""
    for word in content_type.split(";")[1:]:
        name, _, value = word.strip().partition("=")
        if name.lower() == "boundary":
            boundary = value.strip('"')
    if not content_type.lower().startswith("multipart/") or not boundary:
        raise ProtocolError(
            f"The server sent files in a form that we do not know: {clipped(content_type)}."
        )
    mark = b"--" + boundary.encode("utf-8", "surrogateescape")
    position = body.find(mark)
    while position >= 0 and not body.startswith(mark + b"--", position):
        start = body.find(b"\r\n\r\n", position)
        if start < 0:
            raise ProtocolError("The server's answer with the files is cut off.")
        head, start = body[position:start].lower(), start + 4
        end = _stated_end(head, start)
        if end is None:
            end = body.find(b"\r\n" + mark, start)
        if not start <= end <= len(body):
            raise ProtocolError("The server's answer with the files is cut off.")
        yield body[start:end]
        position = body.find(mark, end)


def _stated_end(head: bytes, start: int) -> int | None:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip() == b"content-length" and value.strip().isdigit():
            return start + int(value) if len(value) < 20 else -1
    return None


async def read_file(client: Client, session_id: str, path: str) -> bytes:
    """Return the content of one file of a session, below 1 MiB.

    Args:
        path: Relative to the session's work folder.

    Raises:
        NotFound: There is no such file. Newer servers say no more than that they failed.
        ProtocolError: The answer holds no such file.
        ConnectError, APIError: As `Client.send`.
    """
    try:
        kind, body = await client.fetch(calls.download_files(session_id, [path]))
    except ServerError as exc:
        raise _no_file(path, exc) from exc
    except APIError as exc:
        if exc.status != 400:
            raise
        raise _no_file(path, exc) from exc
    for part in read_parts(kind, body):
        try:
            with open_tar(part) as opened:
                for member in opened:
                    if member.isreg() and (file := opened.extractfile(member)) is not None:
                        return file.read()
        except BROKEN as exc:
            raise ProtocolError(f"The server sent {path} in a broken archive: {exc}.") from exc
    raise ProtocolError(f"The server sent no file for {path}.")


def _no_file(path: str, cause: APIError) -> NotFound:
    return NotFound(
        f"There is no file {path} in the session, or the server cannot read it.",
        status=cause.status,
        slug=cause.slug,
        title=cause.title,
        msg=cause.msg,
    )
