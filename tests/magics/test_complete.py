"""The Tab key behind ``%bai``: words, names that the server knows, and never a wait."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from IPython.core.completer import provisionalcompleter

from backendai_magics import complete

from .conftest import Notebook, settings


@pytest.fixture(scope="module", autouse=True)
def a_session(notebook, folder):
    notebook("%bai start python -t complete-me --enqueue-only --tag t")
    (folder / "data").mkdir()
    (folder / "data" / "set one.csv").write_text("")
    (folder / "deep.py").write_text("")


def offered(notebook: Notebook, text: str) -> list[str]:
    """Return what Tab offers at the end of *text*, without what stands before the last word."""
    with provisionalcompleter():
        found = notebook.shell.Completer.completions(text, len(text))
        return [text[: each.start] + each.text for each in found]


def offered_at_last(
    notebook: Notebook, text: str, enough: Callable[[list[str]], bool]
) -> list[str]:
    """Press Tab until what is offered is *enough*: what came too late is there for a later key."""
    until = time.monotonic() + 30
    while not enough(found := offered(notebook, text)) and time.monotonic() < until:
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(
    ("text", "offers"),
    [
        ("%bai p", ["%bai ps", "%bai push", "%bai pull", "%bai panel"]),
        ("%%bai ru", ["%%bai run"]),
        ("x = %bai im", ["x = %bai images"]),
        ("x << %bai im", ["x << %bai images"]),
        ("%bai session li", ["%bai session list"]),
        ("%bai admin ", ["%bai admin sessions"]),
        ("%bai ps --ru", ["%bai ps --running"]),
        ("%bai rm compl", ["%bai rm complete-me"]),
        ("%bai rm complete-me compl", ["%bai rm complete-me complete-me"]),
        ("x = %bai info comp", ["x = %bai info complete-me"]),
        ("%bai run pyth", ["%bai run python", "%bai run python:3.11"]),
        ("%bai run python --session comp", ["%bai run python --session complete-me"]),
        ("%bai run --session=comp", ["%bai run --session=complete-me"]),
        ("%bai run python -r g", ["%bai run python -r gpu="]),
        ("%bai run python -r cu", ["%bai run python -r cuda.shares="]),
        ("%bai run python -r mem=4", ["%bai run python -r mem=4"]),
        ("%bai run python de", ["%bai run python deep.py"]),
        ("%bai run python deep.py dat", ["%bai run python deep.py data/"]),
        ("%bai run --session x dee", ["%bai run --session x deep.py"]),
        ("%bai run python data/s", ["%bai run python 'data/set one.csv'"]),
        ("%bai start python --cluster-mode m", ["%bai start python --cluster-mode multi-node"]),
        ("%bai start python --sgroup d", ["%bai start python --sgroup default"]),
        ("%bai start python -m x", ["%bai start python -m x"]),
        ("%bai ps -f name,ta", ["%bai ps -f name,tag"]),
        ("%bai ps -s RUNN", ["%bai ps -s RUNNING", "%bai ps -s RUNNING_DEGRADED"]),
        ("%bai help in", ["%bai help info", "%bai help interrupt"]),
        ("%bai nothing x", ["%bai nothing x"]),
    ],
)
def test_what_is_offered(notebook, text, offers):
    if "python:3.11" in str(offers):  # whatever this Python is
        found = offered_at_last(notebook, text, lambda found: len(found) == 2)
        assert found[0] == offers[0] and len(found) == 2
    else:
        assert offered_at_last(notebook, text, offers.__eq__) == offers


def test_options_are_offered_where_no_more_words_fit(notebook):
    assert "%bai images x --help" in offered(notebook, "%bai images x ")


def test_an_option_is_offered_once_unless_it_may_be_repeated(notebook):
    assert offered(notebook, "%bai run python --rm --r") == ["%bai run python --rm --resource"] + [
        f"%bai run python --rm --{word}" for word in ("resources", "resource-opts")
    ]


def test_other_lines_are_left_to_ipython(notebook):
    notebook("baiser = 1")

    assert "baiser" in offered(notebook, "bais")


@pytest.mark.alone
def test_a_slow_server_does_not_hold_up_the_key(notebook, manager):
    notebook.shell.extension_manager.reload_extension("bai")  # nothing is in the cache
    slow = manager.faults.delay(1.0, path="/admin/gql")
    began = time.monotonic()
    found = offered(notebook, "%bai rm compl")
    took = time.monotonic() - began

    assert slow.hits <= 1
    assert took < complete.BUDGET + 0.3
    assert found == ["%bai rm compl"]
    later = ["%bai rm complete-me"]
    assert offered_at_last(notebook, "%bai rm compl", later.__eq__) == later


def test_a_server_that_is_gone_offers_nothing_and_says_nothing(notebook, folder):
    with settings(folder) as patch:
        patch.setenv("BACKEND_ENDPOINT", "http://127.0.0.1:9")
        patch.setenv("BACKEND_ACCESS_KEY", "AK")
        patch.setenv("BACKEND_SECRET_KEY", "SK")
        other = Notebook()
        assert offered(other, "%bai rm x") == ["%bai rm x"]
        other.close()


def test_tab_starts_no_manager(folder):
    with settings(folder):
        other = Notebook()
        assert offered(other, "%bai rm x") == ["%bai rm x"]
        other.close()

    assert not (folder / "state" / "local").exists()


def test_the_apps_of_a_session_are_offered(notebook):
    notebook("%bai start python -t with-apps --preopen 12399")
    apps = ["%bai app with-apps 12399"]

    assert offered_at_last(notebook, "%bai app with-apps 12", apps.__eq__) == apps
