"""Widgets of the session in a page: they draw, they call back, they come back, and they go."""

from __future__ import annotations

import re

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

pytestmark = pytest.mark.browser

SLIDER = """
slider = w.IntSlider(value=3, max=10, description='power')
said = w.Output()
def moved(change):
    with said:
        print('moved to', change.new)
slider.observe(moved, 'value')
display(slider, said)
"""


def push(cell, times: int = 1, key: str = "ArrowRight", index: int = 0) -> None:
    """Move a slider of the cell by the keyboard."""
    handle = cell.find(".noUi-handle").nth(index)
    handle.focus()
    for _ in range(times):
        handle.press(key)


def test_a_slider_calls_back_and_an_output_widget_takes_what_the_callback_prints(sheet):
    cell = sheet.run(SLIDER)
    push(cell, 2)

    cell.shows("moved to 5")
    assert sheet.run("slider.value").text == "5"


def test_each_press_of_a_button_counts(sheet):
    cell = sheet.run(
        "counter = w.Label('0')\nagain = w.Button(description='Again')\n"
        "again.on_click(lambda b: setattr(counter, 'value', str(int(counter.value) + 1)))\n"
        "display(again, counter)"
    )
    for _ in range(10):
        cell.find("button").click()

    expect(cell.find(".widget-label").last).to_have_text("10")


def test_a_button_calls_back(sheet):
    cell = sheet.run(
        "button, heard = w.Button(description='Compute'), w.Output()\n"
        "@button.on_click\n"
        "def pressed(_):\n"
        "    with heard:\n"
        "        print('computed', 6 * 7)\n"
        "display(button, heard)"
    )
    cell.find("button:has-text('Compute')").click()

    cell.shows("computed 42")


def test_interact_runs_the_function_for_each_move(sheet):
    cell = sheet.run("w.interact(lambda x: f'square {x * x}', x=(0, 10));")
    cell.shows("square 25")
    push(cell)

    cell.shows("square 36")
    expect(cell.outputs).not_to_contain_text("square 25")


def test_an_output_widget_captures_rich_output_and_errors(sheet):
    cell = sheet.run(
        "import pandas as pd\n"
        "caught = w.Output()\n"
        "with caught:\n"
        "    display(pd.DataFrame({'column': [1, 2]}))\n"
        "    1 / 0\n"
        "display(caught)"
    )

    expect(cell.find(".jupyter-widgets th:has-text('column')")).to_be_visible()
    cell.shows("ZeroDivisionError")


def test_play_animates_what_it_is_linked_to(sheet):
    cell = sheet.run(
        "play = w.Play(max=50, interval=50)\nfollower = w.IntProgress(max=50)\n"
        "text = w.Label('at 0')\n"
        "play.observe(lambda change: setattr(text, 'value', f'at {change.new}'), 'value')\n"
        "link = w.jslink((play, 'value'), (follower, 'value'))\ndisplay(play, follower, text)"
    )
    cell.find(".widget-play button, .jupyter-widgets button").first.click()

    cell.shows("at 50")  # the session was told of each step
    expect(cell.find(".progress-bar")).to_have_attribute("style", re.compile("width: 100%"))


def test_a_link_in_the_page_needs_no_session(sheet):
    cell = sheet.run(
        "one, two = w.IntSlider(max=10), w.IntText()\n"
        "link = w.jslink((one, 'value'), (two, 'value'))\ndisplay(one, two)"
    )
    busy = sheet.start("time.sleep(2)")
    push(cell, 4)

    expect(cell.find("input[type=number]")).to_have_value("4")
    assert "*" in busy.prompt.inner_text()
    busy.done()


