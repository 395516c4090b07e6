"""The official command line's virtual folders, against the embedded manager."""

from __future__ import annotations

import hashlib
import os

from .test_command_line import CommandLine, cli, pytestmark

__all__ = ["cli", "pytestmark"]  # the fixture, and where these tests run


async def test_a_folder_is_made_filled_listed_and_removed(cli: CommandLine) -> None:
    made = await cli("vfolder", "create", "data", "local:volume1")
    listed = await cli("vfolder", "list")
    told = await cli("vfolder", "info", "data")
    folders = await cli("vfolder", "mkdir", "-p", "data", "a/b", "c")
    inside = await cli("vfolder", "ls", "data", "a")
    deleted = await cli("vfolder", "delete", "data")
    after = await cli("vfolder", "list")

    assert (made.status, "data" in made.text) == (0, True), made
    assert listed.status == 0 and "data" in listed.out and "local:volume1" in listed.out, listed
    assert told.status == 0 and "data" in told.out, told
    assert folders.status == 0, folders
    assert inside.status == 0 and "b" in inside.out, inside
    assert deleted.status == 0, deleted
    assert "DELETE_PENDING" in after.out.upper().replace("-", "_") or "data" not in after.out, after


async def test_files_go_up_and_come_down(cli: CommandLine) -> None:
    big = os.urandom(20 * 2**20)  # more than one of its pieces
    (cli.folder / "big.bin").write_bytes(big)
    (cli.folder / "tree" / "sub").mkdir(parents=True)
    (cli.folder / "tree" / "sub" / "Ünï ©ode.txt").write_text("text")
    await cli("vfolder", "create", "data", "local:volume1")
    up = await cli("vfolder", "upload", "data", "big.bin")
    tree = await cli("vfolder", "upload", "-r", "data", "tree")
    listed = await cli("vfolder", "ls", "data")
    back = cli.folder / "back"
    back.mkdir()
    down = await cli("vfolder", "download", "-b", "back", "data", "big.bin")
    removed = await cli("vfolder", "rm", "data", "big.bin", says="y\n")
    removed_tree = await cli("vfolder", "rm", "-r", "data", "tree", says="y\n")
    after = await cli("vfolder", "ls", "data")

    assert up.status == 0, up
    assert tree.status == 0, tree
    assert "big.bin" in listed.out and "tree" in listed.out, listed
    assert down.status == 0, down
    assert hashlib.sha256((back / "big.bin").read_bytes()).digest() == hashlib.sha256(big).digest()
    assert removed.status == 0, removed
    assert removed_tree.status == 0, removed_tree
    assert "big.bin" not in after.out and "tree" not in after.out, after
