"""What a person sees when a kernel's process is killed in the midst of a cell."""

from __future__ import annotations

import re

import psutil
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.browser

LINES = """
handle = display("shown at first", display_id=True)
for number in range(20):
    print("line", number, flush=True)
    time.sleep(0.5)
handle.update("shown at last")
kept = "all of it"
"""


def test_the_next_cell_tells_of_missed_output_and_replay_shows_it(sheet, lab):
    """JupyterLab 4.6 forgets all requests and displays of a kernel that it has started again.

    What the cell says afterwards is sent all the same, and would be shown by one that does not.
    """
    cell = sheet.start(LINES)
    cell.shows("line 3")
    [kernel] = kernels_of(lab)
    kernel.kill()
    sheet.page.locator(".jp-Dialog").get_by_text("restart automatically").wait_for()
    sheet.page.locator(".jp-Dialog button").first.click()
    after = sheet.run("kept")
    [named] = re.findall(r"%bai replay \d+", after.text)
    again = sheet.run(named)

    assert "all of it" in after.text
    assert "went on meanwhile" in after.text
    assert [line for line in again.text.splitlines() if line.startswith("line ")] == [
        f"line {number}" for number in range(20)
    ]
    assert "shown at last" in again.text
    assert cell.text.splitlines().count("line 3") == 1


def kernels_of(lab) -> list[psutil.Process]:
    """Return the processes of this JupyterLab's kernels of ours."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "backendai_kernel" in words and str(lab.home) in " ".join(words):
            found.append(process)
    return found
