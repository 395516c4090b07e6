"""Panels as a person uses them, in JupyterLab; the kernel is a plain one but where a test says so."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .lab import LIMIT, Cell, Lab, Sheet

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

pytestmark = pytest.mark.browser
MS = LIMIT * 1000
SERIOUS = ("serious", "critical")
OVER = re.compile("Terminated|Cancelled")
START = "start python -r cpu=1 -r mem=512m --enqueue-only"


@pytest.fixture(scope="module")
def plain(lab: Lab, browser: Browser) -> Iterator[Sheet]:
    """A notebook with a plain Python kernel, in which ``%bai`` is loaded."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    sheet = Sheet(page)
    sheet.open(lab.write("panels", kernel="python3"))
    page.keyboard.press("Control+b")
    sheet.run("%load_ext bai\nfrom backendai_magics import panels")
    yield sheet
    sheet.run("mine = %bai ps --all\nfor s in mine:\n    if not s.status.is_over: %bai rm {s.id}")
    sheet.shut_down()
    page.close()


@pytest.fixture
def book(plain: Sheet) -> Iterator[Sheet]:
    """The notebook; a test that makes the page complain has failed."""
    plain.complaints.clear()
    yield plain
    assert plain.complaints == []


def opened(sheet: Sheet, words: str = "") -> Panel:
    return Panel(sheet.run(f"%bai panel {words}"))


