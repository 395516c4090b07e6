"""A panel while a cell runs: with kernels that hear widgets meanwhile, and with those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .lab import LIMIT, Lab, Sheet
from .test_panels import Panel

if TYPE_CHECKING:
    from playwright.sync_api import Browser

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

pytestmark = pytest.mark.browser
MS = LIMIT * 1000
# `make browser` puts ipykernels there, each alone in a folder.
BUILD = Path(__file__).parents[2] / "build"
ENDLESS = "import time\nwhile True: time.sleep(0.05)"
START = "%bai start python -t {} -r cpu=1 -r mem=512m --enqueue-only\n"


@pytest.fixture
def sheet(lab: Lab, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Sheet]:
    """A notebook with a plain kernel of the version that a test names."""
    version = request.param
    name = f"ipykernel-{version}"
    packages = BUILD / name
    if not packages.is_dir():
        pytest.skip(f"{name} is not in build; `make browser` puts it there")
    lab.add_kernel(name, packages)
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    sheet = Sheet(page)
    sheet.open(lab.write(name, kernel=name))
    sheet.run("%load_ext bai")
    sheet.run("import ipykernel; ipykernel.__version__").shows(version)
    yield sheet
    sheet.shut_down()
    page.close()
    assert sheet.complaints == []


@pytest.mark.parametrize("sheet", ["6.31.0"], indirect=True)
def test_a_kernel_that_hears_nothing_meanwhile_is_told_and_still_shows_what_happens(sheet):
    panel = Panel(sheet.run("%bai panel sessions"))
    expect(panel.box).to_contain_text("Live", timeout=MS)
    cell = sheet.start(START.format("meanwhile") + ENDLESS)
    panel.shows("meanwhile", "Running")  # what is told needs nothing of the kernel's main thread
    panel.button("Ended").click()
    waiting = panel.box.locator(".bai-waiting")
    expect(waiting).to_contain_text("The kernel is busy with a cell.", timeout=MS)
    expect(cell.prompt).to_have_text("[*]:")
    panel.shows("meanwhile", "Running")
    sheet.command("kernelmenu:interrupt")
    cell.done()

    expect(panel.row("meanwhile")).to_have_count(0, timeout=MS)  # what was clicked is done
    expect(waiting).to_be_hidden()
    sheet.run("%bai rm meanwhile")


@pytest.mark.parametrize("sheet", ["7.0.1"], indirect=True)
def test_a_kernel_with_subshells_hears_clicks_while_a_cell_runs(sheet):
    panel = Panel(sheet.run("%bai panel sessions"))
    expect(panel.box).to_contain_text("Live", timeout=MS)
    cell = sheet.start(START.format("hears-it") + ENDLESS)
    panel.shows("hears-it", "Running")
    panel.button("Ended").click()
    expect(panel.row("hears-it")).to_have_count(0, timeout=MS)
    panel.button("Running").click()
    panel.shows("hears-it", "Running")

    expect(cell.prompt).to_have_text("[*]:")
    expect(panel.box.locator(".bai-waiting")).to_be_hidden()
    sheet.command("kernelmenu:interrupt")
    cell.done()
    sheet.run("%bai rm hears-it")
