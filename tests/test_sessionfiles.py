"""Files of sessions: archives unpacked where they belong, nothing half, links and empty folders."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backendai_kernel import sessionfiles
from backendai_kernel.client import Client
from backendai_kernel.errors import ConfigError, ProtocolError
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.model import Session
from backendai_kernel.sftp import quoted
from backendai_kernel.start import Request, start_session
from backendai_kernel.unpack import unpack
from backendai_kernel.upload import plan_upload
from tests.test_vfolders import config_of


def packed(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def entry(name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o6755
    return info, data


GOOD = entry("dir/good", b"good")

EVIL = {
    "absolute": [entry("/tmp/evil")],
    "up": [entry("../evil")],
    "up in the midst": [entry("dir/../../evil")],
    "up at the end": [entry("dir/..", b"", tarfile.DIRTYPE)],
    "nothing of a name": [entry("", b"", tarfile.DIRTYPE)],
    "the folder itself": [entry(".", b"x")],
}


@pytest.mark.parametrize("entries", EVIL.values(), ids=EVIL)
def test_an_archive_that_would_escape_is_refused_whole(entries, tmp_path):
    (tmp_path / "outside").write_text("secret")
    to = tmp_path / "to"
    to.mkdir()

    with pytest.raises(ProtocolError, match="Nothing was unpacked"):
        unpack(packed(GOOD, *entries), to)

    assert list(to.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "to"]


ODD = {
    "symbolic link": [entry("l", b"", tarfile.SYMTYPE, "..")],
    "link, then through it": [entry("l", b"", tarfile.SYMTYPE, "/tmp"), entry("l/inside")],
    "hard link": [entry("h", b"", tarfile.LNKTYPE, "../outside")],
    "hard link to a link": [
        entry("l", b"", tarfile.SYMTYPE, "../outside"),
        entry("h", b"", tarfile.LNKTYPE, "l"),
    ],
    "device": [entry("d", b"", tarfile.CHRTYPE)],
    "block device": [entry("d", b"", tarfile.BLKTYPE)],
    "pipe": [entry("p", b"", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("entries", ODD.values(), ids=ODD)
def test_links_and_devices_of_an_archive_are_left_out_and_told(entries, tmp_path):
    (tmp_path / "outside").write_text("secret")
    left_out: list[str] = []
    unpack(packed(GOOD, *entries), tmp_path / "to", on_left_out=left_out.append)
    there = [path for path in (tmp_path / "to").rglob("*") if path.is_file()]

    odd = [info.name for info, _ in entries if info.type != tarfile.REGTYPE]
    assert left_out == odd
    assert {path.read_bytes() for path in there} <= {b"good", b"x"}
    assert not any(path.is_symlink() for path in (tmp_path / "to").rglob("*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "to"]
    assert (tmp_path / "outside").stat().st_nlink == 1


def test_a_hard_link_within_an_archive_becomes_a_copy(tmp_path):
    unpack(packed(GOOD, entry("dir/h", b"", tarfile.LNKTYPE, "dir/good")), tmp_path)

    assert (tmp_path / "dir" / "h").read_bytes() == b"good"


def test_copies_of_hard_links_count_for_the_limit(tmp_path):
    links = [entry(f"dir/{i}", b"", tarfile.LNKTYPE, "dir/good") for i in range(100)]

    with pytest.raises(ConfigError, match="404 bytes"):
        unpack(packed(GOOD, *links), tmp_path, limit=400)


def test_nothing_is_written_through_a_link_of_this_computer(tmp_path):
    to = tmp_path / "to"
    to.mkdir()
    (to / "dir").symlink_to(tmp_path)

    with pytest.raises(ProtocolError, match="through a link"):
        unpack(packed(GOOD), to)

    assert not (tmp_path / "good").exists()


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "outside").write_text("untouched")
    to = tmp_path / "to"
    to.mkdir()
    (to / "good").symlink_to(tmp_path / "outside")
    unpack(packed(entry("good", b"new")), to)

    assert (to / "good").read_text() == "new"
    assert (tmp_path / "outside").read_text() == "untouched"


def test_the_limit_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="104 bytes, and the limit is 100 bytes"):
        unpack(packed(GOOD, entry("more", b"x" * 100)), tmp_path, limit=100)

    assert list(tmp_path.iterdir()) == []


def test_a_good_archive_is_unpacked_without_what_a_mode_could_do(tmp_path):
    tops = unpack(packed(GOOD, entry("Ünï ©", b"u")), tmp_path)

    assert tops == [tmp_path / "dir", tmp_path / "Ünï ©"]
    assert (tmp_path / "dir" / "good").read_bytes() == b"good"
    assert (tmp_path / "dir" / "good").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("data", [b"", b"no tar", b"\0" * 100, packed(GOOD)[:400]])
def test_a_broken_archive_writes_nothing(data, tmp_path):
    with pytest.raises(ProtocolError):
        unpack(data, tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["a\nrm *", "a\rb", "a\0b"])
def test_no_path_smuggles_a_command_into_sftp(path):
    with pytest.raises(ConfigError):
        quoted(path)


def test_a_path_is_quoted_for_sftp():
    assert quoted('a "b" \\c') == '"a \\"b\\" \\\\c"'
    assert quoted("-rf") == '"./-rf"'


# -- sessions -----------------------------------------------------------------------------------

BIG = 400 * 2**20  # bytes, of holes: quick to make, and long enough on its way to be called off


@dataclass
class There:
    """A session, its work folder on this computer, and what it takes to send and fetch."""

    client: Client
    session: Session
    work: Path
    options: dict[str, Any]

    async def send(self, *paths: Path, **options: Any) -> None:
        planned = plan_upload([*map(str, paths)], paths[0].parent, paths[0].parent)
        await sessionfiles.send(self.client, self.session, planned, **self.options, **options)

    async def fetch(self, to: Path, *paths: str) -> list[str]:
        left_out: list[str] = []
        await sessionfiles.download(
            self.client,
            self.session,
            paths,
            to,
            **self.options,
            on_left_out=left_out.append,
        )
        return left_out


@pytest.fixture
async def there(manager: LocalManager, tmp_path: Path) -> AsyncIterator[There]:
    async with Client(config_of(manager)) as client:
        started = await start_session(client, Request("python"), "files")
        session = await started.look()
        assert session is not None
        environ = {**os.environ, "BACKENDAI_KERNEL_STATE": str(tmp_path / "state")}
        work = manager.container("files").spec.work
        yield There(client, session, work, {"environ": environ})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "empty" / "in empty").mkdir(parents=True)
    (tree / "full").mkdir()
    (tree / "full" / "a.txt").write_text("a")
    (tree / "to file").symlink_to("full/a.txt")
    (tree / "to folder").symlink_to("full")
    (tree / "full" / "round").symlink_to("..")
    (tree / "nowhere").symlink_to("no/such")
    os.mkfifo(tree / "pipe")
    return tree


FOLLOWED = {
    "empty/in empty": "",
    "full/a.txt": "a",
    "to file": "a",
    "to folder/a.txt": "a",
}


def contents(folder: Path) -> dict[str, str]:
    """Files with what is in them, and empty folders."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        if path.is_file() or (path.is_dir() and not any(path.iterdir()))
    }


