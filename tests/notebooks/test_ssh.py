"""The notebook about SSH, run with nothing configured and with OpenSSH's own programs."""

from __future__ import annotations

import shutil

import nbformat
import pytest

from .conftest import JUPYTER, ROOT, execute

pytest.importorskip("asyncssh", reason="sessions offer SSH with asyncssh (the extra `local`)")

NOTEBOOK = ROOT / "notebooks" / "03-ssh-and-files.ipynb"


@pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH is not installed")
def test_the_notebook_about_ssh_runs(environ, tmp_path):
    path = tmp_path / NOTEBOOK.name
    shutil.copy(NOTEBOOK, path)

    done = execute([*JUPYTER, path.name], environ, tmp_path)

    assert done.returncode == 0, done.stderr
    text = path.read_text()
    notebook = nbformat.reads(text, as_version=4)
    cells = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    said = {name: "".join(o.get("text", "") for o in outputs) for name, outputs in cells.items()}
    assert said["prepare"] == "ssh bai-ssh-demo is what to type; the key is 0o600\n"
    assert said["shell"] == "in ssh-demo\nexit status 3\n"
    assert said["copy"] == "the same\n"
    assert said["there"] == f"in the session: {2**22} bytes\n"
    assert ".bai-ssh" in str(cells["use"])
    assert "Uploaded 2 files (9 bytes)" in str(cells["upload"])
    assert "numbers.txt" in str(cells["ls"]) and "numbers.txt" in str(cells["entries"])
    assert said["download"].endswith("text\n")
    assert said["pull"].endswith("6\n")
    assert "1 2 3" in said["mounted"]
    assert said["result"].endswith("42\n")
    assert "gone for good" in str(cells["delete"])
    assert said["after"].startswith("the key is gone\n")
    assert said["after"].endswith("exit status 255\n")
    assert "PRIVATE KEY" not in text
