"""The panel's page alone, with a kernel that is made up: hostile words, many rows, narrow widths."""

from __future__ import annotations

import json
import re
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

TABS = ("Sessions", "Launch", "Resources", "Apps", "Folders", "SSH")
WHITE, INK = "rgb(255, 255, 255)", "rgb(28, 29, 32)"
SLATE, CHALK = "rgb(29, 31, 35)", "rgb(236, 238, 242)"


def code(theme: str, ground: str, text: str, **more: str) -> dict[str, str]:
    """Return what a notebook's output in VS Code has: variables, and the theme as a class."""
    told = {"editor-background": ground, "foreground": text} | more
    style = "; ".join(f"--vscode-{name}: {value}" for name, value in told.items())
    return {"style": style, "class": f"vscode-{theme}"}


# Host → what the computer prefers, and attributes: of html, but for the class, which is body's.
HOSTS: dict[str, tuple[str, dict[str, str]]] = {
    "nothing, light": ("light", {}),
    "nothing, dark": ("dark", {}),
    "VS Code, light": ("dark", code("light", "#fafafa", "#1e1e1e")),
    "VS Code, dark": ("light", code("dark", "#1f1f1f", "#cccccc")),
    "VS Code, high contrast": (
        "light",
        code("high-contrast", "#000000", "#ffffff", contrastBorder="#6fc3df"),
    ),
    "Colab, light": ("dark", {"theme": "light"}),
    "Colab, dark": ("light", {"theme": "dark"}),
}

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
const later = window.setTimeout;
window.model = {
    get: name => name === "parts" ? PARTS : undefined,
    on: (name, listen) => heard.add(listen),
    off: (name, listen) => heard.delete(listen),
    send: message => {
        sent.push(message);
        if (window.deaf) return;
        later(() => {
            tell({ack: message.id});
            if (message.do === window.refused)
                return tell({done: message.id, error: {message: "Refused.", hint: ""}});
            tell({done: message.id, value: answers[message.do] ?? {server: "example.com"}});
        });
    },
};
"""

# What a page has begun and not taken back: timers, listeners of window and document, observers.
WATCH = """
window.begun = new Map();
for (const [begin, end] of [
    ["setInterval", "clearInterval"],
    ["setTimeout", "clearTimeout"],
    ["requestAnimationFrame", "cancelAnimationFrame"],
]) {
    const [start, stop] = [window[begin].bind(window), window[end].bind(window)];
    window[begin] = (work, ...more) => {
        const id = start((...args) => {
            if (begin !== "setInterval") begun.delete(begin + id);
            work(...args);
        }, ...more);
        begun.set(begin + id, String(work));
        return id;
    };
    window[end] = id => { begun.delete(begin + id); stop(id); };
}
for (const target of [window, document]) {
    const [add, remove] = [target.addEventListener, target.removeEventListener];
    target.addEventListener = function (name, listen, ...more) {
        begun.set(listen, name);
        return add.call(target, name, listen, ...more);
    };
    target.removeEventListener = function (name, listen, ...more) {
        begun.delete(listen);
        return remove.call(target, name, listen, ...more);
    };
}
window.ResizeObserver = class extends ResizeObserver {
    observe(element) { begun.set(this, "observer"); super.observe(element); }
    disconnect() { begun.delete(this); super.disconnect(); }
};
null;
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
        "every": 30.0,
        "own": False,
        "problem": None,
    }


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_content(f"<style>{widget.style()}</style><div id=panel></div>")
    page.evaluate(MODEL.replace("PARTS", json.dumps(PARTS)) + WATCH)
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


def enter(page: Page, scheme: str, attributes: dict[str, str]) -> None:
    """Make the page like that of a host."""
    page.emulate_media(color_scheme=scheme)
    page.evaluate(
        """attributes => {
            const html = document.documentElement;
            for (const name of ["style", "theme"]) html.removeAttribute(name);
            document.body.className = attributes.class ?? "";
            for (const [name, value] of Object.entries(attributes))
                if (name !== "class") html.setAttribute(name, value);
        }""",
        attributes,
    )


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


def test_how_soon_the_list_shows_what_happens_is_told(page):
    alive = page.locator(".bai-live")
    tell(page, **whole([row(1)]))
    expect(alive).to_have_text("Live")
    tell(page, part="sessions", live=True, every=45.0, own=True)
    expect(alive).to_have_text("Own live")
    expect(alive).to_have_attribute("title", re.compile("your own sessions .* every 45 s"))
    tell(page, part="sessions", live=False, every=8.0, own=False)

    expect(alive).to_have_text("Asked every 8 s")


