"""Bytes of virtual folders: up, down, over broken connections, and nothing half."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from backendai_kernel import places, storage, vfolders
from backendai_kernel.client import Client
from backendai_kernel.errors import APIError, ConfigError, ConnectError, NotFound, ProtocolError
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.protocol import calls
from backendai_kernel.storage import download_files, plan_download, upload_files
from backendai_kernel.upload import plan_upload
from tests.test_vfolders import config_of

MIB = 2**20


@pytest.fixture
async def client(manager: LocalManager) -> AsyncIterator[Client]:
    async with Client(config_of(manager)) as client:
        yield client


@pytest.fixture
async def folder(client: Client) -> calls.Folder:
    return await vfolders.create_folder(client, "data")


def written(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def send(client: Client, folder: calls.Folder, *paths: Path, **options) -> None:
    base = paths[0].parent
    await upload_files(client, folder, plan_upload([*map(str, paths)], base, base), **options)


async def fetch(client: Client, folder: calls.Folder, to: Path, *paths: str, **options) -> None:
    wanted, _ = await plan_download(client, folder, paths, to)
    await download_files(client, folder, wanted, **options)


@asynccontextmanager
async def breaking(manager: LocalManager, *, after: int, times: int) -> AsyncIterator[str]:
    """Serve a way to the manager that breaks *times* connections after so many bytes."""
    left = times

    async def carry(reader, writer, abort) -> None:
        nonlocal left
        count = 0
        try:
            while data := await reader.read(2**16):
                count += len(data)
                if count > after and left:
                    left -= 1
                    abort()
                    return
                writer.write(data)
                await writer.drain()
            writer.close()
        except ConnectionError:
            abort()

    async def serve(reader, writer) -> None:
        there = await asyncio.open_connection("127.0.0.1", int(manager.url.rpartition(":")[2]))

        def abort() -> None:
            writer.transport.abort()
            there[1].transport.abort()

        await asyncio.gather(carry(reader, there[1], abort), carry(there[0], writer, abort))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_files_and_folders_go_up_and_come_down_the_same(client, folder, tmp_path):
    tree = tmp_path / "tree"
    (tree / "sub dir").mkdir(parents=True)
    written(tree / "big.bin", 3 * MIB + 7)
    (tree / "sub dir" / "Ünï ©ode.txt").write_text("text")
    (tree / "empty").touch()
    told: list[tuple[int, int]] = []
    await send(client, folder, tree, on_progress=lambda done, all_: told.append((done, all_)))
    await fetch(client, folder, tmp_path / "back", "tree")

    size = 3 * MIB + 7 + 4
    assert (told[0], told[-1]) == ((0, size), (size, size))
    assert told == sorted(told)
    for name in ("big.bin", "sub dir/Ünï ©ode.txt", "empty"):
        assert digest(tmp_path / "back" / "tree" / name) == digest(tree / name)


async def test_one_file_comes_down_by_its_name(client, folder, tmp_path):
    await send(client, folder, written(tmp_path / "a", 5), to="in/ner")
    await fetch(client, folder, tmp_path / "back", "in/ner/a")

    assert [path.name for path in (tmp_path / "back").iterdir()] == ["a"]


@pytest.mark.parametrize("trouble", ["drop", "drop_after"])
async def test_an_upload_goes_on_after_a_lost_answer(client, folder, manager, tmp_path, trouble):
    file = written(tmp_path / "a.bin", 2 * MIB)
    fault = getattr(manager.faults, trouble)(method="PATCH")
    await send(client, folder, file)
    await fetch(client, folder, tmp_path / "back", "a.bin")

    assert fault.hits == 1
    assert digest(tmp_path / "back" / "a.bin") == digest(file)


async def test_transfers_go_on_where_the_connection_broke(manager, tmp_path, monkeypatch):
    file = written(tmp_path / "a.bin", 6 * MIB)
    sent: list[int] = []
    monkeypatch.setattr(storage, "_FIRST_PAUSE", 0.01)
    async with breaking(manager, after=4 * MIB, times=1) as url:
        async with Client(config_of(manager)) as direct:
            folder = await vfolders.create_folder(direct, "data")
            config = config_of(manager)

            async with Client(replace(config, endpoint=url)) as client:
                await send(client, folder, file, on_progress=lambda done, _: sent.append(done))
    async with breaking(manager, after=4 * MIB, times=1) as url:
        come: list[int] = []
        async with Client(replace(config, endpoint=url)) as client:
            await fetch(
                client,
                folder,
                tmp_path / "back",
                "a.bin",
                on_progress=lambda done, _: come.append(done),
            )

    assert min(sent[2:]) > 0  # it did not begin anew
    assert come == sorted(come)
    assert digest(tmp_path / "back" / "a.bin") == digest(file)


async def test_another_process_goes_on_with_an_upload(
    client, folder, manager, tmp_path, monkeypatch
):
    monkeypatch.setattr(storage, "PIECE", MIB)
    monkeypatch.setattr(storage, "_FIRST_PAUSE", 0.01)
    file, state = written(tmp_path / "a.bin", 4 * MIB + 1), tmp_path / "state"
    passed: list[int] = []

    def break_later(done: int, total: int) -> None:
        if done >= 2 * MIB and not passed:
            passed.append(done)
            manager.faults.drop(times=None, method="PATCH")

    with pytest.raises(ConnectError, match="was lost") as caught:
        await send(client, folder, file, state=state, on_progress=break_later)
    (note,) = (state / "uploads").iterdir()
    assert note.stat().st_mode & 0o077 == 0
    manager.faults.clear()
    requests = len(manager.requests)
    async with Client(config_of(manager)) as other:
        await send(other, folder, file, state=state)
        await fetch(other, folder, tmp_path / "back", "a.bin")
    patches = [each for each in list(manager.requests)[requests:] if each.method == "PATCH"]

    assert "goes on from there" in str(caught.value)
    assert "token" not in str(caught.value)
    assert len(patches) < 5  # what had come was not sent again
    assert digest(tmp_path / "back" / "a.bin") == digest(file)
    assert not list((state / "uploads").iterdir())


async def test_a_cancelled_transfer_leaves_no_half_file(client, folder, manager, tmp_path):
    file = written(tmp_path / "a.bin", 2 * MIB)
    manager.faults.delay(6, method="PATCH")
    upload = asyncio.create_task(send(client, folder, file))
    while not any(  # noqa: ASYNC110 -- requests are no event
        each.path.endswith("request-upload") for each in manager.requests
    ):
        await asyncio.sleep(0.01)
    upload.cancel()
    await asyncio.wait({upload})
    assert await vfolders.list_entries(client, folder) == []
    await send(client, folder, file)
    manager.faults.delay(6, path="/storage/download")
    download = asyncio.create_task(fetch(client, folder, tmp_path / "back", "a.bin"))
    while not list((tmp_path / "back").glob(".a.bin*")):  # noqa: ASYNC110 -- files are no event
        await asyncio.sleep(0.01)
    download.cancel()
    await asyncio.wait({download})

    assert list((tmp_path / "back").iterdir()) == []


async def test_a_file_that_is_there_is_replaced_when_the_new_one_is_whole(
    client, folder, manager, tmp_path
):
    await send(client, folder, written(tmp_path / "a", 10))
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "a").write_text("old")
    wanted, _ = await plan_download(client, folder, ["a"], tmp_path / "back")
    await vfolders.remove_entries(client, folder, ["a"])
    with pytest.raises(NotFound):
        await download_files(client, folder, wanted)

    assert (tmp_path / "back" / "a").read_text() == "old"


async def test_more_than_the_limit_is_refused_before_it_comes(client, folder, tmp_path):
    await send(client, folder, written(tmp_path / "a", 100))

    with pytest.raises(ConfigError, match="100 bytes, and the limit is 99 bytes"):
        await plan_download(client, folder, ["a"], tmp_path / "back", limit=99)
    assert not (tmp_path / "back").exists()


async def test_links_are_left_out_and_told(client, folder, manager, tmp_path):
    place = tmp_path / "manager" / "vfolders" / folder.id
    (place / "passwd").symlink_to("/etc/passwd")
    await send(client, folder, written(tmp_path / "a", 1))
    wanted, skipped = await plan_download(client, folder, ["."], tmp_path / "back")

    assert [each.path for each in wanted] == ["a"]
    assert skipped == ["passwd"]


async def test_empty_folders_go_there_and_come_back(client, folder, tmp_path):
    (tmp_path / "tree" / "empty" / "in it").mkdir(parents=True)
    (tmp_path / "tree" / "a").write_text("a")
    await send(client, folder, tmp_path / "tree")
    await send(client, folder, tmp_path / "tree")  # again is fine
    await fetch(client, folder, tmp_path / "back", "tree")
    await fetch(client, folder, tmp_path / "back", "tree")
    found = [str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*")]

    assert sorted(found) == ["tree", "tree/a", "tree/empty", "tree/empty/in it"]


async def test_a_folder_is_given_as_a_zip_to_who_asks_for_it(client, folder, manager, tmp_path):
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    (tmp_path / "tree" / "sub").mkdir()
    (tmp_path / "tree" / "sub" / "Ünï.txt").write_text("text")
    big = written(tmp_path / "tree" / "big.bin", 3 * MIB)
    await send(client, folder, tmp_path / "tree")
    (tmp_path / "manager" / "vfolders" / folder.id / "tree" / "out").symlink_to("/etc/passwd")

    async def packed(path: str) -> zipfile.ZipFile:
        ticket = await client.send(calls.request_download(folder.id, path))
        ticket = calls.Ticket(ticket.token, ticket.url + "?archive=true")
        async with client.at("GET", ticket, {}, None, "It") as answer:
            assert answer.content_type == "application/zip"
            return zipfile.ZipFile(io.BytesIO(await answer.read()))

    tree = await packed("tree")

    assert sorted(tree.namelist()) == ["big.bin", "empty/", "sub/Ünï.txt"]
    assert tree.read("big.bin") == big.read_bytes()
    assert sorted((await packed(".")).namelist())[0] == "tree/big.bin"
    assert (await packed("tree/empty")).namelist() == ["./"]
    ticket = await client.send(calls.request_download(folder.id, "tree"))
    with pytest.raises(APIError):
        async with client.at("GET", ticket, {}, None, "It"):
            pass


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc/passwd", "a\0b"])
def test_no_name_that_a_server_tells_leads_elsewhere(name):
    with pytest.raises(ProtocolError):
        places.safe_name(name)


async def test_a_path_out_of_the_folder_is_refused_by_the_manager_too(client, folder, tmp_path):
    ticket = await client.send(calls.request_upload(folder.id, "../../evil", 1))
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}

    with pytest.raises(APIError):
        async with client.at("PATCH", ticket, headers, b"x", "It"):
            pass
    ticket = await client.send(calls.request_download(folder.id, "../index.json"))
    with pytest.raises(NotFound):
        async with client.at("GET", ticket, {}, None, "It"):
            pass
    assert not list(tmp_path.rglob("evil"))


async def test_a_token_is_good_for_one_thing_only(client, folder):
    ticket = await client.send(calls.request_upload(folder.id, "a", 1))

    with pytest.raises(APIError) as caught:
        async with client.at(
            "GET",
            calls.Ticket(ticket.token, ticket.url.replace("upload", "download")),
            {},
            None,
            "It",
        ):
            pass
    assert ticket.token not in f"{caught.value!r}{caught.value}{ticket!r}"


async def test_a_file_that_changes_on_its_way_is_told_and_not_mixed(client, folder, tmp_path):
    file = written(tmp_path / "a.bin", 3 * MIB)

    def change(done: int, total: int) -> None:
        if done:
            os.utime(file, ns=(1, 1))

    with pytest.raises(ConfigError, match=r"a\.bin has changed while it was sent"):
        await send(client, folder, file, on_progress=change)

    assert await vfolders.list_entries(client, folder) == []
