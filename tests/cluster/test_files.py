"""Files of sessions and virtual folders on a real cluster."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backendai_kernel import sessionfiles, storage, values, vfolders
from backendai_kernel.client import Client
from backendai_kernel.errors import APIError, Conflict, NotFound
from backendai_kernel.listing import find_session
from backendai_kernel.perform import open_session
from backendai_kernel.protocol import calls
from backendai_kernel.protocol.run import Text
from backendai_kernel.run import collect
from backendai_kernel.upload import plan_upload

pytestmark = pytest.mark.cluster
MIB = 2**20


@pytest.fixture
async def folder(client: Client) -> AsyncIterator[calls.Folder]:
    """A virtual folder for one test, gone for good after it."""
    name = f"test-{secrets.token_hex(4)}"
    yield await vfolders.create_folder(client, name)
    for each in [
        *await vfolders.list_folders(client),
        *await vfolders.list_folders(client, in_trash=True),
    ]:
        if each.name.startswith(name):
            await vfolders.delete_folder(client, each, forever=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "sub dir").mkdir(parents=True)
    (tree / "a.bin").write_bytes(os.urandom(1000))
    (tree / "empty").touch()
    (tree / "sub dir" / "Ünï ©ode.txt").write_text("text")
    return tree


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_a_folder_takes_and_gives_files_of_any_size(client, folder, tree, tmp_path):
    (tree / "big.bin").write_bytes(os.urandom(70 * MIB))
    planned = plan_upload([str(tree)], tmp_path, tmp_path)
    await storage.upload_files(client, folder, planned, "in/ner", state=tmp_path / "state")
    wanted, skipped = await storage.plan_download(client, folder, ["in/ner/tree"], tmp_path / "b")
    await storage.download_files(client, folder, wanted)
    listed = await vfolders.list_entries(client, folder)

    assert contents(tmp_path / "b" / "tree") == contents(tree)
    assert [each.name for each in listed] == ["in"]
    assert skipped == []
    assert not list((tmp_path / "state" / "uploads").iterdir())


async def test_another_process_goes_on_with_an_upload(client, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PIECE", MIB)
    file = tmp_path / "a.bin"
    file.write_bytes(os.urandom(4 * MIB))
    planned = plan_upload([str(file)], tmp_path, tmp_path)
    told: list[int] = []

    def stop(done: int, total: int) -> None:
        if done > 2 * MIB:
            upload.cancel()

    upload = asyncio.ensure_future(
        storage.upload_files(client, folder, planned, state=tmp_path / "state", on_progress=stop)
    )
    with pytest.raises(asyncio.CancelledError):
        await upload
    await storage.upload_files(
        client,
        folder,
        planned,
        state=tmp_path / "state",
        on_progress=lambda done, total: told.append(done),
    )
    wanted, _ = await storage.plan_download(client, folder, ["a.bin"], tmp_path / "back")
    await storage.download_files(client, folder, wanted)

    assert told[1] >= 2 * MIB
    assert (tmp_path / "back" / "a.bin").read_bytes() == file.read_bytes()


async def test_a_folder_lives_and_dies_as_on_the_embedded_manager(client, folder, tree, tmp_path):
    with pytest.raises(Conflict):
        await vfolders.create_folder(client, folder.name)
    await storage.upload_files(client, folder, plan_upload([str(tree)], tmp_path, tmp_path))
    await vfolders.make_folders(client, folder, "x/y")
    await vfolders.move_entry(client, folder, "tree/a.bin", "x/b.bin")
    await vfolders.remove_entries(client, folder, ["tree"], recursive=True)
    with pytest.raises(NotFound):
        await vfolders.list_entries(client, folder, "tree/sub dir")
    with pytest.raises(APIError):
        await vfolders.share_folder(client, folder, ["nobody@example.com"])
    await vfolders.rename_folder(client, folder, f"{folder.name}-2")
    renamed = await vfolders.find_folder(client, f"{folder.name}-2")
    info = await vfolders.describe_folder(client, renamed)
    assert await vfolders.delete_folder(client, renamed)
    with pytest.raises(NotFound):
        await vfolders.find_folder(client, renamed.name)
    trashed = await vfolders.find_folder(client, renamed.name, in_trash=True)
    await vfolders.restore_folder(client, trashed)

    assert info.used_bytes is not None and info.used_bytes >= 1000
    assert [e.name for e in await vfolders.list_entries(client, renamed, "x")] == ["y", "b.bin"]


async def test_a_session_takes_and_gives_files(client, session, tree, tmp_path):
    session = await find_session(client, session.id)
    environ = {**os.environ, "BACKENDAI_KERNEL_STATE": str(tmp_path / "state")}
    notes: list[str] = []

    async def both_ways(to: str) -> None:
        planned = plan_upload([str(tree)], tmp_path, tmp_path)
        await sessionfiles.send(client, session, planned, to, environ=environ, on_note=notes.append)
        await sessionfiles.download(
            client,
            session,
            [f"{to}/tree"],
            tmp_path / to,
            environ=environ,
            on_note=notes.append,
        )

    await both_ways("small one")
    mine = await open_session(client, session)
    said = await collect(mine.run("open('small one/tree/a.bin', 'ab').close(); print('mine')"))
    with pytest.raises(NotFound):
        await sessionfiles.list_files(client, session, "no/such")
    with pytest.raises(NotFound):
        await sessionfiles.download(client, session, ["nope"], tmp_path, environ=environ)
    listed = await sessionfiles.list_files(client, session, "small one/tree")

    assert contents(tmp_path / "small one" / "tree") == contents(tree)
    assert {each.name for each in listed} == {"sub dir", "a.bin", "empty"}
    assert "".join(e.text for e in said if isinstance(e, Text)) == "mine\n", said
    assert notes == []
    if shutil.which("sftp") is not None:
        (tree / "big.bin").write_bytes(os.urandom(3 * MIB))
        await both_ways("large")

        assert contents(tmp_path / "large" / "tree") == contents(tree)
        assert len(notes) == 2


@pytest.mark.skipif(shutil.which("sftp") is None, reason="there is no sftp")
async def test_a_gigabyte_comes_from_a_session_whole(client, session, tmp_path):
    session = await find_session(client, session.id)
    environ = {**os.environ, "BACKENDAI_KERNEL_STATE": str(tmp_path / "state")}
    code = (
        "import hashlib, os\n"
        "digest = hashlib.sha256()\n"
        "with open('big.bin', 'wb') as file:\n"
        "    for _ in range(1000):\n"
        "        part = os.urandom(10**6)\n"
        "        digest.update(part)\n"
        "        _ = file.write(part)\n"
        "print(digest.hexdigest())\n"
    )
    there = await open_session(client, session)
    said = await collect(there.run(code))
    [back] = await sessionfiles.download(client, session, ["big.bin"], tmp_path, environ=environ)
    with back.open("rb") as file:
        digest = await asyncio.to_thread(hashlib.file_digest, file, "sha256")
    back.unlink()

    assert "".join(e.text for e in said if isinstance(e, Text)).strip() == digest.hexdigest()


async def test_variables_of_any_size_go_there_and_come_back(client, session):
    there = await open_session(client, await find_session(client, session.id))
    big = os.urandom(9 * MIB)
    await values.push(there, {"big": big, "small": {"a": [1, None, (2.5,)]}})
    said = await collect(there.run("import os; print(len(big), small, os.listdir())"))
    back = await values.pull(there, ["big", "small"])
    told = "".join(e.text for e in said if isinstance(e, Text))

    assert told.startswith(f"{9 * MIB} {{'a': [1, None, (2.5,)]}}")
    assert ".upload-" not in told
    assert back == {"big": big, "small": {"a": [1, None, (2.5,)]}}
