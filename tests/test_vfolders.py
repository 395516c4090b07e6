"""Virtual folders on the embedded manager: made, found, listed, shared, mounted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backendai_kernel import vfolders
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.errors import APIError, ConfigError, Conflict, NotFound
from backendai_kernel.local.auth import new_keypair
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES
from backendai_kernel.protocol import calls
from backendai_kernel.protocol.run import Text
from backendai_kernel.run import collect
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session
from backendai_kernel.storage import upload_files
from backendai_kernel.upload import plan_upload
from tests.conftest import ROOMY

FRIEND = new_keypair(user_id="friend@example.com", is_admin=False)


def config_of(manager: LocalManager, keypair=None) -> Config:
    keypair = keypair or manager.keypair
    return Config.from_env(
        {},
        with_profile=False,
        endpoint=manager.url,
        access_key=keypair.access_key,
        secret_key=keypair.secret_key,
    )


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[LocalManager]:
    async with LocalManager(tmp_path / "manager", slots=ROOMY, others=[FRIEND]) as manager:
        yield manager


@pytest.fixture
async def client(manager: LocalManager) -> AsyncIterator[Client]:
    async with Client(config_of(manager)) as client:
        yield client


@pytest.fixture
async def friend(manager: LocalManager) -> AsyncIterator[Client]:
    async with Client(config_of(manager, FRIEND)) as client:
        yield client


async def put(client: Client, folder: calls.Folder, tmp_path: Path, **files: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    planned = plan_upload([str(tmp_path / name) for name in files], tmp_path, tmp_path)
    await upload_files(client, folder, planned)


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data", "my.data_2-b", ".auto", "x" * 64, "7"])
def test_these_are_names(name):
    assert vfolders.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "../up",
        "/abs",
        "-x",
        "x-",
        "a b",
        "ä",
        "a\nb",
        "x" * 65,
        "..x",
        "a\x00",
        ".ssh",
        ".bashrc",
        ".profile_profile",
        ".jupyter",
        ".terminfo",
        ".tmux.conf",
    ],
)
async def test_these_are_no_names_and_nothing_is_sent(name, client):
    with pytest.raises(ConfigError):
        await vfolders.create_folder(client, name)

    assert client.requests == 0


@pytest.mark.parametrize("path", ["..", "a/../../b", "/../x", "a\0b"])
def test_no_path_leads_out_of_a_folder(path):
    with pytest.raises(ConfigError, match="leads out"):
        vfolders.check_path(path)


def test_a_path_begins_at_the_folders_top():
    assert [vfolders.check_path(p) for p in ("", ".", "/", "/a/b/", "a//b", "./a")] == [
        *(".", ".", "."),
        *("a/b", "a/b", "a"),
    ]


# -- folders ----------------------------------------------------------------------------------


async def test_a_folder_is_made_found_renamed_and_deleted(client):
    made = await vfolders.create_folder(client, "data", permission="wd", usage_mode="model")
    await vfolders.rename_folder(client, made, "model-1")
    found = await vfolders.find_folder(client, "model-1")
    is_in_trash = await vfolders.delete_folder(client, found)

    assert (found.permission, found.usage_mode, found.status) == ("wd", "model", "ready")
    assert is_in_trash
    assert await vfolders.list_folders(client) == []
    assert [each.name for each in await vfolders.list_folders(client, in_trash=True)] == ["model-1"]


async def test_a_folder_comes_back_from_the_trash_with_its_files(client, tmp_path):
    folder = await vfolders.create_folder(client, "data")
    await put(client, folder, tmp_path, a="1")
    await vfolders.delete_folder(client, folder)
    trashed = await vfolders.find_folder(client, "data", in_trash=True)
    await vfolders.restore_folder(client, trashed)

    assert [each.name for each in await vfolders.list_entries(client, folder)] == ["a"]


async def test_a_folder_that_is_deleted_for_good_is_gone_from_the_disk(client, tmp_path):
    folder = await vfolders.create_folder(client, "data")
    await put(client, folder, tmp_path, secret="1")
    await vfolders.delete_folder(client, folder, forever=True)

    assert not list((tmp_path / "manager").rglob("secret"))
    assert await vfolders.list_folders(client, in_trash=True) == []


async def test_a_name_that_is_taken_is_told(client):
    await vfolders.create_folder(client, "data")

    with pytest.raises(Conflict, match="There is a virtual folder 'data' already"):
        await vfolders.create_folder(client, "data")


async def test_a_close_name_is_proposed(client):
    await vfolders.create_folder(client, "training-data")

    with pytest.raises(NotFound, match="Did you mean training-data"):
        await vfolders.find_folder(client, "trainingdata")


async def test_an_id_finds_a_folder_too(client):
    made = await vfolders.create_folder(client, "data")

    assert (await vfolders.find_folder(client, made.id)).name == "data"


async def test_folders_outlive_the_manager(tmp_path):
    for _ in range(2):
        async with (
            LocalManager(tmp_path / "m", slots=ROOMY) as manager,
            Client(config_of(manager)) as client,
        ):
            # the keypair is another, its user is the same
            folder, is_new = await vfolders.ensure_folder(client, "kept")

    assert not is_new
    assert folder.name == "kept"


@pytest.mark.parametrize("release", ["23.09", "25.5"])
async def test_older_servers_have_folders_too(release, tmp_path):
    async with (
        LocalManager(tmp_path / "m", slots=ROOMY, release=RELEASES[release]) as manager,
        Client(config_of(manager)) as client,
    ):
        folder = await vfolders.create_folder(client, "old")
        await put(client, folder, tmp_path, a="12")
        await vfolders.make_folders(client, folder, "in/ner")
        entries = await vfolders.list_entries(client, folder)
        with pytest.raises(Conflict):
            await vfolders.create_folder(client, "old")
        is_in_trash = await vfolders.delete_folder(client, folder)

    assert [(each.name, each.is_folder) for each in entries] == [("in", True), ("a", False)]
    assert is_in_trash is (release != "23.09")


# -- what is in one ---------------------------------------------------------------------------


async def test_files_are_moved_and_removed(client, tmp_path):
    folder = await vfolders.create_folder(client, "data")
    await put(client, folder, tmp_path, a="1", b="22")
    await vfolders.make_folders(client, folder, "sub/deep")
    await vfolders.move_entry(client, folder, "a", "sub/c d")
    await vfolders.remove_entries(client, folder, ["b"])

    assert [each.name for each in await vfolders.list_entries(client, folder)] == ["sub"]
    assert [(e.name, e.size) for e in await vfolders.list_entries(client, folder, "sub/c d")] == [
        ("c d", 1)
    ]


async def test_a_folder_is_removed_only_when_that_is_meant(client):
    folder = await vfolders.create_folder(client, "data")
    await vfolders.make_folders(client, folder, "sub/deep")
    with pytest.raises(ConfigError, match="sub is a folder"):
        await vfolders.remove_entries(client, folder, ["sub"])
    with pytest.raises(ConfigError, match="the whole virtual folder"):
        await vfolders.remove_entries(client, folder, ["/"], recursive=True)
    await vfolders.remove_entries(client, folder, ["sub"], recursive=True)

    assert await vfolders.list_entries(client, folder) == []


async def test_a_path_that_is_not_there_is_told(client):
    folder = await vfolders.create_folder(client, "data")

    with pytest.raises(NotFound, match="There is no 'nope/x' in the virtual folder data"):
        await vfolders.list_entries(client, folder, "nope/x")
    with pytest.raises(NotFound, match="There is no 'nope'"):
        await vfolders.remove_entries(client, folder, ["nope"])


async def test_a_link_in_a_folder_leads_nowhere(client, manager, tmp_path):
    folder = await vfolders.create_folder(client, "data")
    place = next((tmp_path / "manager" / "vfolders").glob(folder.id))
    (place / "out").symlink_to(tmp_path)

    with pytest.raises(NotFound):
        await vfolders.list_entries(client, folder, "out/manager")
    with pytest.raises(APIError):
        await vfolders.move_entry(client, folder, "out/manager", "mine")


# -- shared -----------------------------------------------------------------------------------


async def test_a_folder_is_offered_accepted_and_left(client, friend):
    folder = await vfolders.create_folder(client, "data")
    at_once = await vfolders.share_folder(client, folder, ["friend@example.com"], "ro")
    offered = await vfolders.answer_invitation(friend, "data", accept=True)
    theirs = await vfolders.find_folder(friend, "data")
    with pytest.raises(APIError, match="not allowed"):
        await vfolders.make_folders(friend, theirs, "mine")
    await vfolders.leave_folder(friend, theirs)

    assert not at_once
    assert offered.vfolder_name == "data"
    assert (theirs.permission, theirs.is_owner) == ("ro", False)
    assert await vfolders.list_folders(friend) == []


async def test_a_project_folder_is_shared_and_shared_no_longer(client, friend, manager):
    project = await vfolders.create_folder(client, "team", project="default")
    own = await vfolders.create_folder(client, "mine")
    at_once = await vfolders.share_folder(client, project, ["friend@example.com"], "ro")
    seen = await vfolders.find_folder(friend, "team")
    with pytest.raises(APIError):
        await vfolders.make_folders(friend, seen, "no")
    await vfolders.unshare_folder(client, project, ["friend@example.com"])
    again = await vfolders.find_folder(friend, "team")
    await vfolders.make_folders(friend, again, "yes")
    with pytest.raises(APIError, match="Only project folders"):
        await vfolders.unshare_folder(client, own, ["friend@example.com"])
    with pytest.raises(APIError):
        await vfolders.unshare_folder(friend, again, ["friend@example.com"])

    assert at_once
    assert (seen.permission, again.permission) == ("ro", "rw")


async def test_a_folder_that_nobody_shared_is_not_seen(client, friend):
    folder = await vfolders.create_folder(client, "data")
    await vfolders.share_folder(client, folder, ["friend@example.com"])
    await vfolders.answer_invitation(friend, "data", accept=False)

    with pytest.raises(NotFound):
        await vfolders.find_folder(friend, "data")
    with pytest.raises(NotFound):
        await vfolders.list_entries(friend, folder)


# -- mounted ----------------------------------------------------------------------------------


async def test_a_mounted_folder_is_the_same_folder(client, tmp_path):
    folder = await vfolders.create_folder(client, "data")
    await vfolders.create_folder(client, ".auto")
    await put(client, folder, tmp_path, a="from here")
    session = await start_session(client, Request("python", mounts={"data": "in/put"}), "mounts")
    code = "import os; print(open('in/put/a').read(), os.path.isdir('.auto')); "
    events = await collect(session.run(code + "open('in/put/b', 'w').write('from there')"))
    await session.destroy()

    assert "".join(e.text for e in events if isinstance(e, Text)).startswith("from here True")
    assert [e.name for e in await vfolders.list_entries(client, folder)] == ["a", "b"]


@pytest.fixture(scope="session")
def needs_protection() -> None:
    code = "import sys, pathlib; from backendai_kernel.local.readonly import protect; "
    code += "sys.exit(not protect([pathlib.Path(sys.argv[1])]))"
    tried = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)])
    if tried.returncode:
        pytest.skip("this system lets nobody mount")


TRY = """
import os, subprocess
def tried(function, *arguments):
    try:
        function(*arguments)
        print("done", end=" ")
    except OSError as exc:
        print(exc.strerror, end=" ")
