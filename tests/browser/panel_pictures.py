"""Draw the pictures of the panel anew, as `pictures` draws the others: those that a page shows."""

from __future__ import annotations

import re
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
            path = images / f"panel-{part.lower()}-{theme.lower()}-{width}.png"
            if path.name not in _linked(images.parent):
                continue
            panel.get_by_role("tab", name=TABS.get(part, part)).click()
            show(page, panel)
            _save(page, panel, path)
            if part in AFTER:
                AFTER[part](page, panel)
    sheet.run("mine = %bai ps\n%bai rm {' '.join(each.id for each in mine)}")
    sheet.shut_down()
    page.close()


def _linked(docs: Path) -> set[str]:
    """Return the names of the pictures that the pages show; no others are kept."""
    pages = [each.read_text("utf-8") for each in docs.glob("*.md")]
    return {name for text in pages for name in re.findall(r"images/([\w-]+\.png)", text)}


def _sessions(page: Page, panel: Locator) -> None:
    row = panel.locator("tr.bai-row", has_text="train-resnet")
    expect(row).to_contain_text("CPU ·", timeout=MS)
    if not panel.locator(".bai-drawer").is_visible():
        row.get_by_role("button", name="Logs of").click()
    expect(panel.get_by_role("log")).to_contain_text("Kernel started", timeout=MS)


def _undo(page: Page, panel: Locator) -> None:
    """A session that is about to be ended, and another whose new name is refused."""
    _sessions(page, panel)
    panel.get_by_role("button", name="Rename", exact=True).click()
    panel.get_by_label("New name").fill("no name!")
    panel.get_by_role("button", name="Rename it").click()
    expect(panel.get_by_role("alert")).to_contain_text("is no name", timeout=MS)
    panel.get_by_role("button", name="End sweep-learning-rate").click()
    expect(panel.locator(".bai-ending")).to_contain_text(" in 5 s", timeout=MS)


def _undone(page: Page, panel: Locator) -> None:
    """Leave the sessions as they were."""
    for name in ("Undo", "Leave it", "Dismiss"):
        panel.get_by_role("button", name=name, exact=True).click()


def _progress(page: Page, panel: Locator) -> None:
    """A start, which waits on computers with few processors."""
    _launch(page, panel)
    panel.get_by_role("button", name="Start the session").click()
    expect(panel.locator(".bai-progress")).to_contain_text("train-resnet-2", timeout=MS)
    page.wait_for_timeout(3000)


def _stopped(page: Page, panel: Locator) -> None:
    cancel = panel.get_by_role("button", name="Cancel", exact=True)
    if cancel.is_visible():
        cancel.click()
        expect(cancel).to_be_hidden(timeout=MS)


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


TABS = {"Undo": "Sessions", "Progress": "Launch"}
PARTS = {
    "Sessions": _sessions,
    "Undo": _undo,
    "Launch": _launch,
    "Resources": _resources,
    "Apps": _apps,
    "Folders": _folders,
    "SSH": _keys,
    "Progress": _progress,  # the last, since it makes a session
}
AFTER = {"Undo": _undone, "Progress": _stopped}


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