def test_links_are_followed_as_by_scp_and_what_is_no_file_is_told(tree):
    left_out: list[str] = []
    planned = plan_upload(["tree"], tree.parent, tree.parent, left_out.append)

    assert {file.name.removeprefix("tree/") for file in planned} == set(FOLLOWED)
    assert left_out == [
        "tree/full/round",
        "tree/nowhere",
        "tree/pipe",
        "tree/to folder/round",
    ]


needs_sftp = pytest.mark.skipif(shutil.which("sftp") is None, reason="there is no sftp")


@pytest.mark.parametrize("way", ["api", pytest.param("sftp", marks=needs_sftp)])
async def test_a_tree_goes_there_and_comes_back(there, tree, tmp_path, way, monkeypatch):
    if way == "sftp":
        pytest.importorskip("asyncssh")
        monkeypatch.setattr(sessionfiles, "API_LIMIT", 0)
    await there.send(tree)
    sent = contents(there.work / "tree")
    (there.work / "tree" / "link").symlink_to("full")
    os.mkfifo(there.work / "tree" / "pipe")
    if way == "sftp":

        async def too_large(*words: Any) -> None:
            return None

        monkeypatch.setattr(sessionfiles, "_archive", too_large)
    left_out = await there.fetch(tmp_path / "back", "tree")

    assert sent == FOLLOWED
    assert contents(tmp_path / "back" / "tree") == FOLLOWED
    assert sorted(each.rpartition("/")[2] for each in left_out) == ["link", "pipe"]


