"""Files into and out of a session: upload, download as tar, one raw file, a listing."""

from __future__ import annotations

import asyncio
import io
import secrets
import tarfile

from aiohttp import BodyPartReader, hdrs, web

from . import files, problems
from .agent import AgentFailure, Container
from .core import Core, answer, params
from .operations import running

_MOST_PARTS = 20
_MOST_FILES = 5
_PART_LIMIT = 2**20  # a part must be smaller
_TAR_LIMIT = 2**20


async def upload(core: Core, request: web.Request) -> web.Response:
    """Write the parts of a multipart body as files of the session (API reference 4.10)."""
    record, container = running(core, request)
    if not request.content_type.startswith("multipart/"):
        raise problems.malformed_body(str(request.url), request.method)
    with core.lifecycle.use(record, is_active=False):
        count = 0
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader):
                    continue
                count += 1
                if count > _MOST_PARTS:
                    raise problems.invalid_params("Too many files")
                await _save(core, container, part)
        except ConnectionError:
            problem = problems.malformed_body(str(request.url), request.method)
            raise problem from None  # reaches nobody
    return web.Response(status=204)


async def _save(core: Core, container: Container, part: BodyPartReader) -> None:
    data = bytearray()
    while chunk := await part.read_chunk():
        data += chunk
        if len(data) >= _PART_LIMIT:
            raise problems.invalid_params(f"Too large file: {part.filename}")
    # As it comes: what the official client quotes, `sub%2Fname`, is a file of that name (26.4.16).
    name = part.filename or part.name or "file"
    try:
        await asyncio.to_thread(
            files.save_upload,
            container.spec.work,
            name,
            bytes(data),
            set(container.spec.mounts.values()) - set(container.spec.read_only),
        )
    except AgentFailure as exc:
        raise problems.agent_failed(core.release, str(exc)) from exc


async def download(core: Core, request: web.Request) -> web.Response:
    """Answer with one tar for each file, as parts of ``multipart/mixed`` (recording 30)."""
    wanted = await _asked(core, request, "files")
    if not 1 <= len(wanted) <= _MOST_FILES:
        raise problems.invalid_params("Too many files")
    _, container = running(core, request)
    boundary = secrets.token_hex(16)
    body = bytearray()
    for path in wanted:
        tar = await _archive(core, container, path)
        if len(tar) > _TAR_LIMIT:
            raise problems.invalid_params("too large file")
        body += (
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Encoding: identity\r\nContent-Length: {len(tar)}\r\n\r\n"
        ).encode()
        body += tar + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    kind = f"multipart/mixed; boundary={boundary}"
    return web.Response(body=bytes(body), headers={hdrs.CONTENT_TYPE: kind})


async def download_single(core: Core, request: web.Request) -> web.Response:
    """Answer with the bytes of one file."""
    wanted = await _asked(core, request, "file")
    if len(wanted) != 1:
        raise problems.invalid_params("file is required")
    _, container = running(core, request)
    try:
        tar = await asyncio.to_thread(
            files.archive,
            container.spec.work,
            wanted[0],
            limit=None,
            mounts=container.spec.mounts.values(),
        )
    except AgentFailure as exc:
        raise problems.agent_failed(core.release, str(exc)) from exc
    return web.Response(
        body=await asyncio.to_thread(_only_member, tar), content_type="application/octet-stream"
    )


def _only_member(tar: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        member = opened.extractfile(opened.getmembers()[0])
        return member.read() if member is not None else b""


async def listing(core: Core, request: web.Request) -> web.Response:
    """List a folder; the newest servers read ``path`` from the query only (surprise 15)."""
    if core.release.files_in_query:
        path = request.query.get("path", ".")
    else:
        path = str((await params(request)).get("path", "."))
    _, container = running(core, request)
    try:
        return answer(await asyncio.to_thread(files.list_files, container.spec.work, path))
    except AgentFailure as exc:
        raise problems.agent_failed(core.release, str(exc)) from exc


async def _archive(core: Core, container: Container, path: str) -> bytes:
    try:
        return await asyncio.to_thread(
            files.archive, container.spec.work, path, mounts=container.spec.mounts.values()
        )
    except AgentFailure as exc:
        raise problems.agent_failed(core.release, str(exc)) from exc


async def _asked(core: Core, request: web.Request, key: str) -> list[str]:
    """Return the paths that are asked for, from where this release looks for them."""
    place = core.release.download
    if place == "query":
        if request.method == "GET":
            raise problems.method_not_allowed()
        return request.query.getall(key, [])
    if place == "body" and request.method == "GET":
        raise problems.deprecated("Use the POST method.")
    found = (await params(request)).get(key, [])
    return [found] if isinstance(found, str) else [str(path) for path in found]