print(open("data/a").read(), end=" ")
tried(open, "data/b", "w")
tried(open, "data/a", "a")
tried(os.remove, "data/a")
print(subprocess.call("touch data/c 2>/dev/null; mv data/a data/d 2>/dev/null", shell=True))
open("own", "w").close()
"""


@pytest.mark.usefixtures("needs_protection")
async def test_a_folder_that_is_shared_to_be_read_cannot_be_written_to(
    client, friend, manager, tmp_path
):
    folder = await vfolders.create_folder(client, "data")
    await put(client, folder, tmp_path, a="from here")
    await vfolders.share_folder(client, folder, ["friend@example.com"], "ro")
    await vfolders.answer_invitation(friend, "data", accept=True)
    session = await start_session(friend, Request("python", mounts={"data": ""}), "reads")
    said = await collect(session.run(TRY))
    with pytest.raises(APIError):
        await friend.send(calls.upload_files(session.id, [calls.Part("data/up", b"x")]))
    await put(client, folder, tmp_path, later="by its owner")
    seen = await collect(session.run("print(open('data/later').read())"))

    no = "Read-only file system"
    assert "".join(e.text for e in said if isinstance(e, Text)) == f"from here {no} {no} {no} 1\n"
    assert [e.text for e in seen if isinstance(e, Text)] == ["by its owner\n"]
    assert [e.name for e in await vfolders.list_entries(client, folder)] == ["a", "later"]


@pytest.mark.usefixtures("needs_protection")
async def test_who_wants_to_read_only_is_kept_from_writing(client, manager):
    await vfolders.create_folder(client, "data")
    call = calls.create_session(
        image="python", name="reads", slots={}, domain="default", group="default", mounts=["data"]
    )
    assert call.body is not None
    call.body["config"]["mount_options"] = {"data": {"permission": "ro"}}
    await client.send(call)
    async with asyncio.timeout(60):
        await manager.session("reads").settled.wait()
    session = ComputeSession(client, manager.session("reads").id, "reads")
    said = await collect(session.run("open('data/b', 'w')"))

    assert "Read-only file system" in "".join(e.text for e in said if isinstance(e, Text))


@pytest.mark.parametrize("target", ["../../etc", "/etc/data", "."])
async def test_a_folder_is_mounted_below_the_home_folder_only(client, target):
    await vfolders.create_folder(client, "data")

    with pytest.raises(APIError, match="below /home/work only"):
        await start_session(client, Request("python", mounts={"data": target}), "mounts")
