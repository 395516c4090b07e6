"""Notebooks run as people run them: by a program that knows nothing of this project."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from backendai_kernel.local import discovery

ROOT = Path(__file__).parents[2]
LIMIT = 180  # seconds after which a run is lost

JUPYTER = ["-c", "from nbclient.cli import main; main()", "--inplace"]  # `jupyter execute`


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
