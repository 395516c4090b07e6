"""The panel where it is not JupyterLab that draws it: Notebook 7, Voilà; and beside a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from .lab import LIMIT, TOKEN, Cell, Sheet, serve
from .test_panels import Panel

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

pytestmark = pytest.mark.browser
MS = LIMIT * 1000
BESIDE = ".jupyterlab-sidecar .bai-panel"
# What Voilà itself misses here: files from elsewhere for its own pages, modules of JupyterLab 4.6.
THEIRS = ("fontawesome", "mathjax", "require", "shared module")
DESKS = """\
import gc
from backendai_magics.panels.desk import Desk
def busy():
    return [name for each in gc.get_objects() if isinstance(each, Desk) for name in each.busy]"""


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[[], Page]]:
    """Pages that are closed after the test."""
    pages: list[Page] = []

    def make() -> Page:
        pages.append(browser.new_page(viewport={"width": 1280, "height": 1000}))
        return pages[-1]

    yield make
    for page in pages:
        page.close()


def launch_and_end(panel: Panel, name: str) -> None:
    """Start a session with the panel, see it run, end it, see it gone."""
    panel.launch(name)
    panel.button("Show it among the sessions").click()
    panel.shows(name, "Running")
    panel.row(name).get_by_role("button", name=f"End {name}").click()
    expect(panel.box.locator(".bai-ending")).to_contain_text(f"Ending {name}")
    expect(panel.row(name)).to_have_count(0, timeout=MS)
    panel.button("Ended").click()
    panel.shows(name, "Terminated")


def test_in_notebook_7_a_session_is_launched_seen_and_ended(new_page, tmp_path_factory):
    pytest.importorskip("notebook", reason="Notebook 7 is not installed")
    with serve(tmp_path_factory.mktemp("n"), "notebook") as seven:
        sheet = Sheet(new_page())
        sheet.open(seven.write("panel", kernel="python3"))
        sheet.run("%load_ext bai")
        sheet.complaints.clear()  # of Notebook's own about a setting, with any kernel
        panel = Panel(sheet.run("%bai panel"))
        launch_and_end(panel, "in-seven")
        expect(panel.box).to_contain_text("Live")
        sheet.shut_down()

    assert sheet.complaints == []


class Rendered(Cell):
    """All that Voilà shows of a notebook."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def find(self, selector: str, **options: object) -> Locator:
        return self.page.locator(selector, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("template", ["lab", "classic"])
def test_in_voila_a_session_is_launched_seen_and_ended(new_page, lab, template):
    pytest.importorskip("voila", reason="Voilà is not installed")
    name = f"voila-{template}"
    lab.write(name, "%load_ext bai", "%bai panel", kernel="python3")
    sheet = Sheet(new_page())
    sheet.page.goto(f"{lab.url}/voila/render/{name}.ipynb?token={TOKEN}&voila-template={template}")
    panel = Panel(Rendered(sheet.page))
    launch_and_end(panel, f"in-{name}")

    ours = [text for text in sheet.complaints if not any(word in text for word in THEIRS)]
    assert ours == []


def test_beside_the_notebook_it_lives_until_it_is_closed(new_page, lab):
    pytest.importorskip("sidecar", reason="sidecar is not installed")
    sheet = Sheet(new_page())
    sheet.open(lab.write("beside", kernel="python3"))
    sheet.page.keyboard.press("Control+b")
    sheet.run("%load_ext bai")
    sheet.run(DESKS)
    cell = sheet.run("%bai panel sessions --sidecar")
    panel = sheet.page.locator(BESIDE)
    expect(panel).to_contain_text("Live", timeout=MS)
    sheet.run("%bai start python -t seen-beside -r cpu=1 -r mem=512m --enqueue-only")
    row = panel.locator("tr.bai-row", has_text="seen-beside")
    expect(row).to_be_visible(timeout=MS)
    ours, theirs = panel.bounding_box(), cell.box.bounding_box()
    alive = sheet.run("busy()").text
    sheet.page.locator(".lm-TabBar-tab", has_text="Backend.AI sessions").locator(
        ".lm-TabBar-tabCloseIcon"
    ).click()
    expect(panel).to_have_count(0)
    sheet.run("import time\nwhile busy(): time.sleep(0.05)")
    sheet.run("%bai rm seen-beside")
    sheet.shut_down()

    assert cell.text == ""
    assert alive == "['sessions']"
    assert ours["x"] >= theirs["x"] + theirs["width"]  # beside it, not below
    assert sheet.complaints == []
