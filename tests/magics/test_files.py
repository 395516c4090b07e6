"""The verbs about files: of sessions, and of virtual folders."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from backendai_kernel.errors import ConfigError, Conflict, NotFound

from .conftest import Notebook
from .test_complete import offered
from .test_verbs import Row, fails, has, shows

BIG = os.urandom(2 * 2**20 + 5)


def lists(*names: str):
    return lambda cell: [each.name for each in cell.value] == list(names)


FILE_ROWS = [
    # -- sessions
    Row("upload files tree 'Ünï code.txt' --to 'in put'", has("✓ Uploaded 3 files (15 bytes)")),
    Row("ls files 'in put'", lists("tree", "Ünï code.txt")),
    Row("session ls files 'in put/tree/sub'", lists("b.txt")),
    Row("download files 'in put/tree' 'in put/Ünï code.txt' --to back", has("3 files (15 bytes)")),
    Row("download files 'in put/tree/a.txt' --to back --limit 1m", has("1 file (5 bytes)")),
    fails("download files 'in put/tree' --to back --limit 3", ConfigError, "the limit is 3 bytes"),
    fails("upload files nosuch.txt", ConfigError, "There is no file"),
    fails("upload files tree --to ../../etc", ConfigError, "outside the session's work folder"),
    fails("upload nosuch tree", NotFound, "There is no session 'nosuch'"),
    fails("download files nosuch.txt", NotFound, "There is no 'nosuch.txt' in the session"),
    fails("download files 'in put' --to tree/a.txt", ConfigError, "is no folder"),
    fails("download files", ConfigError, "PATH is missing"),
    fails("ls files nosuch", NotFound, "There is no 'nosuch' in the session"),
    # -- variables
    Row("push plain array text --session files", has("✓ Set in the session files")),
    Row("pull plain --session files", has("plain  dict")),
    Row("push odd --pickle --session files", has("odd")),
    Row("pull odd --pickle --session files", has("odd  range")),
    fails("push odd --session files", ConfigError, "--pickle sends more"),
    fails("pull odd --session files", ConfigError, "cannot be brought back"),
    fails("push nosuch --session files", NotFound, "There is no variable 'nosuch' here"),
    fails("pull nosuch --session files", NotFound, "no variable 'nosuch' in the session"),
    fails("push 'a b' --session files", ConfigError, "no name of a variable"),
    fails("push plain", ConfigError, "Name one with --session"),
    fails("pull plain --session nosuch", NotFound, "nosuch"),
    # -- virtual folders
    Row("vfolder list", has("There is no virtual folder")),
    Row(
        "vfolder create data --permission wd --usage-mode data --host local:volume1", has("✓ Made")
    ),
    Row("vfolder create shared -g default", has("✓ Made")),
    fails("vfolder create data", Conflict, "already"),
    fails("vfolder create ../x", ConfigError, "is no name for a virtual folder"),
    fails("vfolder create .ssh", ConfigError, "keep the folder name .ssh for themselves"),
    fails("vfolder create", ConfigError, "takes NAME"),
    fails("vfolder frobnicate", ConfigError, "invalid choice"),
    Row("vfolder list", lists("data", "shared")),
    Row("vfolder upload data tree big.bin --to up", shows("of 2.0 MiB")),
    Row("vfolder ls data up", lists("tree", "big.bin")),
    Row("vfolder info data", lambda c: c.value["bytes"] == 10 + len(BIG)),
    Row("vfolder mkdir data x/y", has("✓ Made")),
    Row("vfolder mv data up/tree x/tree", has("x/tree")),
    fails("vfolder rm data x", ConfigError, "-r removes it"),
    Row("vfolder download data x up/big.bin --to vback --limit 3m", has("3 files (2.0 MiB)")),
    fails("vfolder download data up --to vback --limit 1k", ConfigError, "--limit"),
    fails("vfolder ls data ../up", ConfigError, "leads out"),
    Row("vfolder rm data x up/big.bin -r", has("✓ Removed")),
    Row("vfolder rename data data-2", has("data-2 now")),
    fails("vfolder info data", NotFound, "Did you mean data-2?"),
    Row("vfolder share shared somebody@example.com --permission ro", has("Shared shared (ro)")),
    Row("vfolder unshare shared somebody@example.com", has("no longer shared with somebody")),
    fails("vfolder unshare data-2 somebody@example.com", NotFound, "Only project folders"),
    fails("vfolder share data-2 nobody@example.com", NotFound, "No users found"),
    fails("vfolder leave data-2", Exception, "owned by you"),
    Row("vfolder invitations", has("Nobody offers")),
    fails("vfolder accept data-2", NotFound, "Nobody offers"),
    fails("vfolder decline data-2", NotFound, "Nobody offers"),
    Row("vfolder delete data-2", has("in the trash")),
    Row("vfolder list --trash", lists("data-2")),
    Row("vfolder restore data-2", has("is back")),
    Row("vfolder delete data-2 shared --forever", has("gone for good")),
    Row("vfolder list", has("There is no virtual folder")),
]


@pytest.fixture(scope="module", autouse=True)
def places(notebook: Notebook, folder: Path) -> Path:
    notebook("%bai start python -t files")
    (folder / "tree" / "sub").mkdir(parents=True)
    (folder / "tree" / "a.txt").write_text("12345")
    (folder / "tree" / "sub" / "b.txt").write_text("67890")
    (folder / "Ünï code.txt").write_text("ünï!")
    (folder / "Ünï code.txt").write_bytes(b"uni 5")
    (folder / "big.bin").write_bytes(BIG)
    notebook.shell.user_ns.update(VALUES)
    return folder


VALUES = {
    "plain": {"a": [1, 2.5, None, float("inf")], ("t",): b"bytes", "ü": {1, 2}},
    "text": "ü" * 100_000,
    "array": bytearray(os.urandom(500_000)),  # goes in several parts
    "odd": range(3),
}


@pytest.mark.parametrize("row", FILE_ROWS, ids=lambda row: row.line[:50])
def test_row(row: Row, notebook: Notebook) -> None:
    cell = notebook.run(f"%bai {row.line}")
    if row.error is None:
        if cell.error is not None:
            raise cell.error
        assert row.check(cell), cell
    else:
        assert isinstance(cell.error, row.error), cell
        assert row.says in str(cell.error)
        assert "Traceback" not in cell.out + cell.err


def test_what_came_back_is_what_went(places: Path) -> None:
    assert (places / "back" / "tree" / "sub" / "b.txt").read_text() == "67890"
    assert (places / "back" / "Ünï code.txt").read_bytes() == b"uni 5"
    assert (places / "back" / "a.txt").read_text() == "12345"
    assert (places / "vback" / "big.bin").read_bytes() == BIG
    assert (places / "vback" / "x" / "tree" / "a.txt").read_text() == "12345"
    assert not list(places.rglob("*.part")) + list(places.rglob(".bai-*"))


def test_variables_come_back_as_they_went(notebook: Notebook) -> None:
    notebook("%bai push plain array text --session files")
    code = "array[0] ^= 255; assert sum(n.startswith('_backendai') for n in dir()) == 0"
    notebook(f"%%bai run --session files\n{code}")
    for name in VALUES:
        notebook.shell.user_ns[name] = None
    notebook("%bai pull plain array text --session files")
    notebook("%bai pull odd --pickle --session files")
    changed = bytearray(VALUES["array"])
    changed[0] ^= 255

    for name in ("plain", "text", "odd"):
        assert notebook.shell.user_ns[name] == VALUES[name]
    assert notebook.shell.user_ns["array"] == changed


@pytest.mark.skipif(shutil.which("sftp") is None, reason="there is no sftp")
def test_what_is_too_large_for_the_api_goes_through_sftp(notebook: Notebook, places: Path) -> None:
    pytest.importorskip("asyncssh")
    sent = notebook("%bai upload files big.bin tree --to 'lar ge'")
    come = notebook("%bai download files 'lar ge/big.bin' 'lar ge' --to sback")
    (first, second) = places.glob("sback/**/big.bin")

    assert "goes through SFTP" in sent.err
    assert "comes through SFTP" in come.err
    assert {hashlib.sha256(p.read_bytes()).digest() for p in (first, second)} == {
        hashlib.sha256(BIG).digest()
    }
    assert (places / "sback" / "lar ge" / "tree" / "sub" / "b.txt").read_text() == "67890"
    assert not list(places.rglob(".bai-*"))


def test_paths_and_folders_are_completed(notebook: Notebook) -> None:
    notebook("%bai vfolder create completed")
    notebook("%bai vfolder mkdir completed one/two")
    notebook("%bai upload files tree --to made")
    cases = {
        "%bai ls files ma": ["%bai ls files made/"],
        "%bai download files made/tree/su": ["%bai download files made/tree/sub/"],
        "%bai vfolder dele": ["%bai vfolder delete"],
        "%bai vfolder ls comp": ["%bai vfolder ls completed"],
        "%bai vfolder ls completed one/": ["%bai vfolder ls completed one/two/"],
        "%bai vfolder upload completed tre": ["%bai vfolder upload completed tree/"],
    }
    for text, offers in cases.items():
        for _ in range(20):  # what comes too late for one key is there for a later one
            if offered(notebook, text) == offers:
                break
        assert offered(notebook, text) == offers
