"""What a page asks the kernel, and what the kernel asks the person before the page."""

from __future__ import annotations

import statistics

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

pytestmark = pytest.mark.browser

ASK = """async ({code, rounds}) => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const taken = [], found = [];
    for (let round = 0; round < rounds; round++) {
        const began = performance.now();
        const reply = await kernel.requestComplete({code, cursor_pos: code.length});
        taken.push(performance.now() - began);
        found.push(reply.content.matches);
    }
    return [taken, found];
}"""


def test_input_asks_in_the_page_and_goes_on_with_the_answer(sheet):
    cell = sheet.start("name = input('Your name? ')\nprint('Hello', name)")
    box = cell.find("input.jp-Stdin-input")
    expect(cell.find(".jp-Stdin-prompt")).to_contain_text("Your name?")
    box.fill("Ada")
    box.press("Enter")
    cell.done()

    cell.shows("Hello Ada")


def test_a_password_is_not_shown(sheet):
    cell = sheet.start("import getpass\nsecret = getpass.getpass('Word? ')\nlen(secret)")
    box = cell.find("input.jp-Stdin-input")
    expect(box).to_have_attribute("type", "password")
    box.fill("open sesame")
    box.press("Enter")
    cell.done()

    assert "sesame" not in cell.text
    assert "11" in cell.text.split()


def test_tab_completes_the_sessions_names_with_their_types(sheet):
    sheet.run("def remote_function(first, second=2):\n    'Told there.'\nremote_value = 1")
    # JupyterLab waits for a second, which the first completion of an interpreter may exceed.
    sheet.page.evaluate(ASK, {"code": "remote_", "rounds": 1})
    cell = sheet.type("remote_")
    sheet.page.keyboard.press("Tab")
    items = sheet.page.locator(".jp-Completer-item")

    expect(items.filter(has_text="remote_function")).to_contain_text("function")
    expect(items.filter(has_text="remote_value")).to_contain_text("instance")
    items.filter(has_text="remote_value").click()
    expect(cell.editor).to_have_text("remote_value")


def test_shift_tab_shows_signature_and_text_of_an_object_of_the_session(sheet):
    sheet.run("def remote_function(first, second=2):\n    'Told there.'")
    sheet.type("remote_function(")
    sheet.page.keyboard.press("Shift+Tab")
    tooltip = sheet.page.locator(".jp-Tooltip")

    expect(tooltip).to_contain_text("remote_function(first, second=2)")
    expect(tooltip).to_contain_text("Told there.")
    sheet.page.keyboard.press("Escape")


def test_completion_answers_within_300_ms_while_a_cell_runs(sheet):
    sheet.run("known_before = 1")
    running = sheet.start("print('begun')\ntime.sleep(60)")
    running.shows("begun")
    taken, found = sheet.page.evaluate(ASK, {"code": "known_b", "rounds": 7})
    sheet.type("known_b")
    sheet.page.keyboard.press("Tab")

    offered = sheet.page.locator(".jp-Completer-item").filter(has_text="known_before")
    expect(offered).to_be_visible()
    sheet.page.keyboard.press("Escape")
    assert "*" in running.prompt.inner_text()
    assert found == [["known_before"]] * 7
    assert statistics.median(taken) < 300, taken
    sheet.command("notebook:interrupt-kernel")
    running.done()


def test_the_interrupt_button_ends_the_cell(sheet):
    cell = sheet.start("print('begun')\nwhile True:\n    time.sleep(0.1)")
    cell.shows("begun")
    sheet.page.locator(
        "[data-command='notebook:interrupt-kernel'], [data-jp-item-name=interrupt]"
    ).first.click()
    cell.done()

    cell.shows("KeyboardInterrupt")
    assert sheet.run("'goes on'").text == "'goes on'"


def test_the_interrupt_button_ends_a_widgets_callback(sheet):
    cell = sheet.run(
        "button, state = w.Button(description='Forever'), w.Label('new')\n"
        "@button.on_click\n"
        "def pressed(_):\n"
        "    state.value = 'begun'\n"
        "    try:\n"
        "        while True:\n"
        "            time.sleep(0.1)\n"
        "    finally:\n"
        "        state.value = 'ended'\n"
        "display(button, state)"
    )
    cell.find("button").click()
    cell.shows("begun")
    sheet.command("notebook:interrupt-kernel")

    cell.shows("ended")
    assert sheet.run("'goes on'").text == "'goes on'"
