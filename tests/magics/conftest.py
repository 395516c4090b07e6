"""A shell with ``%bai`` and a manager for it, shared by the tests of a file.

The magics block their thread, as in a notebook, so the manager has a loop in another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from backendai_kernel.local.auth import new_keypair
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.portal import Portal
from tests.conftest import ROOMY

SETTINGS = ("BACKEND_", "SORNA_", "BACKENDAI_")


@dataclass(frozen=True)
class Cell:
    """What came of a cell: its value, its error, and what was printed."""

    value: Any
    error: BaseException | None
    out: str
    err: str


class Notebook:
    """A shell in which ``%bai`` is loaded."""

    def __init__(self) -> None:
        self.shell = InteractiveShell()
        self.shell.history_manager.enabled = False
        self.shell.displayhook = self.shell.display_trap.hook = Quiet(shell=self.shell)
        self.shell.extension_manager.load_extension("bai")

    def __call__(self, text: str) -> Cell:
        """Run a cell; fail if it failed."""
        cell = self.run(text)
        if cell.error is not None:
            raise cell.error
        return cell

    def run(self, text: str) -> Cell:
        with capture_output(display=False) as said:
            result = self.shell.run_cell(text)
        error = result.error_before_exec or result.error_in_exec
        return Cell(result.result, error, said.stdout, said.stderr)

    def close(self) -> None:
        self.shell.extension_manager.unload_extension("bai")
        self.shell.history_manager.end_session()


class Quiet(DisplayHook):
    """Keeps the value and prints nothing, so that output is the code's own."""

    def __call__(self, result: Any = None) -> None:
        if self.exec_result is not None:
            self.exec_result.result = result


@contextmanager
def served(folder: Path, **options: Any) -> Iterator[LocalManager]:
    """A manager in a thread of its own."""
    portal = Portal()
    manager = LocalManager(folder, slots=ROOMY, **options)
    portal.call(manager.__aenter__())
    try:
        yield manager
    finally:
        portal.call(manager.__aexit__(None, None, None))
        portal.close()


@contextmanager
def settings(folder: Path, manager: LocalManager | None = None) -> Iterator[pytest.MonkeyPatch]:
    """An environment that knows of *manager* and of nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(SETTINGS):
                patch.delenv(name)
        patch.setenv("BACKENDAI_KERNEL_CONFIG", str(folder / "config"))
        patch.setenv("BACKENDAI_KERNEL_STATE", str(folder / "state"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.chdir(folder)
        if manager is not None:
            patch.setenv("BACKEND_ENDPOINT", manager.url)
            patch.setenv("BACKEND_ENDPOINT_TYPE", "api")
            patch.setenv("BACKEND_ACCESS_KEY", manager.access_key)
            patch.setenv("BACKEND_SECRET_KEY", manager.secret_key)
        yield patch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("m")


@pytest.fixture(scope="module")
def manager(folder: Path) -> Iterator[LocalManager]:
    """A manager with an administrator's keypair and a plain user's."""
    with served(folder / "manager", others=[new_keypair(is_admin=False)]) as manager:
        yield manager


@pytest.fixture(scope="module")
def notebook(folder: Path, manager: LocalManager) -> Iterator[Notebook]:
    """A notebook that uses *manager*; it keeps its connection from test to test."""
    with settings(folder, manager):
        notebook = Notebook()
        yield notebook
        notebook.close()


@pytest.fixture
def shell(notebook: Notebook) -> InteractiveShell:
    return notebook.shell
