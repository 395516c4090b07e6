"""Draw the pictures of the panel anew, as `pictures` draws the others: both themes, two widths."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from .lab import LIMIT, Lab, Sheet

WIDTHS = (1280, 700)
MARGIN = 1  # pixels around the panel
MS = LIMIT * 1000

# Sessions to look at: two that run, one that waits, one that has ended; and something to log.
SESSIONS = """\
%bai start python -t train-resnet -r cpu=1 -r mem=2g -r gpu=0.5
%bai start python -t explore -r cpu=1 -r mem=1g
%bai start python -t sweep-learning-rate -r cpu=1 -r mem=4g -r gpu=1 --enqueue-only
%bai run --session train-resnet -c "import threading; threading.Thread(target=lambda: sum(i * i for i in range(10**9)), daemon=True).start()"
"""


# A virtual folder with something in it.
FOLDER = """\
from pathlib import Path
Path("train.py").write_text("print(1)" * 200), Path("notes.md").write_text("# Notes")
%bai vfolder create experiments
%bai vfolder upload experiments train.py notes.md
%bai vfolder mkdir experiments results
"""


def draw_panels(lab: Lab, browser: Browser, theme: str, images: Path) -> None:
    """Draw the panel's parts in one theme, in all widths; wants a lab without sessions."""
    page = browser.new_page(viewport={"width": WIDTHS[0], "height": 1400})
    sheet = Sheet(page)
    sheet.open(lab.write(f"panel-{theme.lower()}", kernel="python3"))
    page.keyboard.press("Control+b")
    sheet.run("%load_ext bai")
    sheet.run(SESSIONS)
    sheet.run(FOLDER)
    panel = sheet.run("%bai panel").find(".bai-panel")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1400})
        for part, show in PARTS.items():
            panel.get_by_role("tab", name=part).click()
            show(page, panel)
            _save(page, panel, images / f"panel-{part.lower()}-{theme.lower()}-{width}.png")
    sheet.run("mine = %bai ps\nfor each in mine:\n    %bai rm {each.id}")
    sheet.shut_down()
    page.close()


def _sessions(page: Page, panel: Locator) -> None:
    row = panel.locator("tr.bai-row", has_text="train-resnet")
    expect(row).to_contain_text("CPU ·", timeout=MS)
    if not panel.locator(".bai-drawer").is_visible():
        row.get_by_role("button", name="Logs of").click()
    expect(panel.get_by_role("log")).to_contain_text("Kernel started", timeout=MS)


def _launch(page: Page, panel: Locator) -> None:
    panel.get_by_label("Name", exact=True).fill("train-resnet-2")
    slider = panel.get_by_role("slider", name="Memory")
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    expect(panel.locator(".bai-line").first).to_contain_text("mem=", timeout=MS)
    page.wait_for_timeout(1000)  # the line follows a moment after the last key


def _resources(page: Page, panel: Locator) -> None:
    curve = panel.locator("li.bai-session", has_text="train-resnet").locator("polyline").first
    page.wait_for_function(
        "curve => (curve.getAttribute('points') ?? '').split(' ').length > 3",
        arg=curve.element_handle(),
    )


def _apps(page: Page, panel: Locator) -> None:
    there = panel.get_by_role("list", name="Open apps")
    if not there.is_visible():
        panel.get_by_role("button", name="Open sshd").click()
    expect(there).to_contain_text("127.0.0.1:", timeout=MS)


def _keys(page: Page, panel: Locator) -> None:
    fetch = panel.get_by_role("button", name="Fetch the key")
    fetch.or_(panel.get_by_text("proved to be")).first.wait_for()
    if fetch.is_visible():
        fetch.click()
    panel.get_by_text("proved to be").wait_for()


def _folders(page: Page, panel: Locator) -> None:
    panel.get_by_role("list", name="Files").get_by_text("train.py").wait_for()


PARTS = {
    "Sessions": _sessions,
    "Launch": _launch,
    "Resources": _resources,
    "Apps": _apps,
    "Folders": _folders,
    "SSH": _keys,
}


def _save(page: Page, panel: Locator, path: Path) -> None:
    page.evaluate("() => document.activeElement.blur()")
    page.mouse.move(2, 2)
    page.evaluate("() => document.fonts.ready")
    panel.scroll_into_view_if_needed()
    box = panel.bounding_box()
    assert box is not None
    clip = {
        "x": box["x"] - MARGIN,
        "y": box["y"] - MARGIN,
        "width": box["width"] + 2 * MARGIN,
        "height": box["height"] + 2 * MARGIN,
    }
    page.screenshot(path=path, clip=clip)
    print(path.name, path.stat().st_size, "bytes")
