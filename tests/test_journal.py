"""What cells have shown, on disk: whole up to a bound, and the oldest go first."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from backendai_kernel import journal as journal_module
from backendai_kernel.errors import ConfigError
from backendai_kernel.journal import Head, Journal, limit_of
from backendai_kernel.protocol.envelope import Message
from backendai_kernel.protocol.run import Finished, Media, Text

HAVE = {"stdout": 0, "stderr": 0, "rich": 0}


def journal(folder: Path, limit: str = "1g") -> Journal:
    environ = {"BACKENDAI_KERNEL_STATE": str(folder), "BACKENDAI_KERNEL_JOURNAL": limit}
    return Journal(environ, "notebook")


def head(key: str) -> Head:
    return Head("id", "run", key, "nonce", 1, "code")


def cell(kept: Journal, key: str, *texts: str) -> None:
    kept.begin(head(key))
    for text in texts:
        kept.answer([Text("stdout", text)], HAVE)
    kept.answer([Finished(0)], HAVE)
    kept.close()


def text_of(kept: Journal) -> str:
    entry = kept.last()
    assert entry is not None
    return "".join(event.text for event in entry.events() if isinstance(event, Text))


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("journal/*/*.jsonl"))


@pytest.mark.parametrize(
    "text",
    ["", "a", 'quote " \\ \x00 \x1b[31m \n\r\u2028', "글자 🙂", "half \ud83d a letter", "]}"],
)
@pytest.mark.parametrize("long", [journal_module._LONG, 0])
def test_what_is_kept_comes_back_as_it_was(tmp_path, monkeypatch, text, long):
    monkeypatch.setattr(journal_module, "_LONG", long)  # those of a picture go another way
    kept = journal(tmp_path)
    events = [
        Text("stdout", f"{text}x"),
        Media("image/png", text),
        Message("display_data", {"data": {"text/plain": text, "n": [1]}}, {}, "o", (b"\0\xff",)),
        Text("stderr", f"{text}y"),
        Finished(1),
    ]
    kept.begin(head("key"))
    kept.answer(events, {"stdout": 3})
    kept.close()
    entry = kept.last()

    assert entry is not None
    assert list(entry.events()) == events
    assert entry.have == {"stdout": 3}
    assert entry.is_over


@pytest.mark.parametrize("letter", ["x", "\n", "글", "🙂", "\ud83d"])
def test_a_long_text_is_written_in_pieces_and_comes_back_as_one(tmp_path, monkeypatch, letter):
    monkeypatch.setattr(journal_module, "_PIECE", 100)
    written = list(journal_module._written({"said": [["stdout", letter * 1234]], "have": HAVE}))
    kept = journal(tmp_path)
    cell(kept, "key", letter * 1234)

    assert len(written) > 12
    assert text_of(kept) == letter * 1234


def test_a_text_of_another_script_takes_the_bytes_that_it_has(tmp_path):
    kept = journal(tmp_path)
    cell(kept, "key", "글" * 10_000)

    assert size_of(tmp_path) < 31_000


def test_the_running_cell_takes_the_room_of_older_ones(tmp_path):
    kept = journal(tmp_path, "10k")
    for key in ("a", "b", "c"):
        cell(kept, key, "x" * 2500)
    cell(kept, "d", *["y" * 1000] * 9)

    assert text_of(kept) == "y" * 9000
    assert not kept.is_cut
    assert len(kept.entries()) == 1
    assert size_of(tmp_path) <= 10_240


def test_the_cell_before_stays_as_long_as_there_is_room(tmp_path):
    kept = journal(tmp_path, "10k")
    cell(kept, "long", "x" * 9000)
    cell(kept, "short", "y")

    assert [entry.head.key for entry in kept.entries()] == ["short", "long"]


def test_beyond_the_bound_a_cell_is_cut_between_two_answers_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "_PIECE", 100)
    kept = journal(tmp_path, "10k")
    cell(kept, "a", "x" * 2500)
    cell(kept, "b", *["y" * 2000] * 9)
    entry = kept.last()

    assert kept.is_cut
    assert entry is not None
    assert entry.is_cut
    assert text_of(kept) == "y" * 8000
    assert size_of(tmp_path) <= 10_240 + len('{"cut":true}\n')


def test_the_next_cell_is_whole_again(tmp_path):
    kept = journal(tmp_path, "10k")
    cell(kept, "a", "x" * 20_000)
    cell(kept, "b", "y")

    assert not kept.is_cut
    assert text_of(kept) == "y"


def test_a_full_disk_cuts_the_journal_and_not_the_cell(tmp_path, monkeypatch):
    kept = journal(tmp_path)
    kept.begin(head("a"))
    kept.answer([Text("stdout", "before")], HAVE)

    def full(file: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal_module, "_put", full)
    kept.answer([Text("stdout", "after")], HAVE)
    monkeypatch.undo()

    assert kept.is_cut
    assert text_of(kept) == "before"


def test_the_bound_of_a_cell_is_at_least_a_gibibyte_unless_it_is_set():
    assert limit_of({}) >= 2**30
    assert limit_of({"BACKENDAI_KERNEL_JOURNAL": "3g"}) == 3 * 2**30
    with pytest.raises(ConfigError, match="which is no size"):
        limit_of({"BACKENDAI_KERNEL_JOURNAL": "much"})


def test_old_notebooks_go_and_what_cannot_go_stands_in_no_cells_way(tmp_path):
    root = tmp_path / "journal"
    for name in ("old", "kept", "new"):
        (root / name).mkdir(parents=True)
        (root / name / "1.jsonl").write_text("{}\n")
    (root / "kept" / ".DS_Store").write_bytes(b"not ours")
    (root / "a-file").write_text("not ours")
    long_ago = time.time() - 31 * 86400
    for name in ("old", "kept", "a-file"):
        os.utime(root / name, (long_ago, long_ago))
    kept = journal(tmp_path)
    cell(kept, "one", "text")

    assert text_of(kept) == "text"
    assert sorted(path.name for path in root.iterdir()) == ["a-file", "kept", "new", "notebook"]
    assert [path.name for path in (root / "kept").iterdir()] == [".DS_Store"]
    assert (root / "new" / "1.jsonl").exists()
