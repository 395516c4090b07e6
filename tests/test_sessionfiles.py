"""Archives from a server are unpacked where they belong, or not at all."""

from __future__ import annotations

import io
import tarfile

import pytest

from backendai_kernel.errors import ConfigError, ProtocolError
from backendai_kernel.sessionfiles import quoted, unpack


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
    "symbolic link": [entry("l", b"", tarfile.SYMTYPE, "..")],
    "link, then through it": [entry("l", b"", tarfile.SYMTYPE, "/tmp"), entry("l/evil")],
    "hard link": [entry("h", b"", tarfile.LNKTYPE, "../outside")],
    "device": [entry("d", b"", tarfile.CHRTYPE)],
    "block device": [entry("d", b"", tarfile.BLKTYPE)],
    "pipe": [entry("p", b"", tarfile.FIFOTYPE)],
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