async def test_a_path_that_is_a_link_is_followed(there, tmp_path):
    (there.work / "data" / "inner").mkdir(parents=True)
    (there.work / "data" / "inner" / "a.txt").write_text("a")
    (there.work / "one").symlink_to("two")
    (there.work / "two").symlink_to("data/inner")
    (there.work / "round").symlink_to("round")
    (there.work / "file").symlink_to("data/inner/a.txt")
    await there.fetch(tmp_path / "back", "one", "file")

    assert (tmp_path / "back" / "one" / "a.txt").read_text() == "a"
    assert (tmp_path / "back" / "file").read_text() == "a"
    with pytest.raises(ConfigError):
        await there.fetch(tmp_path / "back", "round")


async def called_off(task: asyncio.Task[Any], when: Callable[[], bool]) -> None:
    """Cancel *task* as soon as something is so."""
    async with asyncio.timeout(60):
        while not when():
            assert not task.done(), task
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled()


@needs_sftp
async def test_what_is_called_off_on_its_way_through_sftp_leaves_nothing_half(there, tmp_path):
    pytest.importorskip("asyncssh")
    (there.work / "to").mkdir()
    (there.work / "to" / "big").write_text("old")
    with (tmp_path / "big").open("wb") as file:
        file.truncate(BIG)
    await called_off(
        asyncio.create_task(there.send(tmp_path / "big", to="to")),
        lambda: any(path.stat().st_size for path in (there.work / "to").glob(".big.*")),
    )
    assert contents(there.work / "to") == {"big": "old"}
    shutil.move(tmp_path / "big", there.work / "big")
    back = tmp_path / "back"
    back.mkdir()
    (back / "big").write_text("mine")
    await called_off(
        asyncio.create_task(there.fetch(back, "big")),
        lambda: any(path.is_file() for path in back.glob(".bai-*/*")),
    )

    assert contents(back) == {"big": "mine"}
    assert list(back.iterdir()) == [back / "big"]


async def test_what_is_called_off_over_the_api_leaves_nothing_half(there, manager, tmp_path):
    tree = tmp_path / "many"
    tree.mkdir()
    for number in range(30):
        (tree / f"{number}.txt").write_text("whole")
    fault = manager.faults.delay(20, path="*/upload")
    await called_off(asyncio.create_task(there.send(tree)), lambda: fault.hits > 0)
    manager.faults.clear()
    left = {path.read_text() for path in (there.work / "many").glob("*")}
    await there.send(tree)
    fault = manager.faults.delay(20, path="*/download")
    fetch = asyncio.create_task(there.fetch(tmp_path / "back", "many"))
    await called_off(fetch, lambda: fault.hits > 0)

    assert left <= {"whole"}
    assert len(list((there.work / "many").iterdir())) == 30
    assert not (tmp_path / "back").exists()


async def test_pieces_of_a_program_called_off_are_removed(there, tmp_path):
    from backendai_kernel.perform import open_session
    from backendai_kernel.upload import upload

    (tmp_path / "data.bin").write_bytes(bytes(20 * 2**20))
    session = await open_session(there.client, there.session)
    planned = plan_upload(["data.bin"], tmp_path, tmp_path)

    def stop(sent: int, total: int) -> None:
        if sent:
            task.cancel()

    task = asyncio.create_task(upload(session, planned, stop))
    await asyncio.wait({task})

    assert task.cancelled()
    assert not [path for path in there.work.iterdir() if "upload" in path.name]
    assert not list(there.work.glob("data.bin*"))
