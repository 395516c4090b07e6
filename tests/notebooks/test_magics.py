"""The notebook about ``%bai``, run with nothing configured."""

from __future__ import annotations

import shutil

import nbformat

from .conftest import JUPYTER, ROOT, execute

NOTEBOOK = ROOT / "notebooks" / "02-magics.ipynb"


def test_the_notebook_about_magics_runs(environ, tmp_path):
    path = tmp_path / NOTEBOOK.name
    shutil.copy(NOTEBOOK, path)

    done = execute([*JUPYTER, path.name], environ, tmp_path)

    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(path, as_version=4)
    cells = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    said = {name: "".join(o.get("text", "") for o in outputs) for name, outputs in cells.items()}
    html = {
        name: "".join(o.data.get("text/html", "") for o in outputs if "data" in o)
        for name, outputs in cells.items()
    }
    assert "No live sessions." in html["ps"]
    assert "<table" in html["images"] and "<table" in html["resources"]
    assert said["kept"] == "1 images, the first is python\n"
    assert "Session ready" in html["start"] and "magics-demo" in html["start"]
    assert said["run"] == "in the session: 45\n"
    assert said["back"] == "brought back: 46\n"
    assert "hello, session\n" in said["program"]
    assert "Uploaded 1 file" in html["program"]
    [error] = cells["error"]
    assert (error.ename, "Did you mean magics-demo?" in error.evalue) == ("NotFound", True)
    assert len(error.traceback) == 1
    assert said["there"] == "the same session: 45\n"
    assert "ended" in html["rm"]
    assert "session_terminated" in said["events"].splitlines()[-1]
    assert said["dead"] == "magics-demo has ended\n"
