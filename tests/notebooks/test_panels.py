"""The notebook about panels, run with nothing configured and no page."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec

import nbformat

from .conftest import JUPYTER, ROOT, execute

NOTEBOOK = next(ROOT.glob("notebooks/*-panels.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"


def test_the_notebook_about_panels_runs_and_holds_nothing_that_was_shown(environ, tmp_path):
    path = tmp_path / NOTEBOOK.name
    shutil.copy(NOTEBOOK, path)

    done = execute([*JUPYTER, path.name], environ, tmp_path)

    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(path, as_version=4)
    cells = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    for name in ("panel", "resources", "in-python"):
        [shown] = cells[name]
        if find_spec("anywidget") is None:
            assert "<table" in shown.data["text/html"]
        else:
            assert WIDGET in shown.data and "panel" in shown.data["text/plain"]
    assert WIDGET in cells["form"][0].data
    [printed] = cells["ps"]
    assert "panel-demo" in printed.text
    assert "ended" in cells["rm"][0].data["text/html"]
    states = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json")
    assert "panel-demo" not in json.dumps(states)
    assert states is not None  # a form lives without anywidget, too
