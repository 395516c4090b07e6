"""A kernel for a test: a real process, and a front end that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backendai_kernel.local.manager import LocalManager

from .frontend import Notebook, environment_for, open_notebook


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short path: sockets lie in it."""
    return tmp_path_factory.mktemp("k")


@pytest.fixture
async def notebook(manager: LocalManager, folder: Path) -> AsyncIterator[Notebook]:
    """A kernel on a manager of its own; no session yet."""
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        yield notebook
