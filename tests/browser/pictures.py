"""Draw the pictures in ``docs/images`` anew: ``make pictures``, or ``only=panels`` for some.

Each is a real notebook on a session of the embedded manager, once in each theme, cut to the cells.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from .host_pictures import draw_hosts
from .lab import FLAGS, Lab, Sheet, find_browser, serve
from .panel_pictures import draw_panels

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = {"width": 860, "height": 1400}
MARGIN = 8  # pixels around the cells

START = """\
import os, time
print("Hello from", os.environ["BACKENDAI_SESSION_NAME"])"""
SLIDER = """\
import ipywidgets as w

power = w.IntSlider(description="power", value=3, max=10)
compute, said = w.Button(description="Compute"), w.Output()

@compute.on_click
def pressed(_):
    with said:
        print("2 **", power.value, "=", 2 ** power.value)

display(w.HBox([power, compute]), said)"""
PROGRESS = """\
from tqdm.auto import tqdm

for _ in tqdm(range(80), desc="in the session"):
    time.sleep(0.02)"""
TABLE = """\
import pandas as pd

runs = pd.DataFrame({"gpu": [0, 0.5, 1], "minutes": [42, 7, 4]})
runs.style.bar("minutes", color="#7aa6d9").format(precision=1)"""
FIGURE = """\
import matplotlib.pyplot as plt

plt.figure(figsize=(5, 2))
plt.plot([0, 1, 4, 9, 16], marker="o");"""


def widgets(sheet: Sheet) -> None:
    """A slider, a button and what its callback says; a bar."""
    sheet.run(START)
    cell = sheet.run(SLIDER)
    handle = cell.find(".noUi-handle").first
    handle.focus()
    for _ in range(4):
        handle.press("ArrowRight")
    cell.find("button").click()
    cell.shows("2 ** 7 = 128")
    sheet.run(PROGRESS).shows("80/80")


def outputs(sheet: Sheet) -> None:
    """A table and a figure."""
    sheet.run(TABLE)
    sheet.run(FIGURE).find("img").wait_for()


def completion(sheet: Sheet) -> None:
    """Names of the session with their types, while a cell runs there."""
    sheet.run("def train(epochs: int, rate=0.01): ...\n\ntraining = [1, 2, 3]")
    running = sheet.start(
        "import time\n\nfor epoch in range(600):\n    print('epoch', epoch)\n    time.sleep(1)"
    )
    running.shows("epoch 1")
    sheet.type("trai")
    sheet.page.keyboard.press("Tab")
    sheet.page.locator(".jp-Completer-item").first.wait_for()


def draw(lab: Lab, browser: Browser, theme: str) -> None:
    """Draw all pictures in one theme."""
    lab.set_theme(theme)
    for scene in (widgets, outputs, completion):
        page = browser.new_page(viewport=SIZE)
        sheet = Sheet(page)
        sheet.open(lab.write(f"{scene.__name__}-{theme.lower()}"))
        page.keyboard.press("Control+b")  # the files beside it tell nothing
        scene(sheet)
        save(page, IMAGES / f"{scene.__name__}-{theme.lower()}.png")
        sheet.shut_down()
        page.close()


def save(page: Page, path: Path) -> None:
    """Save the part of the page that the cells take."""
    if page.locator(".jp-Completer-item").count() == 0:
        page.evaluate("() => document.activeElement.blur()")
        page.mouse.move(2, 2)
    page.add_style_tag(content=".jp-cell-toolbar, .jp-Notebook-footer { display: none !important }")
    page.evaluate("() => document.fonts.ready")
    cells = page.locator(".jp-Notebook-cell").all()
    if not cells[-1].locator(".cm-content").inner_text().strip():
        cells.pop()  # the empty one that waits at the end
    shown = [*cells, *page.locator(".jp-Completer").all()]
    found = [box for each in shown if (box := each.bounding_box()) is not None]
    top = min(box["y"] for box in found)
    left = min(box["x"] for box in found)
    bottom = max(box["y"] + box["height"] for box in found)
    right = max(box["x"] + box["width"] for box in found) + MARGIN
    top, bottom = top - MARGIN / 2, bottom + MARGIN / 2
    clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    page.screenshot(path=path, clip=clip)
    print(path.relative_to(IMAGES.parents[1]), path.stat().st_size, "bytes")


def main() -> None:
    path = find_browser()
    if path is None:
        raise SystemExit("There is no Chromium on the path.")
    with (
        tempfile.TemporaryDirectory(prefix="pictures-") as home,
        serve(Path(home)) as lab,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        for theme in ("Light", "Dark"):
            if "panels" not in sys.argv[1:]:
                draw(lab, browser, theme)
            else:
                lab.set_theme(theme)
            draw_panels(lab, browser, theme, IMAGES)
        lab.set_theme("Light")
        draw_hosts(lab, browser, IMAGES)
        browser.close()


if __name__ == "__main__":
    main()
