"""Files of a session: nothing leaves the work folder, and a tar is as docker packs it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from backendai_kernel.local.coderunner import AgentFailure
from backendai_kernel.local.files import ARCHIVE_LIMIT, archive, list_files, save_upload

OUTSIDE = [
    "../secret",
    "/etc/passwd",
    "a/../../secret",
    "/home/work/../other",
    "link/secret",
    "a\0b",
]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder with a neighbour that is nobody's business, and a link to it."""
    work = tmp_path / "work"
    work.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    (work / "link").symlink_to(outside)
    return work


@pytest.mark.parametrize("name", ["up.txt", "./up.txt", "/home/work/up.txt", "deep/er/up.txt"])
def test_an_upload_lands_in_the_work_folder(work: Path, name: str) -> None:
    save_upload(work, name, b"\x00data")

    path = work / name.removeprefix("/home/work/")
    assert path.read_bytes() == b"\x00data"


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_upload_never_lands_outside(work: Path, name: str) -> None:
    with pytest.raises(AgentFailure):
        save_upload(work, name, b"overwritten")

    assert {p.read_text() for p in work.parent.rglob("secret")} == {"secret"}


def test_an_upload_onto_a_folder_fails(work: Path) -> None:
    (work / "folder").mkdir()
    with pytest.raises(AgentFailure, match="writing uploaded file failed"):
        save_upload(work, "folder", b"")


def test_a_download_is_a_tar_whose_entry_has_the_base_name(work: Path) -> None:
    """Recording 30: one header, 1801 bytes, padding to a block and two blocks of zeros."""
    key = bytes(1801)
    save_upload(work, "deep/id_container", key)
    packed = archive(work, "deep/id_container")

    assert packed[:13] == b"id_container\0"
    assert len(packed) == 3584
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert tar.getnames() == ["id_container"]
        member = tar.extractfile("id_container")
        assert member is not None and member.read() == key


def test_a_folder_is_packed_with_what_is_in_it(work: Path) -> None:
    save_upload(work, "out/a.txt", b"a")
    with tarfile.open(fileobj=io.BytesIO(archive(work, "out"))) as tar:
        assert sorted(tar.getnames()) == ["out", "out/a.txt"]


def test_a_missing_file_cannot_be_downloaded(work: Path) -> None:
    with pytest.raises(AgentFailure, match="could not download"):
        archive(work, "nope.txt")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_download_never_comes_from_outside(work: Path, name: str) -> None:
    with pytest.raises(AgentFailure):
        archive(work, name)


def test_an_archive_over_one_mebibyte_is_refused(work: Path) -> None:
    save_upload(work, "big", bytes(ARCHIVE_LIMIT))
    with pytest.raises(AgentFailure, match="1 MiB"):
        archive(work, "big")

    assert len(archive(work, "big", limit=None)) > ARCHIVE_LIMIT


def test_a_listing_is_json_as_text(work: Path) -> None:
    """Recording 31."""
    save_upload(work, "up.txt", b"uploaded\n")
    listed = list_files(work, ".")
    files = {f["filename"]: f for f in json.loads(listed["files"])}

    assert (listed["errors"], listed["abspath"]) == ("", ".")
    assert listed["files"].endswith("]\n")
    assert set(files) == {"up.txt", "link"}
    assert files["up.txt"]["size"] == 9
    assert files["up.txt"]["mode"].startswith("-rw")
    assert files["link"]["mode"].startswith("l")
    assert set(files["up.txt"]) == {"mode", "size", "ctime", "mtime", "atime", "filename"}


def test_a_missing_folder_is_told_in_the_answer(work: Path) -> None:
    listed = list_files(work, "nope")

    assert listed["files"] == ""
    assert "FileNotFoundError" in listed["errors"]


@pytest.mark.parametrize("name", ["..", "/etc", "link/../.."])
def test_a_listing_takes_no_path_that_leads_outside(work: Path, name: str) -> None:
    with pytest.raises(AgentFailure):
        list_files(work, name)


def test_a_listing_follows_a_link_as_the_server_does(work: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").touch()
    (work / "away").symlink_to(tmp_path / "elsewhere")
    listed = list_files(work, "away")

    assert [file["filename"] for file in json.loads(listed["files"])] == ["a.txt"]
