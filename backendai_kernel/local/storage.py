"""The storage proxy: the bytes of virtual folders, by a token in place of a signature.

Source: API reference 7.3 and 7.4; the answers as 26.4.16 gave them: an upload is staged in
``.upload``, moved to its place when it is whole, and its token is of no use any more then.
"""

from __future__ import annotations

import asyncio
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import ClientConnectionError, hdrs, web
from multidict import CIMultiDict

from . import problems
from .core import Core, answer, json_body, keypair
from .folders import inside
from .passes import Pass, invalid
from .problems import Problem
from .vfolders import STAGING

_LARGEST = 10 * 2**30


async def request_upload(core: Core, request: web.Request) -> web.Response:
    """Give a token for one file that is to come; its path is looked at only when it does."""
    body = await json_body(request)
    record = core.folders.find(request.match_info["folder"], keypair(request))
    if core.folders.permission(record, keypair(request)) == "ro":
        raise problems.forbidden("You cannot write to this virtual folder.")
    size = body.get("size")
    if not isinstance(size, int) or size < 0:
        raise problems.unreadable_field("Input validation error: size")
    token = core.passes.give(Pass(True, record, str(body.get("path", "")), size))
    return answer({"token": token, "url": _url(request, "upload")})


async def request_download(core: Core, request: web.Request) -> web.Response:
    """Give a token for one file; nobody looks whether it is there."""
    body = await json_body(request)
    record = core.folders.find(request.match_info["folder"], keypair(request))
    token = core.passes.give(Pass(False, record, str(body.get("path", ""))))
    return answer({"token": token, "url": _url(request, "download")})


def _url(request: web.Request, what: str) -> str:
    return f"{request.scheme}://{request.host}/storage/{what}"


def _tus(**headers: object) -> CIMultiDict[str]:
    named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return CIMultiDict({"Tus-Resumable": "1.0.0", **named})


async def upload_options(core: Core, request: web.Request) -> web.Response:
    """Tell what is supported."""
    core.passes.look(request, is_upload=True)
    return web.Response(headers=_tus(Tus_Version="1.0.0", Tus_Max_Size=_LARGEST))


async def upload_state(core: Core, request: web.Request) -> web.Response:
    """Tell how far an upload has come."""
    wanted = core.passes.look(request, is_upload=True)
    staged = _staged(core, wanted)
    if not staged.exists():
        raise _no_upload(wanted)
    headers = _tus(
        Upload_Offset=staged.stat().st_size, Upload_Length=wanted.size, Cache_Control="no-store"
    )
    return web.Response(headers=headers)


def _staged(core: Core, wanted: Pass) -> Path:
    """Return the file that an upload is gathered in; it is there from the token on."""
    staged = core.folders.place(wanted.folder) / STAGING / wanted.id
    if wanted.id not in core.passes.finished and not staged.exists():
        staged.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged.touch()
    return staged


def _no_upload(wanted: Pass) -> Problem:
    return Problem(
        404,
        "storage/tus-session-not-found",
        "TUS upload session not found",
        "storage-proxy_read_not-found",
        f"Upload session {wanted.id} has no on-disk staging file",
    )


async def upload(core: Core, request: web.Request) -> web.Response:
    """Take the next bytes of a file; what has come stays when the connection breaks."""
    wanted = core.passes.look(request, is_upload=True)
    try:
        target = inside(core, wanted.folder, wanted.path)
    except Problem as problem:
        raise invalid("The path leads out of the virtual folder.") from problem
    staged = _staged(core, wanted)
    if not staged.exists():
        raise _no_upload(wanted)
    offset, there = request.headers.get("Upload-Offset", ""), staged.stat().st_size
    if not offset.isdigit():
        raise invalid("Upload-Offset is missing")
    if core.release.error_codes and int(offset) != there:  # older ones append in any case
        raise Problem(
            409,
            "storage/upload-offset-mismatch",
            "Upload Offset Mismatch",
            "storage-proxy_update_conflict",
            f"Upload offset mismatch: expected {there}, got {offset}",
        )
    try:
        with staged.open("ab") as file:
            async for chunk in request.content.iter_any():
                await asyncio.to_thread(file.write, chunk)
    except ClientConnectionError:
        raise invalid("The connection was lost.") from None  # reaches nobody
    there = staged.stat().st_size
    if there >= wanted.size:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged, target)
        except OSError as exc:
            raise invalid(f"The file cannot be put in its place: {exc.strerror}") from exc
        core.passes.finished.add(wanted.id)
    headers = _tus(Upload_Offset=there, Upload_Length=wanted.size, Cache_Control="no-store")
    return web.Response(status=204, headers=headers)


async def download(core: Core, request: web.Request) -> web.StreamResponse:
    """Answer with a file, or with the part of it that is asked for; a folder comes as a zip.

    Source: 26.4.16, asked with and without ``archive`` in the request for the token, which makes no
    difference, and in the query, which does.
    """
    wanted = core.passes.look(request, is_upload=False)
    try:
        path = inside(core, wanted.folder, wanted.path)
    except Problem:
        path = Path()
    if not path.name or not path.exists():
        raise Problem(
            404, "storage/file-not-found", "File not found", "storage-proxy_read_not-found"
        )
    if path.is_dir() and request.query.get("archive") == "true":
        return await _packed(request, path)
    if not path.is_file():
        raise invalid("The file is not a regular file.")
    headers = {
        hdrs.CONTENT_TYPE: "application/octet-stream",
        hdrs.CONTENT_DISPOSITION: _named(path.name),
    }
    return web.FileResponse(path, chunk_size=2**18, headers=headers)


def _named(name: str) -> str:
    quoted = quote(name, safe="")
    return f"attachment;filename=\"{quoted}\"; filename*=UTF-8''{quoted}"


async def _packed(request: web.Request, folder: Path) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "application/zip"
    response.headers[hdrs.CONTENT_DISPOSITION] = _named(f"{folder.name}.zip")
    await response.prepare(request)
    parts = _zip(folder)
    while part := await asyncio.to_thread(next, parts, b""):
        await response.write(part)
    await response.write_eof()
    return response


class _Gathered(io.RawIOBase):
    """What a zip is written to; it has no place to go back to."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self.parts = b"".join(self.parts), []
        return taken


def _zip(folder: Path) -> Iterator[bytes]:
    """Yield a folder as a zip, in parts, none of which is empty; links are left out."""
    gathered = _Gathered()
    with zipfile.ZipFile(gathered, "w", zipfile.ZIP_DEFLATED) as packed:
        for above, folders, names in os.walk(folder):
            place = Path(above)
            folders[:] = sorted(n for n in folders if place / n != folder / STAGING)
            if not folders and not names:
                packed.write(place, f"{place.relative_to(folder)}/")
            for name in sorted(names):
                file = place / name
                if file.is_symlink() or not file.is_file():
                    continue
                entry = zipfile.ZipInfo.from_file(file, file.relative_to(folder))
                entry.compress_type = zipfile.ZIP_DEFLATED
                with file.open("rb") as opened, packed.open(entry, "w") as target:
                    while block := opened.read(2**18):
                        target.write(block)
                        if part := gathered.take():
                            yield part
    yield gathered.take()
