"""How ``%bai`` is written in cells: assignments, questions, signs that IPython would expand."""

from __future__ import annotations

import threading

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from backendai_kernel.tables import Table, Text
from backendai_magics.notation import rewrite


@pytest.mark.parametrize("text", ["x = %bai ps", "x << %bai ps", "a.b = %bai ps"])
def test_a_value_is_kept_and_nothing_is_shown(notebook, text):
    cell = notebook("class A: pass\na = A()\n" + text)

    assert (cell.value, cell.out) == (None, "")
    kept = notebook.shell.user_ns
    assert isinstance(kept["a"].b if "a.b" in text else kept["x"], Table)


def test_a_value_is_returned_and_not_printed_as_well(notebook):
    cell = notebook("%bai ps")

    assert isinstance(cell.value, Table)
    assert cell.out == cell.err == ""


def test_an_assignment_may_stand_anywhere(notebook):
    notebook("import os\nif True:\n    y << %bai ps\nz << %bai images")

    assert len(notebook.shell.user_ns["z"]) == 1
    assert isinstance(notebook.shell.user_ns["y"], Table)


def test_what_stands_in_a_string_is_left_alone():
    text = ['s = """\n', "x << %bai ps\n", "%bai run?\n", '"""\n']

    assert rewrite(text) == text
    assert rewrite(["x << 3\n", "y = f(\n", "z << %bai ps\n"])[2] == "z << %bai ps\n"


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("%bai?", "%bai -h"),
        ("%bai run?", "%bai run -h"),
        ("%bai run??", "%bai run -h"),
        ("%%bai run?", "%bai run -h"),
        ("%bai session list ?", "%bai session list -h"),
        ("  %bai ps?", "  %bai ps -h"),
        ("%bai run python -c 'x?'", "%bai run python -c 'x?'"),
        ("bai = 5", "bai = 5"),
    ],
)
def test_a_question_asks_for_help(text, means):
    assert rewrite([text + "\n"]) == [means + "\n"]


@pytest.mark.parametrize("text", ["%bai run?", "%%bai run?\nbody", "%bai ps -h", "%bai help ps"])
def test_help_is_a_value(notebook, text):
    cell = notebook(text)

    assert isinstance(cell.value, Text)
    assert str(cell.value).startswith("usage: %bai ")


def test_braces_and_dollars_are_never_expanded(notebook):
    notebook("secret = 'EXPANDED'")
    cell = notebook.run("%bai ps --filter '{secret} $secret'")

    assert "EXPANDED" not in str(cell.error)


def test_a_cell_with_an_assignment_is_complete(notebook):
    manager = TransformerManager()
    manager.cleanup_transforms.append(rewrite)

    assert manager.check_complete("x << %bai ps\n")[0] == "complete"


def test_a_semicolon_silences_the_value(notebook):
    assert notebook("%bai images;").value is None


def test_loading_again_and_unloading_leave_nothing(notebook):
    shell = notebook.shell
    before = (list(shell.input_transformers_cleanup), list(shell.Completer.custom_matchers))
    shell.extension_manager.load_extension("backendai_magics")
    shell.extension_manager.reload_extension("bai")
    notebook("%bai ps")

    assert [len(shell.input_transformers_cleanup), len(shell.Completer.custom_matchers)] == [
        len(each) for each in before
    ]
    shell.extension_manager.unload_extension("bai")

    assert shell.find_line_magic("bai") is shell.find_cell_magic("bai") is None
    assert rewrite not in shell.input_transformers_cleanup
    assert shell.Completer.custom_matchers == []
    assert "BaiMagics" not in shell.magics_manager.registry
    others = portals()
    shell.extension_manager.load_extension("bai")
    notebook("%bai ps")
    mine = portals() - others
    shell.extension_manager.unload_extension("bai")

    assert len(mine) == 1
    assert not any(thread.is_alive() for thread in mine)
    shell.extension_manager.load_extension("bai")


def portals() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "backendai-portal"}