def test_an_open_session_is_over_when_the_kernel_says_so(page):
    tell(page, **whole([row(1), row(2)]))
    page.get_by_role("button", name="session-0002", exact=True).click()
    drawer = page.locator(".bai-drawer")
    tell(page, **whole([row(3, status="TERMINATED")]) | {"which": "dead"})
    tell(page, part="sessions", gone=[3], total=0)
    expect(drawer).to_contain_text("Running")
    expect(drawer.get_by_role("button", name="Interrupt")).to_be_enabled()
    told = ["id-2", "renamed", "TERMINATED", "user-requested"]
    tell(page, part="sessions", apart=[told])
    expect(drawer).to_contain_text("Terminated")
    expect(drawer.locator(".bai-title")).to_have_text("renamed")
    page.get_by_role("button", name="Close", exact=True).click()

    page.wait_for_function("sent.at(-1).do === 'sessions.shut'")


def test_a_list_that_cannot_be_had_is_not_marked_as_chosen(page):
    tell(page, **whole([row(1)]))
    page.evaluate("window.refused = 'sessions.list'")
    page.get_by_role("button", name="Ended", exact=True).click()
    tell(page, part="sessions", which="mine")

    expect(page.get_by_role("button", name="Mine", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.get_by_role("alert")).to_contain_text("Refused.")


def test_a_session_in_error_is_ended_by_force(page):
    tell(page, **whole([row(1), row(2, status="ERROR"), row(3, status="TERMINATED")]))
    for name in ("session-0001", "session-0002", "session-0003"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("button", name="End them").click()
    page.wait_for_function("sent.at(-1).forced")
    sent = page.evaluate("sent.slice(-2).map(({sessions, forced}) => [sessions, forced])")

    assert sent == [[["id-1"], False], [["id-2"], True]]
    expect(page.get_by_role("button", name="End session-0002")).to_be_enabled()
    expect(page.get_by_role("button", name="End session-0003")).to_be_disabled()
    page.get_by_role("button", name="session-0002", exact=True).click()
    expect(page.locator(".bai-drawer .bai-danger")).to_be_enabled()


def test_a_kernel_that_does_not_listen_is_told_and_heard_again(page):
    tell(page, **whole([row(1)]))
    page.evaluate("window.deaf = true")
    page.get_by_role("button", name="Running", exact=True).click()
    expect(page.locator(".bai-waiting")).to_contain_text("busy with a cell")
    page.evaluate("window.deaf = false; tell({ack: sent.at(-1).id})")

    expect(page.locator(".bai-waiting")).to_be_hidden()


@pytest.mark.parametrize("width", [1200, 820, 700, 640, 480, 360])
def test_nothing_sticks_out_at_any_width(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    show_something(page)
    tell(page, part="sessions", said="A rather long sentence of what has just been done. " * 3)
    long = "a-name-that-is-as-long-as-names-may-be-" + "x" * 25
    tell(page, **whole([row(n, name=long) for n in range(3)]))
    for tab in TABS:
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


def test_closing_says_goodbye_and_stops_all_that_was_begun(page):
    show_something(page)
    tell(page, part="sessions", said="Something.", ending=[["t", ["session-0001"], 600]])
    page.locator("tr.bai-row .bai-link").first.click()
    page.evaluate("window.deaf = true")
    page.get_by_role("button", name="Log", exact=True).click()
    before = page.evaluate("[...new Set([...begun.keys()].map(key => typeof key))].sort()")
    page.evaluate("close_panel()")

    assert before == ["function", "object", "string"]  # listeners, an observer, timers
    assert page.evaluate("[...begun.values()]") == []
    assert page.evaluate("sent.at(-1).do") == "bye"
    assert page.evaluate("heard.size") == 0


def test_out_of_the_page_it_rests_and_goes_on_when_it_comes_back(page):
    show_something(page)
    page.locator("tr.bai-row .bai-link").first.click()
    page.get_by_role("button", name="Log", exact=True).click()
    tell(page, part="sessions", log="id-4", first=True, text="line\n")
    page.evaluate("window.box = document.getElementById('panel'); box.remove()")
    page.wait_for_function("sent.at(-1).do === 'bye'")
    page.wait_for_function("![...begun.keys()].some(key => String(key).startsWith('setInterval'))")
    page.evaluate("document.body.append(box)")
    page.wait_for_function("sent.at(-1).do === 'sessions.log'")
    asked = page.evaluate("sent.slice(-2).map(intent => intent.do)")
    page.evaluate("box.remove(); document.body.append(box)")  # it is only moved
    page.wait_for_timeout(3000)

    assert asked == ["show", "sessions.log"]
    assert page.evaluate("sent.at(-1).do") == "sessions.log"
    assert page.evaluate("[...begun.keys()].some(key => String(key).startsWith('setInterval'))")


def show_something(page: Page) -> None:
    """Open each part and have it show something."""
    rows = [row(1), row(2, status="PENDING"), row(3, status="TERMINATED"), row(4, status="ERROR")]
    page.evaluate(
        """() => {
            answers["sessions.info"] = [["Id", "id-1"], ["Scaling group", "default"]];
            answers["folders.list"] = {rows: [["data", true, 0, 0], ["a.txt", false, 1, 1]], more: 1};
            answers["apps.list"] = [{name: "sshd", protocol: "tcp", ports: [2200]}];
        }"""
    )
    tell(page, **whole(rows))
    for tab in TABS[1:]:
        page.get_by_role("tab", name=tab).click()
    sessions = [["id-1", "session-0001"]]
    slot = {"name": "cpu", "label": "CPU", "used": "7", "limit": "8", "left": "1", "free": "1"}
    use = {"id": "x", "name": "s", "cpu": 1, "mem": 1, "gpu": 0, "past": [[0.5, 1, 0], [0.7, 2, 0]]}
    slots = [slot | {"where": "", "share": 0.9}]
    tell(page, part="resources", slots=slots, group="default", sessions=[use], every=10)
    opened = {"session": "s", "session_id": "id-1", "app": "jupyter", "host": "127.0.0.1"}
    opened |= {"port": 1, "pid": 1, "web": True, "link": "http://127.0.0.1:1/"}
    tell(page, part="apps", sessions=sessions, open=[opened])
    tell(page, part="folders", folders=[{"id": "f", "name": "data", "may": "rw"}], sessions=[])
    page.get_by_role("tab", name="Sessions").click()
    page.get_by_role("checkbox", name="Select session-0002").check()


def test_what_a_session_offers_is_asked_told_or_not_known(page):
    page.get_by_role("tab", name="Apps").click()
    pane = page.locator(".bai-pane[data-part=apps]")
    expect(pane).to_contain_text("Asking the server …")
    tell(page, part="apps", open=[])
    expect(pane).to_contain_text("Asking the server …")
    tell(page, part="apps", sessions=[["id-1", "one"], ["id-2", "two"]])
    expect(pane).to_contain_text("This session offers no apps.")
    page.evaluate("window.refused = 'apps.list'")
    page.get_by_label("Session", exact=True).select_option("two")
    expect(pane).to_contain_text("What it offers is not known.")
    tell(page, part="apps", sessions=[])

    expect(pane).to_contain_text("No session runs: launch one first.")


def test_resources_say_what_they_wait_for_and_what_they_leave_out(page):
    page.get_by_role("tab", name="Resources").click()
    pane = page.locator(".bai-pane[data-part=resources]")
    heading = pane.locator(".bai-heading").last
    expect(heading).to_contain_text("Asking the server …")
    tell(page, part="resources", slots=[], group="default")
    tell(page, part="resources", problem=None)
    expect(heading).to_contain_text("Asking the server …")
    use = {"id": "x", "name": "s", "cpu": 1, "mem": 1, "gpu": 0, "past": [[0.5, 1, 0]]}
    tell(page, part="resources", sessions=[use], every=10, newest=100)
    expect(heading).to_contain_text("the newest 100, Sessions has all; the last 10 min")
    tell(page, part="resources", sessions=[], every=10, newest=0)

    expect(heading).to_contain_text("No session runs.")
    expect(pane).to_contain_text("of the project default")


def test_a_page_without_jupyterlab_is_light_or_dark_as_it_says(page):
    """What VS Code and Colab write into their pages; neither runs here."""
    seen = {}
    for host, (scheme, attributes) in HOSTS.items():
        enter(page, scheme, attributes)
        seen[host] = page.evaluate(
            """() => {
                const style = getComputedStyle(document.querySelector(".bai-panel"));
                return [style.backgroundColor, style.color, style.colorScheme];
            }"""
        )

    assert seen == {
        "nothing, light": [WHITE, INK, "light"],
        "nothing, dark": [SLATE, CHALK, "dark"],
        "VS Code, light": ["rgb(250, 250, 250)", "rgb(30, 30, 30)", "light"],
        "VS Code, dark": ["rgb(31, 31, 31)", "rgb(204, 204, 204)", "dark"],
        "VS Code, high contrast": ["rgb(0, 0, 0)", WHITE, "dark"],
        "Colab, light": [WHITE, INK, "light"],
        "Colab, dark": [SLATE, CHALK, "dark"],
    }


LOOKS = [host for host in HOSTS if not host.startswith("Colab")]  # these have no colours of theirs


@pytest.mark.parametrize("width", [1000, 700, 400])
@pytest.mark.parametrize("host", [*LOOKS, "more contrast", "forced colors"])
def test_nothing_keeps_people_out_without_jupyterlab(page, host, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.set_viewport_size({"width": width, "height": 800})
    enter(page, *HOSTS.get(host, ("light", {})))
    if host == "more contrast":
        page.emulate_media(contrast="more")
    if host == "forced colors":
        page.emulate_media(forced_colors="active")
    show_something(page)
    tell(page, part="sessions", problem={"message": "It failed.", "hint": "Try again."})
    tell(page, part="sessions", ending=[["t", ["session-0001"], 600]])
    page.locator("tr.bai-row .bai-link").first.click()
    found = []
    for tab in TABS:
        tell(page, part="sessions", said="Something is done.")
        page.get_by_role("tab", name=tab).click()
        result = axe.run(page, context=".bai-panel").response
        found += [
            (tab, v["id"]) for v in result["violations"] if v["impact"] in ("serious", "critical")
        ]

    assert found == []


def test_a_page_that_draws_no_widgets_in_others_says_how_else(page):
    page.get_by_role("tab", name="Launch").click()

    expect(page.get_by_role("alert")).to_contain_text('panels.form("launcher") shows the form')


@pytest.mark.parametrize("width", [1000, 700])
def test_what_is_said_is_in_sight(page, width):
    page.set_viewport_size({"width": width, "height": 400})
    tell(page, **whole([row(n) for n in range(20)]))
    said = page.locator(".bai-said")
    tell(page, part="sessions", said="At the top.")
    expect(said).to_be_in_viewport()
    first = said.bounding_box()
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    tell(page, part="sessions", said="At the end.")
    expect(said).to_be_in_viewport()
    page.evaluate("window.scrollTo(0, 0)")
    tell(page, part="sessions", said="At the top again.")

    expect(said).to_be_in_viewport()
    assert first is not None and first["y"] < 100
    assert page.locator("tr.bai-row").first.is_visible()


def test_narrow_curves_have_their_sessions_name_above_them(page):
    page.set_viewport_size({"width": 700, "height": 800})
    show_something(page)
    page.get_by_role("tab", name="Resources").click()
    boxes = [
        page.locator(f".bai-session {inside}").first.bounding_box()
        for inside in (".bai-session-name", ".bai-curve")
    ]

    assert all(boxes) and boxes[0]["width"] > 600
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]


def test_heads_stand_above_what_is_below_them_and_choices_look_alike(page):
    show_something(page)
    left = page.evaluate(
        """() => ["thead th.bai-acts span", "tbody td.bai-acts button"].map(which => {
            const range = document.createRange();
            range.selectNodeContents(document.querySelector(`.bai-table ${which}`));
            return Math.round(range.getBoundingClientRect().left);
        })"""
    )
    page.evaluate(
        """() => document.querySelector(".bai-panel").insertAdjacentHTML("beforeend",
            '<div class="bai-form"><div class="widget-dropdown"><select><option>a</select></div></div>')"""
    )
    page.get_by_role("tab", name="Apps").click()
    looks = page.evaluate(
        """() => [...document.querySelectorAll(".bai-panel select")].map(each => {
            const {height, borderColor, fontSize, appearance, padding, backgroundImage} = getComputedStyle(each);
            return [height, borderColor, fontSize, appearance, padding, backgroundImage].join("; ");
        }).filter(look => !look.startsWith("auto"))"""
    )

    assert left[0] == left[1]
    assert len(looks) > 2 and len(set(looks)) == 1


def test_in_forced_colors_one_tab_is_marked(page):
    page.emulate_media(forced_colors="active")
    edges = page.get_by_role("tab").evaluate_all(
        "tabs => tabs.map(tab => getComputedStyle(tab).borderBottomColor)"
    )

    assert len(set(edges)) == 2 and edges.count(edges[0]) == 1
