"""The first notebook, run as people run it: by a program that knows nothing of this project."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import pytest

from .conftest import JUPYTER, ROOT, execute

NOTEBOOK = ROOT / "notebooks" / "01-first-cell.ipynb"
PAPERMILL = ["-m", "papermill", "--log-output", "--kernel", "backendai-python"]


def check_outputs(path: Path) -> None:
    """Assert that an executed notebook shows what a session gave."""
    notebook = nbformat.read(path, as_version=4)
    cells = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    shown = {
        name: "".join(output.get("text", "") for output in outputs)
        for name, outputs in cells.items()
    }
    assert shown["hello"] == "Hello from the session!\n"
    assert "session  nb-" in shown["where"]
    (value,) = cells["value"]
    assert (value.output_type, value.data["text/plain"][:10]) == ("execute_result", "[2, 3, 5, ")
    assert "17 primes, 46 bytes in" in shown["state"]
    assert shown["stream"].splitlines() == [f"step {n} of 5" for n in range(1, 6)]
    assert "<table" in cells["table"][-1].data["text/html"]
    assert "<polyline" in cells["picture"][-1].data["image/svg+xml"]
    assert cells["plot"]
    assert shown["error"].endswith("ZeroDivisionError: division by zero\n")
    assert shown["after"] == "Still here, and 17 primes are still known.\n"


def test_jupyter_execute_runs_it_with_nothing_configured(environ, tmp_path):
    path = tmp_path / NOTEBOOK.name
    shutil.copy(NOTEBOOK, path)

    done = execute([*JUPYTER, path.name], environ, tmp_path)

    assert done.returncode == 0, done.stderr
    check_outputs(path)


def test_papermill_runs_it_with_nothing_configured(environ, tmp_path):
    pytest.importorskip("papermill")
    path = tmp_path / "executed.ipynb"

    done = execute([*PAPERMILL, str(NOTEBOOK), path.name], environ, tmp_path)

    assert done.returncode == 0, done.stderr
    check_outputs(path)


@pytest.mark.cluster
def test_it_runs_on_a_real_cluster(environ, tmp_path):
    names = ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY")
    given = {f"BACKEND_{name}": os.environ.get(f"BACKEND_{name}", "") for name in names}
    if not all(given.values()):
        pytest.skip("BACKEND_ENDPOINT and a keypair are not set")
    path = tmp_path / NOTEBOOK.name
    shutil.copy(NOTEBOOK, path)

    done = execute([*JUPYTER, path.name], environ | given, tmp_path)

    assert done.returncode == 0, done.stderr
    check_outputs(path)
    assert not (tmp_path / "state" / "local").exists()
