"""The panel's page alone, with a kernel that is made up: hostile words, many rows, narrow widths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from backendai_magics.panels import PARTS
from backendai_magics.panels.rows import COLUMNS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
widget = pytest.importorskip("backendai_magics.panels.widget", exc_type=ImportError)
expect = playwright.expect

pytestmark = pytest.mark.browser

EVIL = '<img src=x onerror="window.stolen = 1"><script>window.stolen = 1</script>'

# A model as anywidget gives it, whose other end is in the test: what the page says is kept, and
# each intent is acknowledged and done.
MODEL = """
window.sent = [];
window.heard = new Set();
window.answers = {
    "sessions.info": [],
    "apps.list": [],
    "folders.list": {rows: [], more: 0},
};
window.tell = message => heard.forEach(listen => listen(message, []));
window.model = {
    get: name => name === "parts" ? PARTS : undefined,
    on: (name, listen) => heard.add(listen),
    off: (name, listen) => heard.delete(listen),
    send: message => {
        sent.push(message);
        if (window.deaf) return;
        setTimeout(() => {
            tell({ack: message.id});
            tell({done: message.id, value: answers[message.do] ?? {server: "example.com"}});
        });
    },
};
"""


def row(key: int, **values: Any) -> list[Any]:
    told: dict[str, Any] = {
        "id": f"id-{key}",
        "name": f"session-{key:04}",
        "status": "RUNNING",
        "used": "",
        "created": 1_760_000_000 + key,
        "over": 0,
        "idle": 0,
        "reason": "",
        "image": 0,
        "asked": 1,
        "owner": 2,
    } | values
    return [key, *(told[name] for name in COLUMNS)]


def whole(rows: list[list[Any]], words: tuple[str, ...] = ("python:3.11", "1 CPU", "")) -> Any:
    return {
        "part": "sessions",
        "words": list(words),
        "rows": rows,
        "which": "mine",
        "total": len(rows),
        "live": True,
        "problem": None,
    }


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_content(f"<style>{widget.style()}</style><div id=panel></div>")
    page.evaluate(MODEL.replace("PARTS", json.dumps(PARTS)))
    page.evaluate(
        """async source => {
            const address = URL.createObjectURL(new Blob([source], {type: "text/javascript"}));
            const module = await import(address);
            window.close_panel = module.default.render({model, el: document.getElementById("panel")});
        }""",
        widget.script(),
    )
    yield page
    assert complaints == []
    page.close()


def tell(page: Page, **message: Any) -> None:
    page.evaluate("message => tell(message)", message)


def test_hostile_words_stay_words_everywhere(page):
    page.evaluate(
        """evil => {
            answers["sessions.info"] = [[evil, evil]];
            answers["folders.list"] = {rows: [[evil, true, 0, evil], [evil, false, 1, 1]], more: 0};
            answers["apps.list"] = [{name: evil, protocol: evil, ports: [evil]}];
        }""",
        EVIL,
    )
    tell(
        page, **whole([row(1, name=EVIL, reason=EVIL, status=EVIL, used=EVIL)], (EVIL, EVIL, EVIL))
    )
    page.locator("tr.bai-row .bai-link").click()
    expect(page.locator(".bai-facts")).to_contain_text("onerror")
    page.get_by_role("button", name="Log", exact=True).click()
    tell(page, part="sessions", log="id-1", first=True, text=f"{EVIL}\x1b[31mred\x1b[0m\n")
    tell(page, part="sessions", said=EVIL, problem={"message": EVIL, "hint": EVIL})
    tell(page, part="sessions", ending=[["t", [EVIL], 6]])
    page.get_by_role("tab", name="Resources").click()
    fact = dict.fromkeys(("name", "label", "used", "limit", "left", "free", "where"), EVIL)
    session = {"id": "x", "name": EVIL, "cpu": 1, "mem": 1, "gpu": 0, "past": [[0.5, 1, None]]}
    tell(
        page,
        part="resources",
        slots=[fact | {"share": 0.5}],
        group=EVIL,
        sessions=[session],
        every=10,
    )
    page.get_by_role("tab", name="Folders").click()
    tell(page, part="folders", folders=[{"id": "f", "name": EVIL, "may": EVIL}], sessions=[])
    expect(page.get_by_role("list", name="Files")).to_contain_text("onerror")
    page.get_by_role("tab", name="Apps").click()
    opened = {"session": EVIL, "session_id": "s", "app": EVIL, "host": EVIL, "port": 1, "pid": 1}
    tell(
        page,
        part="apps",
        sessions=[["s", EVIL]],
        open=[opened | {"web": True, "link": "javascript:window.stolen=1"}],
    )
    expect(page.get_by_role("list", name="Open apps")).to_contain_text("onerror")

    assert page.evaluate("window.stolen") is None
    assert page.locator("#panel img, #panel script, #panel [onerror]").count() == 0
    assert page.locator("#panel a[href^=javascript]").count() == 0


def test_of_a_thousand_rows_only_those_in_view_are_in_the_page(page):
    tell(page, **whole([row(n) for n in range(1000)]))
    expect(page.locator(".bai-count")).to_have_text("1000 sessions")
    box = page.locator(".bai-scroll")
    few = page.locator("tr.bai-row").count()
    box.evaluate("box => { box.scrollTop = box.scrollHeight }")
    expect(page.locator("tr.bai-row", has_text="session-0000")).to_be_visible()
    page.get_by_role("button", name="Name").click()
    box.evaluate("box => { box.scrollTop = 0 }")
    expect(page.locator("tr.bai-row").first).to_contain_text("session-0000")
    page.get_by_label("Filter").fill("session-07")
    expect(page.locator(".bai-count")).to_have_text("100 of 1000 sessions")

    assert few < 40
    assert page.locator("tr.bai-row").count() < 40
    assert page.locator("table").get_attribute("aria-rowcount") == "101"


def test_the_arrows_go_from_row_to_row_and_scroll(page):
    tell(page, **whole([row(n) for n in range(200)]))
    page.get_by_role("button", name="Name").click()
    page.get_by_role("button", name="session-0000", exact=True).focus()
    for _ in range(30):
        page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name="session-0030", exact=True)).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.locator(".bai-drawer .bai-title")).to_have_text("session-0030")
    assert page.evaluate("sent.at(-1).do") == "sessions.info"


def test_a_patch_changes_one_row_and_keeps_the_focus(page):
    tell(page, **whole([row(1), row(2)]))
    box = page.get_by_role("checkbox", name="Select session-0002")
    box.focus()
    tell(page, part="sessions", set=[[1, COLUMNS.index("status"), "TERMINATING"]])
    expect(page.locator("tr.bai-row", has_text="session-0001")).to_contain_text("Terminating")
    tell(page, part="sessions", gone=[1], total=1)

    expect(page.locator(".bai-count")).to_have_text("1 session")
    expect(box).to_be_focused()


def test_a_kernel_that_does_not_listen_is_told_and_heard_again(page):
    tell(page, **whole([row(1)]))
    page.evaluate("window.deaf = true")
    page.get_by_role("button", name="Running", exact=True).click()
    expect(page.locator(".bai-waiting")).to_contain_text("busy with a cell")
    page.evaluate("window.deaf = false; tell({ack: sent.at(-1).id})")

    expect(page.locator(".bai-waiting")).to_be_hidden()


@pytest.mark.parametrize("width", [1200, 640, 360])
def test_nothing_sticks_out_at_any_width(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    long = "a-name-that-is-as-long-as-names-may-be-" + "x" * 25
    tell(page, **whole([row(n, name=long) for n in range(3)]))
    for tab in ("Sessions", "Launch", "Resources", "Apps", "Folders", "SSH"):
        page.get_by_role("tab", name=tab).click()
        wide = page.evaluate(
            """() => [...document.querySelectorAll(".bai-panel .bai-body *")].filter(e =>
                e.getBoundingClientRect().right > document.querySelector(".bai-panel").getBoundingClientRect().right + 1
                && getComputedStyle(e).visibility !== "hidden").map(e => e.className)"""
        )
        assert wide == [], tab
    page.get_by_role("tab", name="Sessions").click()
    name = page.locator("tr.bai-row .bai-name").first.bounding_box()
    assert name is not None and name["width"] > 100


def test_closing_says_goodbye_and_stops_the_timers(page):
    tell(page, **whole([row(1)]))
    page.evaluate("close_panel()")

    assert page.evaluate("sent.at(-1).do") == "bye"
    assert page.evaluate("heard.size") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out_without_a_theme(page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    rows = [row(1), row(2, status="PENDING"), row(3, status="TERMINATED"), row(4, status="ERROR")]
    tell(page, **whole(rows))
    tell(page, part="sessions", problem={"message": "It failed.", "hint": "Try again."})
    tell(page, part="sessions", ending=[["t", ["session-0001"], 600]])
    page.get_by_role("checkbox", name="Select session-0002").check()
    dark = page.evaluate("getComputedStyle(document.querySelector('.bai-panel')).backgroundColor")
    found = []
    for tab in ("Sessions", "Launch", "Resources", "Apps", "Folders", "SSH"):
        page.get_by_role("tab", name=tab).click()
        result = axe.run(page, context=".bai-panel").response
        found += [
            (tab, v["id"]) for v in result["violations"] if v["impact"] in ("serious", "critical")
        ]

    assert (dark != "rgb(255, 255, 255)") == (scheme == "dark")
    assert found == []


def test_a_page_that_draws_no_widgets_in_others_says_how_else(page):
    page.get_by_role("tab", name="Launch").click()

    expect(page.get_by_role("alert")).to_contain_text('panels.form("launcher") shows the form')
