"""Draw the pictures of the panel outside of a JupyterLab cell: Notebook 7, Voilà, beside a notebook."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from .lab import LIMIT, TOKEN, Lab, Sheet, serve

SIZE = {"width": 1280, "height": 760}
MS = LIMIT * 1000
BESIDE = ".jupyterlab-sidecar .bai-panel"
START = "%bai start python -t {} -r cpu=1 -r mem=1g"


def draw_hosts(lab: Lab, browser: Browser, images: Path) -> None:
    """Draw a session in the panel in each place; wants a lab without sessions."""
    with _page(browser) as page:
        sheet = Sheet(page)
        sheet.open(lab.write("beside", kernel="python3"))
        page.keyboard.press("Control+b")
        sheet.run("%load_ext bai")
        sheet.run(START.format("train-resnet"))
        sheet.run("%bai panel --sidecar")
        _save(page, page.locator(BESIDE), images / "panel-beside.png")
        lab.write("panel", "%load_ext bai", "%bai panel", kernel="python3")
        with _page(browser) as other:
            other.goto(f"{lab.url}/voila/render/panel.ipynb?token={TOKEN}")
            _save(other, other.locator(".bai-panel"), images / "panel-voila.png")
        sheet.run("%bai rm train-resnet")
        sheet.shut_down()
    with (
        tempfile.TemporaryDirectory(prefix="pictures-") as home,
        serve(Path(home), "notebook") as seven,
        _page(browser) as page,
    ):
        sheet = Sheet(page)
        sheet.open(seven.write("panel", kernel="python3"))
        sheet.run("%load_ext bai\n" + START.format("train-resnet"))
        panel = sheet.run("%bai panel").find(".bai-panel")
        _save(page, panel, images / "panel-notebook-7.png")
        sheet.shut_down()


@contextmanager
def _page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport=SIZE)
    try:
        yield page
    finally:
        page.close()


def _save(page: Page, panel: Locator, path: Path) -> None:
    """Save the whole page once the panel shows that the session runs."""
    row = panel.locator("tr.bai-row", has_text="train-resnet")
    expect(row).to_contain_text("Running", timeout=MS)
    expect(panel).to_contain_text("Live", timeout=MS)
    page.mouse.move(2, 2)
    page.evaluate("() => document.fonts.ready")
    page.screenshot(path=path)
    print(path.name, path.stat().st_size, "bytes")
