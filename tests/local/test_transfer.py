"""Files in and out over HTTP, in the shapes of the different releases."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from pathlib import Path

import aiohttp
import pytest
import yarl

from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from tests.signed import Reply, Signed, signed

MIB = 2**20


async def upload(api: Signed, session: str, files: dict[str, bytes]) -> int:
    with aiohttp.MultipartWriter("form-data") as form:
        for name, data in files.items():
            part = form.append(data, {"Content-Type": "application/octet-stream"})
            part.set_content_disposition("form-data", False, name="src", filename=name)
    url = yarl.URL(f"{api.manager.url}/session/{session}/upload")
    headers = api.headers("POST", url, "multipart/form-data")
    headers["Content-Type"] = form.content_type
    async with api.http.post(url, data=form, headers=headers) as response:
        await response.read()
        return response.status


def members(reply: Reply) -> dict[str, bytes]:
    """Return name → content of the files in all parts of a download."""
    kind = reply.headers["Content-Type"]
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + reply.body)
    found: dict[str, bytes] = {}
    for part in message.get_payload():
        assert part["Content-Encoding"] == "identity"
        with tarfile.open(fileobj=io.BytesIO(part.get_payload(decode=True))) as tar:
            for member in tar.getmembers():
                if (content := tar.extractfile(member)) is not None:
                    found[member.name] = content.read()
    return found


@asynccontextmanager
async def session_of(release: str, folder: Path) -> AsyncIterator[tuple[Signed, str]]:
    async with (
        LocalManager(folder, release=RELEASES[release]) as manager,
        signed(manager) as api,
    ):
        yield api, await api.start("files")


async def test_what_goes_in_comes_out(api: Signed) -> None:
    session = await api.start("files")
    status = await upload(api, session, {"a.txt": b"one", "sub/b.bin": bytes(range(256))})
    told = await api.run(session, "print(open('sub/b.bin', 'rb').read()[:3])")
    reply = await api("POST", f"/session/{session}/download?files=a.txt&files=sub/b.bin")
    single = await api("POST", f"/session/{session}/download_single?file=sub/b.bin")

    assert status == 204
    assert told["console"] == [["stdout", "b'\\x00\\x01\\x02'\n"]]
    assert members(reply) == {"a.txt": b"one", "b.bin": bytes(range(256))}
    assert single.body == bytes(range(256))


@pytest.mark.parametrize(
    "files",
    [{"big": b"x" * MIB}, {f"f{n}": b"" for n in range(21)}],
    ids=["a part of 1 MiB", "21 parts"],
)
async def test_too_much_is_refused(api: Signed, files: dict[str, bytes]) -> None:
    session = await api.start("files")

    assert await upload(api, session, files) == 400


async def test_nothing_leaves_the_work_folder(api: Signed) -> None:
    session = await api.start("files")
    work = api.manager.container("files").spec.work
    status = await upload(api, session, {"../escaped.txt": b"x"})

    assert status == 500
    assert not (work.parent / "escaped.txt").exists()
    for path in ("/etc/passwd", "../../keypair.json"):
        assert (await api("POST", f"/session/{session}/download?files={path}")).status == 500


async def test_a_listing_ignores_a_path_in_the_body(api: Signed) -> None:
    session = await api.start("files")
    await upload(api, session, {"sub/deep.txt": b""})
    top = await api("GET", f"/session/{session}/files", {"path": "sub"})
    deep = await api("GET", f"/session/{session}/files?path=sub")

    assert "sub" in [file["filename"] for file in json.loads(top.body["files"])]
    assert [file["filename"] for file in json.loads(deep.body["files"])] == ["deep.txt"]
    assert list(top.body) == ["files", "errors", "abspath"]


async def test_the_oldest_release_takes_a_body_on_get(tmp_path: Path) -> None:
    async with session_of("23.09", tmp_path) as (api, session):
        await upload(api, session, {"a.txt": b"one"})
        reply = await api("GET", f"/session/{session}/download", {"files": ["a.txt"]})

        assert members(reply) == {"a.txt": b"one"}


async def test_the_middle_release_takes_a_body_on_post(tmp_path: Path) -> None:
    async with session_of("25.5", tmp_path) as (api, session):
        await upload(api, session, {"a.txt": b"one"})
        reply = await api("POST", f"/session/{session}/download", {"files": ["a.txt"]})
        refused = await api("GET", f"/session/{session}/download", {"files": ["a.txt"]})

        assert members(reply) == {"a.txt": b"one"}
        assert (refused.status, refused.slug) == (400, "deprecated")


async def test_a_missing_file_is_a_failure_of_the_agent(tmp_path: Path) -> None:
    async with session_of("25.5", tmp_path) as (api, session):
        reply = await api("POST", f"/session/{session}/download", {"files": ["none"]})

        assert reply.status == 500
        assert "exception" in reply.body["agent-details"]
