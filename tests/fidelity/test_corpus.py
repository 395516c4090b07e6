"""The light notebooks of the corpus come out of this kernel as they do of a plain ipykernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

CORPUS = Path(__file__).parents[2] / "benchmarks" / "fidelity"
NOTEBOOKS = sorted((CORPUS / "notebooks").glob("*.ipynb"))
LIGHT = ["asyncio", "errors", "forging", "hooks", "keep", "numbering", "widgets"]
LIMIT = 180  # seconds after which a run is lost


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_of_the_corpus_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert cells
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []


def test_the_light_notebooks_show_what_a_plain_kernel_shows(tmp_path):
    report = tmp_path / "report.json"
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("BACKEND", "SORNA_"))}
    words = ["--python", sys.executable, "--json", str(report), *LIGHT]

    done = subprocess.run(
        [sys.executable, str(CORPUS / "run.py"), *words],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    played = json.loads(report.read_text())
    assert [entry["notebook"] for entry in played] == LIGHT
    assert all(entry["cells"] > 1 and not entry["skipped"] for entry in played)