class Panel:
    """A panel in a cell's output: what a person sees of it."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.box = cell.find(".bai-panel")
        self.rows = self.box.locator("tr.bai-row")
        self.errors = self.box.get_by_role("alert")

    def button(self, name: str) -> Locator:
        return self.box.get_by_role("button", name=name, exact=True)

    def tab(self, name: str) -> None:
        self.box.get_by_role("tab", name=name, exact=True).click()

    def row(self, name: str) -> Locator:
        return self.rows.filter(has_text=name)

    def shows(self, name: str, text: str | re.Pattern[str]) -> None:
        expect(self.row(name)).to_contain_text(text, timeout=MS)

    def launch(self, name: str) -> None:
        self.tab("Launch")
        self.box.get_by_label("Name", exact=True).fill(name)
        expect(self.box.locator(".bai-line").first).to_contain_text(f"-t {name}", timeout=MS)
        self.button("Start the session").click()
        expect(self.box.locator(".bai-progress")).to_contain_text(f"{name} runs", timeout=MS)


def test_a_session_is_launched_watched_and_ended(book):
    panel = opened(book)
    panel.launch("from-panel")
    panel.button("Show it among the sessions").click()
    panel.shows("from-panel", "Running")
    panel.row("from-panel").get_by_role("button", name="Logs of from-panel").click()
    log = panel.box.get_by_role("log")
    expect(log).to_contain_text("Kernel started", timeout=MS)
    panel.button("Details").click()
    expect(panel.box.locator(".bai-facts")).to_contain_text("Scaling group", timeout=MS)
    panel.button("Rename").click()
    panel.box.get_by_label("New name").fill("renamed")
    panel.button("Rename it").click()
    panel.shows("renamed", "Running")
    panel.button("Close").click()

    panel.row("renamed").get_by_role("button", name="End renamed").click()
    panel.button("Undo").click()
    expect(panel.box).to_contain_text("renamed: not ended")
    panel.shows("renamed", "Running")


def test_two_sessions_are_selected_and_ended_together(book):
    book.run(f"%bai {START} -t first\n%bai {START} -t second")
    panel = opened(book, "sessions")
    for name in ("first", "second"):
        panel.row(name).get_by_role("checkbox").check()
    expect(panel.box).to_contain_text("2 selected")
    panel.button("End them").click()
    expect(panel.box.locator(".bai-ending")).to_contain_text("Ending first, second")

    expect(panel.row("first")).to_have_count(0, timeout=MS)
    expect(panel.row("second")).to_have_count(0, timeout=MS)
    panel.button("Ended").click()
    panel.shows("first", OVER)
    panel.box.get_by_label("Filter").fill("secon")
    expect(panel.rows).to_have_count(1)


def test_an_error_appears_in_the_panel_with_its_next_step(book):
    panel = opened(book, "sessions")
    panel.row("renamed").get_by_role("button", name="renamed", exact=True).click()
    panel.button("Rename").click()
    panel.box.get_by_label("New name").fill("no name!")
    panel.button("Rename it").click()

    expect(panel.errors).to_contain_text("'no name!' is no name for a session.", timeout=MS)
    expect(panel.errors).to_contain_text("4 to 64 letters")
    panel.button("Dismiss").click()
    expect(panel.errors).to_be_hidden()


def test_an_app_is_opened_and_stopped(book):
    panel = opened(book)
    panel.row("renamed").get_by_role("button", name="renamed", exact=True).click()
    panel.box.locator(".bai-drawer").get_by_role("button", name="Apps").click()
    panel.button("Open sshd").click()
    there = panel.box.get_by_role("list", name="Open apps")
    expect(there).to_contain_text("sshd", timeout=MS)
    expect(there).to_contain_text("127.0.0.1:")
    panel.button("Stop sshd of renamed").click()

    expect(panel.box).to_contain_text("No app is open.", timeout=MS)


def test_files_go_up_and_come_down(book, tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"seen in the panel" * 50_000)  # of two pieces
    panel = opened(book)
    panel.row("renamed").get_by_role("button", name="renamed", exact=True).click()
    panel.box.locator(".bai-drawer").get_by_role("button", name="Files").click()
    files = panel.box.get_by_role("list", name="Files")
    expect(files).to_contain_text("id_container", timeout=MS)
    with book.page.expect_file_chooser() as chooser:
        panel.button("Upload …").click()
    chooser.value.set_files(tmp_path / "notes.txt")
    expect(panel.box).to_contain_text("SHA-256", timeout=MS)
    with book.page.expect_download() as download:
        panel.button("Download notes.txt").click()

    assert Path(download.value.path()).read_bytes() == (tmp_path / "notes.txt").read_bytes()


def test_folders_are_made_in_a_form(book):
    panel = opened(book, "folders")
    panel.button("New folder …").click()
    panel.box.get_by_label("Name of the new folder").fill("from-the-form")
    panel.button("Make it").click()
    expect(panel.box.locator(".bai-crumbs")).to_contain_text("from-the-form", timeout=MS)
    kind = panel.box.get_by_label("New", exact=True)
    kind.select_option("in from-the-form", timeout=MS)
    expect(panel.box.get_by_label("Used for")).to_be_hidden()
    panel.box.get_by_label("Name of the new folder").fill("results")
    panel.button("Make it").click()
    expect(panel.box.get_by_role("list", name="Files")).to_contain_text("results", timeout=MS)
    kind.select_option("a virtual folder")
    panel.box.get_by_label("Name of the new folder").fill("from-the-form")
    panel.button("Make it").click()
    expect(panel.errors).to_contain_text("from-the-form", timeout=MS)

    book.run("%bai vfolder delete from-the-form")


def test_files_that_are_dropped_with_the_mouse_go_up(book, tmp_path):
    book.run("%bai vfolder create dropped")
    (tmp_path / "one.bin").write_bytes(bytes(range(256)) * 4_000)
    (tmp_path / "zwei ü.txt").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    panel = opened(book, "folders")
    panel.box.get_by_label("Folder", exact=True).select_option("dropped")
    files = panel.box.get_by_role("list", name="Files")
    area = panel.box.locator(".bai-drop")
    expect(area).to_contain_text("It is empty. Drop files here", timeout=MS)
    with drag(book.page, area, *sorted(tmp_path.iterdir())) as mouse:
        mouse("dragEnter")
        mouse("dragOver")
        expect(area).to_have_class(re.compile("bai-over"))
        mouse("drop")
    expect(files).to_contain_text("one.bin", timeout=MS)
    expect(files).to_contain_text("zwei ü.txt")
    expect(area).not_to_have_class(re.compile("bai-over"))
    with book.page.expect_download() as download:
        panel.button("Download one.bin").click()

    expect(panel.errors).to_contain_text("A page sends files, no folders.")
    assert files.get_by_role("listitem").count() == 2
    assert Path(download.value.path()).read_bytes() == bytes(range(256)) * 4_000
    book.run("%bai vfolder delete dropped")


@contextmanager
def drag(page: Page, onto: Locator, *files: Path) -> Iterator[Callable[[str], None]]:
    """Hold files over an element; what is yielded does a step of the drag."""
    onto.scroll_into_view_if_needed()
    box = onto.bounding_box()
    assert box is not None
    link = page.context.new_cdp_session(page)
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(each) for each in files], "dragOperationsMask": 1}
    yield lambda kind: link.send("Input.dispatchDragEvent", {"type": kind, "data": data, **place})
    link.detach()


def test_a_key_is_downloaded_and_nothing_secret_is_saved(book, lab):
    panel = opened(book)
    panel.row("renamed").get_by_role("button", name="renamed", exact=True).click()
    panel.box.locator(".bai-drawer").get_by_role("button", name="SSH").click()
    panel.button("Fetch the key").click()
    expect(panel.box).to_contain_text("proved to be the session's", timeout=MS)
    with book.page.expect_download() as download:
        panel.button("Download the key").click()
    got = Path(download.value.path()).read_bytes()
    [kept] = lab.home.glob("state/ssh/*/keys/bai-renamed")
    expect(panel.box).to_contain_text("has mode 0600")

    assert download.value.suggested_filename == "bai-renamed"
    panel.tab("Launch")
    panel.box.get_by_label("Environment").fill("DEBUG=1\nHF_TOKEN=hf_typed_by_hand")
    panel.box.get_by_label("Name", exact=True).fill("with-a-secret")
    expect(panel.box.locator(".bai-line").first).to_contain_text("-e DEBUG=1 -e HF_TOKEN")

    assert got == kept.read_bytes() and b"PRIVATE KEY" in got
    assert kept.stat().st_mode & 0o777 == 0o600
    book.command("@jupyter-widgets/jupyterlab-manager:saveWidgetState")
    saved = lab.notebooks / "panels.ipynb"
    deadline = time.monotonic() + LIMIT
    while "widget-state+json" not in (text := saved.read_text("utf-8")):
        assert time.monotonic() < deadline, "the state was not saved"
        book.command("docmanager:save")
        book.page.wait_for_timeout(300)
    local = json.loads((lab.home / "state/local/manager.json").read_text("utf-8"))
    key = got.decode().splitlines()
    secrets = [*key[1:-1], local["secret_key"], "PRIVATE KEY", "hf_typed_by_hand"]
    assert [secret[:8] for secret in secrets if secret in text] == []
    assert not re.search(r"(?i)set-cookie|sessionid|AIOHTTP_SESSION", text)


def test_the_keyboard_is_enough(book):
    book.run(f"%bai {START} -t by-keys")
    panel = opened(book)
    expect(panel.row("by-keys")).to_be_visible(timeout=MS)
    press = book.page.keyboard.press
    panel.box.get_by_role("tab", name="Sessions").focus()
    press("ArrowRight")
    expect(panel.box.get_by_role("tab", name="Launch")).to_be_focused()
    press("Home")
    expect(panel.box.get_by_role("tab", name="Sessions")).to_be_focused()
    panel.box.get_by_label("Filter").fill("by-keys")
    expect(panel.rows).to_have_count(1)
    panel.row("by-keys").get_by_role("checkbox").focus()
    press("Space")
    expect(panel.box).to_contain_text("1 selected")
    before = len(book.page.query_selector_all(".jp-Notebook-cell"))
    press("x")  # would cut the cell, had the notebook heard it
    press("Delete")
    expect(panel.box.locator(".bai-ending")).to_contain_text("by-keys")

    assert len(book.page.query_selector_all(".jp-Notebook-cell")) == before
    expect(panel.row("by-keys")).to_have_count(0, timeout=MS)


def test_the_form_is_filled_in_with_the_keyboard_alone(book):
    panel = opened(book, "launcher")
    press = book.page.keyboard.press
    expect(panel.box.locator(".bai-line").first).to_contain_text("%bai start", timeout=MS)
    panel.box.get_by_label("Search").focus()
    folders = panel.box.locator(".bai-checks input").count()
    seen = []
    for _ in range(16 + folders):
        press("Tab")
        seen.append(
            book.page.evaluate(
                """() => { const e = document.activeElement;
                return e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent }"""
            )
        )
    order = [
        *("By name, the newest version first", "Preset", "CPU", "CPU"),
        *("Memory (GiB)", "Memory (GiB)", "GPU shares"),
        *("GPU shares", "Name", "Project", "Scaling group", "Environment", "Copy", "Copy"),
        *("Start the session", "Make it a kernel"),
    ]
    assert seen[:11] + seen[11 + folders :] == order
    panel.box.get_by_role("slider", name="Memory").focus()
    press("ArrowRight")
    press("ArrowRight")
    expect(panel.box.get_by_label("Memory (GiB)").first).to_have_value("1")
    expect(panel.box.locator(".bai-line").first).to_contain_text("-r mem=1g", timeout=MS)


def test_the_form_is_heard_while_a_cell_runs_and_sees_what_the_other_view_sees(book):
    panel = opened(book, "launcher")
    expect(panel.box.locator(".bai-line").first).to_contain_text("%bai start", timeout=MS)
    cell = book.start("import time\nfor _ in range(400): time.sleep(0.05)")
    expect(cell.prompt).to_have_text("[*]:")
    panel.box.get_by_label("Name", exact=True).fill("no name!")
    expect(panel.box).to_contain_text("'no name!' is no name for a session.", timeout=MS)
    expect(panel.button("Start the session")).to_be_disabled()
    expect(cell.prompt).to_have_text("[*]:")
    book.command("kernelmenu:interrupt")
    cell.done()


def test_a_form_stands_alone_without_anywidget(book):
    book.run("panels_spec = panels.find_spec\npanels.find_spec = lambda name: None")
    panel = Panel(book.run("alone = panels.show('launcher')\nalone"))
    book.run("panels.find_spec = panels_spec")
    panel.box.get_by_label("Name", exact=True).fill("stands-alone")
    expect(panel.box.locator(".bai-line").first).to_contain_text("-t stands-alone", timeout=MS)
    panel.button("Start the session").click()
    expect(panel.box.locator(".bai-progress")).to_contain_text("stands-alone runs", timeout=MS)
    book.run("%bai rm stands-alone")
    panel.cell.box.click(position={"x": 5, "y": 5})
    book.command("notebook:clear-cell-output")
    expect(panel.box).to_have_count(0)

    book.run("import time\nwhile alone.form.desk.busy: time.sleep(0.05)").shows("")


def test_a_cell_that_runs_does_not_stop_the_panel(book):
    panel = opened(book, "sessions")
    expect(panel.box).to_contain_text("Live", timeout=MS)
    cell = book.start("import time\nfor _ in range(400): time.sleep(0.05)")
    expect(cell.prompt).to_have_text("[*]:")
    panel.button("Ended").click()
    panel.shows("second", OVER)
    expect(cell.prompt).to_have_text("[*]:")
    book.command("kernelmenu:interrupt")
    cell.done()


def test_an_output_that_is_cleared_stops_all(book):
    panel = Panel(book.run("from backendai_magics import panels\nkept = panels.show()\nkept"))
    expect(panel.box).to_contain_text("Live", timeout=MS)
    assert "('sessions',)" in book.run("kept.desk.busy").text
    panel.cell.box.click(position={"x": 5, "y": 5})
    book.command("notebook:clear-cell-output")
    expect(panel.box).to_have_count(0)
    book.run("import time\nwhile kept.desk.busy: time.sleep(0.05)").shows("")


@pytest.mark.parametrize(
    ("theme", "width"),
    [("Light", 1280), ("Light", 700), ("Dark", 1280), ("Dark", 700), ("Dark High Contrast", 1280)],
)
def test_nothing_keeps_people_out_in_any_theme(book, theme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    change = "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})"
    book.page.evaluate(change, f"JupyterLab {theme}")
    named = re.compile(f"JupyterLab {theme}$")
    expect(book.page.locator("body")).to_have_attribute("data-jp-theme-name", named)
    panel = opened(book)
    panel.box.evaluate("(box, width) => { box.style.maxWidth = `${width}px` }", width)
    panel.row("renamed").get_by_role("button", name="Logs of renamed").click()
    expect(panel.box.get_by_role("log")).to_contain_text("Kernel started", timeout=MS)
    looked, found = [], []
    for part, shows in SHOWN.items():
        panel.tab(part)
        shows(panel)
        book.page.wait_for_timeout(300)  # what is fading in has its colours
        context = f".jp-Notebook-cell:nth-of-type({panel.cell.index + 1}) .bai-panel"
        seen = axe.run(book.page, context=context).response
        looked.append(len(seen["passes"]))
        found += [(part, v["id"]) for v in seen["violations"] if v["impact"] in SERIOUS]
    book.page.evaluate(change, "JupyterLab Light")
    expect(book.page.locator("body")).to_have_attribute("data-jp-theme-light", "true")

    assert min(looked) > 10 and len(looked) == 6  # it has looked at something
    assert found == []


# Part → waits for what it shows, while the session `renamed` runs.
SHOWN: dict[str, Callable[[Panel], None]] = {
    "Sessions": lambda panel: panel.shows("renamed", "Running"),
    "Launch": lambda panel: expect(panel.box.get_by_role("slider").first).to_be_visible(timeout=MS),
    "Resources": lambda panel: expect(panel.box.get_by_role("meter").first).to_be_visible(
        timeout=MS
    ),
    "Apps": lambda panel: expect(panel.button("Open sshd")).to_be_visible(timeout=MS),
    "Folders": lambda panel: expect(panel.button("Upload …")).to_be_visible(timeout=MS),
    "SSH": lambda panel: expect(panel.box).to_contain_text("In a terminal", timeout=MS),
}


def test_in_our_kernel_it_lives_beside_the_sessions_own(sheet):
    sheet.run("import ipywidgets as w\nfrom IPython.display import display")
    theirs = sheet.run(
        "said = w.Label()\nbutton = w.Button(description='There')\n"
        "button.on_click(lambda b: setattr(said, 'value', 'from the session'))\ndisplay(button, said)"
    )
    panel = opened(sheet, "sessions")
    panel.shows("nb-", "Running")
    cell = sheet.start("time.sleep(600)")
    expect(cell.prompt).to_have_text("[*]:")
    panel.button("All").click()
    panel.shows("nb-", "Running")
    sheet.command("kernelmenu:interrupt")
    cell.done()
    theirs.find("button").click()

    theirs.shows("from the session")
    launcher = opened(sheet, "launcher")
    launcher.box.get_by_label("Name", exact=True).fill("from-our-kernel")
    expect(launcher.box.locator(".bai-line").first).to_contain_text("-t from-our", timeout=MS)
    assert re.search("nb-", panel.box.inner_text())