@pytest.mark.parametrize("size", [1_000, 3_000_000])
def test_a_file_is_uploaded_into_the_session(sheet, size):
    cell = sheet.run("chosen = w.FileUpload()\ndisplay(chosen)")
    content = bytes(range(256)) * (size // 256 + 1)
    with sheet.page.expect_file_chooser() as choosing:
        cell.find("button").click()
    choosing.value.set_files(
        {"name": "data.bin", "mimeType": "application/octet-stream", "buffer": content[:size]}
    )
    expect(cell.find("button")).to_contain_text("(1)")
    check = sheet.run(
        "import zlib\n[(f.name, f.size, zlib.crc32(f.content)) for f in chosen.value]"
    )

    import zlib

    assert check.text == str([("data.bin", size, zlib.crc32(content[:size]))])


def test_a_figure_of_ipympl_draws_and_answers_the_mouse(sheet):
    pytest.importorskip("ipympl")
    cell = sheet.run(
        "%matplotlib widget\nimport matplotlib.pyplot as plt\n"
        "figure, axes = plt.subplots(figsize=(4, 3))\naxes.plot([0, 1, 4, 9])\nplt.show()"
    )
    canvas = cell.find("canvas").first
    expect(canvas).to_be_visible()
    inked = """canvas => {
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(data.buffer)).size > 20;
    }"""
    sheet.page.wait_for_function(inked, arg=canvas.element_handle())
    box = canvas.bounding_box()
    sheet.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    sheet.page.mouse.move(box["x"] + box["width"] / 2 + 5, box["y"] + box["height"] / 2)

    # The place under the pointer is computed in the session.
    expect(cell.outputs).to_contain_text(re.compile(r"[xy, ()=]+-?\d"))
    sheet.run("%matplotlib inline")


def test_a_bar_of_tqdm_moves_while_the_cell_runs(sheet):
    cell = sheet.start(
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(40), desc='moving'):\n    time.sleep(0.05)"
    )
    bar = cell.find(".widget-html-content", has_text=re.compile(r"/40"))
    bar.wait_for()
    seen = set()
    while "*" in cell.prompt.inner_text():
        seen.add(bar.inner_text())
    cell.done()

    cell.shows("40/40")
    assert len(seen) >= 6  # three times a second, of two seconds


def test_widgets_of_both_sides_live_side_by_side(sheet):
    local = sheet.run(
        "%%local\nimport ipywidgets as w, os\nfrom IPython.display import display\n"
        "here, where = w.Button(description='Here'), w.Label()\n"
        "here.on_click(lambda b: setattr(where, 'value', f'process {os.getpid()}'))\n"
        "display(here, where)"
    )
    remote = sheet.run(
        "import os\nthere, place = w.Button(description='There'), w.Label()\n"
        "there.on_click(lambda b: setattr(place, 'value', f'process {os.getpid()}'))\n"
        "display(there, place)"
    )
    for cell in (local, remote):
        cell.find("button").click()
        cell.shows("process ")

    here = sheet.run("%local os.getpid()").text
    there = sheet.run("os.getpid()").text
    assert here != there
    local.shows(f"process {here}")
    remote.shows(f"process {there}")


def test_widgets_come_back_after_the_page_is_loaded_again(sheet):
    cell = sheet.run(SLIDER)
    push(cell)
    cell.shows("moved to 4")
    sheet.reload()
    push(cell)

    cell.shows("moved to 5")


def test_widgets_of_both_sides_come_back_after_the_page_is_loaded_again(sheet):
    local = sheet.run(
        "%%local\nimport ipywidgets as w\nfrom IPython.display import display\n"
        "kept, told = w.Button(description='Kept here'), w.Label()\n"
        "kept.on_click(lambda b: setattr(told, 'value', 'still here'))\ndisplay(kept, told)"
    )
    cell = sheet.run(SLIDER)
    push(cell)
    cell.shows("moved to 4")
    sheet.reload()
    push(cell)

    cell.shows("moved to 5")
    local.find("button").click()
    local.shows("still here")


def test_a_restart_marks_the_widgets_as_dead(sheet):
    cell = sheet.run(SLIDER)
    expect(cell.find(".noUi-handle")).to_be_visible()
    sheet.command("kernelmenu:restart")
    sheet.page.locator(".jp-Dialog button:has-text('Restart')").click()

    expect(cell.find(".jupyter-widgets-disconnected").first).to_be_attached()
    again = sheet.run("import time, ipywidgets as w\nfrom IPython.display import display\n'back'")
    again.shows("'back'")
    alive = sheet.run(SLIDER)
    push(alive)
    alive.shows("moved to 4")
    expect(cell.outputs).not_to_contain_text("moved to")
