"""The first notebook, run as people run it: by a program that knows nothing of this project."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
import psutil
import pytest

from backendai_kernel.local import discovery

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "01-first-cell.ipynb"
LIMIT = 180  # seconds after which a run is lost

JUPYTER = ["-c", "from nbclient.cli import main; main()", "--inplace"]  # `jupyter execute`
PAPERMILL = ["-m", "papermill", "--log-output", "--kernel", "backendai-python"]


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which nothing is configured, and our kernelspecs are found.

    The manager that the notebook starts by itself is ended afterwards, and has left nothing.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BACKEND", "SORNA_"))}
    kernels = tmp_path / "jupyter" / "kernels"
    shutil.copytree(ROOT / "kernelspecs", kernels)
    paths = [str(ROOT), str(ROOT / "magics"), os.environ.get("PYTHONPATH", "")]
    yield kept | {
        "BACKENDAI_KERNEL_CONFIG": str(tmp_path / "config"),
        "BACKENDAI_KERNEL_STATE": str(tmp_path / "state"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_PATH": str(tmp_path / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    _end_the_manager(tmp_path / "state" / "local")


def _end_the_manager(state: Path) -> None:
    managers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(state) in (process.info["cmdline"] or [])
    ]
    left = [child for manager in managers for child in manager.children(recursive=True)]
    for manager in managers:
        manager.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs([*managers, *left], timeout=20)
    for process in alive:
        process.kill()
    assert alive == []
    assert discovery.find(state) is None


def execute(
    words: list[str], environ: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a program that executes notebooks and return what it said."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


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
