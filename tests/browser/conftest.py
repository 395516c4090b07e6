"""A server and a browser for all tests of the group, a notebook and its session for each module."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from .lab import Lab, Sheet

# Errors that JupyterLab writes to the console with any kernel.
_EVERYBODYS: tuple[str, ...] = ()

# Without playwright there is nothing to collect: `make browser` brings it.
collect_ignore_glob = [] if find_spec("playwright") else ["test_*.py"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium; without one, or without the packages that drive it, the tests are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    from .lab import FLAGS, find_browser

    path = find_browser()
    if path is None:
        pytest.skip("no Chromium on the path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab in a fresh home."""
    from .lab import serve

    with serve(tmp_path_factory.mktemp("h")) as lab:
        yield lab


@pytest.fixture(scope="module")
def opened(lab: Lab, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Sheet]:
    from .lab import Sheet

    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    sheet = Sheet(page)
    # With BROWSER_KERNEL=python3 one sees what JupyterLab does with a plain kernel.
    kernel = os.environ.get("BROWSER_KERNEL", "backendai-python")
    sheet.open(lab.write(Path(request.path).stem, kernel=kernel))
    sheet.run("import time, ipywidgets as w\nfrom IPython.display import display")
    yield sheet
    sheet.shut_down()
    page.close()


@pytest.fixture
def sheet(opened: Sheet) -> Iterator[Sheet]:
    """A notebook with a session; a test that makes the page complain has failed."""
    opened.complaints.clear()
    yield opened
    heard = [text for text in opened.complaints if not any(e in text for e in _EVERYBODYS)]
    assert heard == []
