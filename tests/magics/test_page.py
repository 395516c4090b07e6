"""The page about ``%bai`` says what the parsers say; loading ``%bai`` costs next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backendai_magics.reference import filled, markdown
from backendai_magics.tree import VERBS, overview

PAGE = Path(__file__).parents[2] / "docs" / "magics.md"

LOADED = """
import gc, json, ssl, sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.history_manager.enabled = False
before = set(sys.modules)
gc.collect()
began, used = time.perf_counter(), time.process_time()
shell.extension_manager.load_extension("bai")
took = time.perf_counter() - began, time.process_time() - used
contexts = sum(isinstance(thing, ssl.SSLContext) for thing in gc.get_objects())
print(json.dumps({"took": took, "contexts": contexts, "new": sorted(set(sys.modules) - before)}))
"""

LATE = ("aiohttp", "msgspec", "ipywidgets", "anywidget", "pandas", "asyncssh", "psutil", "asyncio")
BUDGET = 0.020  # seconds


def test_the_page_is_made_from_the_parsers():
    page = PAGE.read_text(encoding="utf-8")

    assert page == filled(page), "run: make docs"
    assert "%%bai run python" in page


def test_every_option_has_a_meaning():
    for verb in VERBS.values():
        assert verb.summary.endswith(".") and verb.name in overview()
        assert verb.parser().format_help()
        for action in verb.parser().actions:
            assert action.help
    assert markdown().count("### %bai ") == len(VERBS)


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="marks"):
        filled("nothing")


@pytest.mark.alone
def test_loading_brings_in_nothing_heavy_and_takes_no_time():
    runs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60
        )
        runs.append(json.loads(done.stdout))
    new = {name.partition(".")[0] for name in runs[0]["new"]}

    assert new.isdisjoint(LATE)
    assert runs[0]["contexts"] == 0
    # Of the processor's time: the computer may be busy with something else.
    assert min(run["took"][1] for run in runs) <= BUDGET
