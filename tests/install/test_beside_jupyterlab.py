"""Installed into an environment that has JupyterLab: no package that is there changes.

``JUPYTERLAB_PYTHON`` names the interpreter of an environment with JupyterLab 4.6 and nothing of ours;
the test installs this tree into it. `.ci/run` makes one; without it the test is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_NEW = 12

pytestmark = pytest.mark.skipif(
    "JUPYTERLAB_PYTHON" not in os.environ,
    reason="JUPYTERLAB_PYTHON names no environment with JupyterLab",
)


def run(*words: str) -> str:
    done = subprocess.run(
        [os.environ["JUPYTERLAB_PYTHON"], *words],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packages() -> dict[str, str]:
    return {p["name"]: p["version"] for p in json.loads(run("-m", "pip", "list", "--format=json"))}


def test_nothing_that_is_there_changes(tmp_path):
    before = packages()
    assert before["jupyterlab"].startswith("4.6.")
    assert "backendai-kernel" not in before
    source = os.environ.get("BACKENDAI_WHEEL", str(ROOT))
    run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", source)
    after = packages()

    assert {name: after.get(name) for name in before} == before
    new = set(after) - set(before)
    assert len(new) <= MOST_NEW, sorted(new)
    assert run("-m", "pip", "check").strip() == "No broken requirements found."
    assert "%bai VERB" in run(
        "-c",
        "from IPython.core.interactiveshell import InteractiveShell as S\n"
        "s = S.instance(); s.history_manager.enabled = False\n"
        "s.run_line_magic('load_ext', 'bai'); print(s.run_line_magic('bai', 'help'))",
    )
