"""Panels without a page: intents in, values out, on the embedded manager."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backendai_kernel import specs, vfolders
from backendai_kernel.client import Client
from backendai_kernel.ending import end_sessions
from backendai_kernel.errors import ConfigError
from backendai_kernel.listing import Listed, Query, Which, list_sessions
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.model import Image, Session, SessionStatus
from backendai_kernel.usage import Usage
from backendai_magics import panels
from backendai_magics.connection import Connection
from backendai_magics.panels import choosing, desk, part_resources
from backendai_magics.panels import part_sessions as listing
from backendai_magics.panels.choosing import Choosing
from backendai_magics.panels.desk import Attached, Part
from backendai_magics.panels.offers import newest_first
from backendai_magics.panels.part_apps import Apps
from backendai_magics.panels.part_folders import Folders
from backendai_magics.panels.part_keys import Keys
from backendai_magics.panels.part_launcher import Launcher, words_of
from backendai_magics.panels.part_resources import Resources
from backendai_magics.panels.part_sessions import Sessions
from backendai_magics.panels.resting import RESTS
from backendai_magics.panels.rows import COLUMNS, Rows, asked_text

from .conftest import settings
from .page import Page

STATIC = Path(panels.__file__).with_name("static")


@pytest.fixture(scope="module")
def connection(folder: Path, manager: LocalManager) -> Iterator[Connection]:
    with settings(folder, manager):
        connection = Connection(None)
        yield connection
        connection.close()


@pytest.fixture
def page(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setattr(listing, "UNDO", 0.3)
    page = Page(connection, Sessions, Launcher, Resources, Apps, Folders, Keys)
    yield page
    page.do("bye")
    page.desk.close()
    connection.call(end_all)


async def end_all(client: Client) -> None:
    """Make room for the next test's sessions."""
    there = (await list_sessions(client, Query(Which.LIVE))).items
    await end_sessions(client, [session.id for session in there if not session.status.is_ending])


def started(page: Page, name: str, **form: Any) -> str:
    """Start a session with the launcher; return its id."""
    page.do("launcher.start", form={"image": "python", "name": name, **form})
    now = page.hears(
        "launcher", "progress", lambda p: p["name"] == name and p["state"] != "waiting"
    )
    assert now["state"] == "ready", now
    return str(now["session"])


def listed(page: Page) -> dict[str, dict[str, Any]]:
    """What the page shows now: name → row, put together from all that it was told."""
    rows: dict[int, list[Any]] = {}
    words: list[str] = []
    for message in page.told:
        if message.get("part") != "sessions":
            continue
        if "rows" in message:
            rows, words = {}, list(message["words"])
        words += message.get("more_words", [])
        for key, *row in [*message.get("rows", []), *message.get("add", [])]:
            rows[key] = list(row)
        for key, *patch in message.get("set", []):
            for column, value in zip(patch[::2], patch[1::2], strict=True):
                rows[key][column] = value
        for key in message.get("gone", []):
            del rows[key]
    shared = {"image", "asked", "owner"}
    return {
        row[1]: {
            name: words[value] if name in shared else value
            for name, value in zip(COLUMNS, row, strict=True)
        }
        for row in rows.values()
    }


# -- rows: only what differs --------------------------------------------------------------------


def session(number: int, status: str = "RUNNING", **more: Any) -> Session:
    return Session(
        id=f"00000000-0000-0000-0000-{number:012}",
        name=f"s{number}",
        status_name=status,
        image="registry.example.com/stable/python:3.11",
        occupying_slots='{"cpu": "1", "mem": "1073741824", "cuda.shares": "0.5"}',
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        **more,
    )


def test_a_list_that_is_the_same_tells_nothing():
    rows = Rows()
    first = rows.update([session(1), session(2)], {}, own_key="")
    again = rows.update([session(2), session(1)], {}, own_key="")

    assert [row[:3] for row in first["add"]] == [[1, session(1).id, "s1"], [2, session(2).id, "s2"]]
    assert first["more_words"] == ["stable/python:3.11", "1 CPU · 1 GiB · 0.5 GPU", ""]
    assert again == {}


def test_a_changed_status_tells_one_column_and_a_missing_session_its_key():
    rows = Rows()
    rows.update([session(1), session(2), session(3)], {}, own_key="")
    changes = rows.update([session(1, "TERMINATING"), session(3)], {}, own_key="")

    assert changes == {"set": [[1, COLUMNS.index("status"), "TERMINATING"]], "gone": [2]}
    assert rows.remove(session(3).id) == {"gone": [3]}
    assert rows.remove(session(3).id) == {}


def test_one_session_of_a_list_changes_without_the_others():
    rows = Rows()
    rows.update([session(1), session(2)], {}, own_key="")

    assert rows.update([session(2)], {}, own_key="", is_all=False) == {}
    assert len(rows) == 2
    assert len(rows.whole()["rows"]) == 2


def test_the_time_that_an_idle_session_has_left_does_not_waver():
    rows = Rows()
    rows.update([session(1)], {session(1).id: Usage(ends_at=1000)}, own_key="")

    assert rows.update([session(1)], {session(1).id: Usage(ends_at=1040)}, own_key="") == {}
    later = rows.update([session(1)], {session(1).id: Usage(ends_at=1500)}, own_key="")
    assert later == {"set": [[1, COLUMNS.index("idle"), 1500]]}


def idle_told(*readings: tuple[float, float]) -> list[int]:
    """What a row says of its idle time after each reading: seconds that went by, seconds left."""
    rows, told = Rows(), []
    for at, left in readings:
        usage = Usage(ends_at=int(10_000 + at + left), read_at=10_000 + at)
        rows.update([session(1)], {session(1).id: usage}, own_key="")
        rows.update([session(1)], {session(1).id: usage}, own_key="")  # an event: the same reading
        told.append(rows.whole()["rows"][0][1 + COLUMNS.index("idle")])
    return told


def test_the_clock_of_a_session_in_use_rests_and_counts_again_afterwards():
    busy = [(0, 600), (30, 600), (60, 600), (68, 600.9)]
    later = [(98, 570), (128, 540)]

    assert idle_told(*busy, *later) == [10_600, RESTS, RESTS, RESTS, 10_668, 10_668]


def test_a_clock_that_a_server_looks_at_every_15_seconds_does_not_rest():
    quick = [(at, 600 - at // 15 * 15) for at in range(0, 120, 8)]  # no page hears events

    assert set(idle_told(*quick)) == {10_600}


def test_a_session_that_was_used_for_a_moment_has_its_time_anew():
    assert idle_told((0, 300), (30, 595), (60, 565)) == [10_300, 10_625, 10_625]
    assert idle_told((0, 300), (30, 600), (60, 600)) == [10_300, 10_630, RESTS]


def test_amounts_are_told_in_words():
    assert asked_text(session(1)) == "1 CPU · 1 GiB · 0.5 GPU"
    assert Usage(cpu=0.26, mem=213 * 2**20, gpu=0.5).text == "0.3 CPU · 210 MiB · GPU 50%"


# -- sessions -----------------------------------------------------------------------------------


def test_a_session_is_seen_as_it_comes_and_goes(page, manager):
    page.do("hello", part="sessions")
    page.hears("sessions", "live", lambda live: live)  # the stream of events stands
    session_id = started(page, "seen")
    page.until(lambda: listed(page).get("seen", {}).get("status") == "RUNNING", "it runs")
    row = listed(page)["seen"]
    token = page.do("sessions.end", sessions=[session_id])
    page.until(lambda: "seen" not in listed(page), "it is gone")

    assert row["id"] == session_id
    assert row["asked"].startswith("1 CPU · ")
    assert [[token, ["seen"], listing.UNDO]] in page.of("sessions", "ending")
    assert page.of("sessions", "said") == ["Ending seen."]
    assert ["seen", "TERMINATED"] in [left[:2] for left in page.of("sessions", "left")]


def test_ending_can_be_called_off_and_then_no_more(page, manager, monkeypatch):
    session_id = started(page, "kept")
    monkeypatch.setattr(listing, "UNDO", 600)
    page.do("hello", part="sessions")
    page.until(lambda: "kept" in listed(page))
    token = page.do("sessions.end", sessions=[session_id])
    page.do("sessions.undo", token=token)
    late = page.ask("sessions.undo", token=token)

    assert page.of("sessions", "ending")[-1] == []
    assert manager.session("kept").status.is_running
    assert "too late" in late["error"]["message"]


def test_a_session_in_error_is_ended_by_force_and_not_otherwise(page, manager):
    page.do("hello", part="sessions")
    session_id = started(page, "in-error")
    manager.session("in-error").status = SessionStatus.ERROR
    page.do("sessions.refresh")
    shown = listed(page)["in-error"]["status"]
    page.do("sessions.end", sessions=[session_id], forced=False)
    refused = page.hears("sessions", "failed")
    page.do("sessions.end", sessions=[session_id], forced=True)
    page.until(lambda: "in-error" not in listed(page), "it is gone")

    assert shown == "ERROR"  # it is among those that have not ended
    assert "--forced" in refused["hint"]
    assert page.of("sessions", "said") == ["Ending in-error."]


def test_a_log_is_followed_and_hostile_words_stay_words(page, manager):
    page.do("hello", part="sessions")
    session_id = started(page, "logs-it")
    page.until(lambda: "logs-it" in listed(page))
    page.do("sessions.log", session=session_id)
    text = page.hears("sessions", "text")
    page.do("sessions.unlog")
    facts = dict(page.do("sessions.info", session=session_id))

    assert "Kernel started" in text
    assert facts["Id"] == session_id


def test_a_session_is_renamed_and_restarted(page, manager):
    page.do("hello", part="sessions")
    session_id = started(page, "old-name")
    page.until(lambda: "old-name" in listed(page))
    refused = page.ask("sessions.rename", session=session_id, name="no name!")
    page.do("sessions.rename", session=session_id, name="new-name")
    page.until(lambda: "new-name" in listed(page))
    page.do("sessions.restart", session=session_id)
    page.do("sessions.interrupt", session=session_id)

    assert "is no name" in refused["error"]["message"] and refused["error"]["hint"]
    assert manager.session("new-name").status.is_running


def test_another_list_is_shown_and_errors_say_what_next(page, manager):
    page.do("hello", part="sessions")
    page.do("sessions.list", which="dead")
    unknown = page.ask("sessions.log", session="nothing")
    nonsense = page.ask("sessions.list", which="strange")
    stranger = page.ask("no.such")

    assert {row["status"] for row in listed(page).values()} <= {"TERMINATED", "CANCELLED"}
    assert unknown["error"] == {
        "message": "That session is not in the list any more.",
        "hint": "It may have ended.",
    }
    assert nonsense["error"]["message"] == "There is no list 'strange'."
    assert stranger["error"]["message"] == "This panel knows no 'no.such'."


def test_an_open_session_is_followed_when_another_list_is_shown(page, manager):
    page.do("hello", part="sessions")
    session_id = started(page, "stays-open")
    page.until(lambda: listed(page).get("stays-open", {}).get("status") == "RUNNING", "it runs")
    page.do("sessions.info", session=session_id)
    page.do("sessions.list", which="dead")
    before = page.of("sessions", "apart")
    page.do("sessions.log", session=session_id)
    text = page.hears("sessions", "text")
    page.do("sessions.rename", session=session_id, name="other-name")
    page.hears("sessions", "apart", lambda many: many and many[0][1] == "other-name")
    page.do("sessions.list", which="running")
    page.do("sessions.list", which="dead")
    page.do("sessions.end", sessions=[session_id])
    page.until(lambda: "other-name" in listed(page), "it is among those that have ended")
    told = [each for many in page.of("sessions", "apart") for each in many]
    page.do("sessions.shut")

    assert {each[2] for many in before for each in many} <= {"RUNNING"}  # though it is in no list
    assert "Kernel started" in text
    assert {each[0] for each in told} == {session_id}
    assert {each[2] for each in told} <= {"RUNNING", "TERMINATING"}
    assert page.desk.parts["sessions"]._opened == {}


def test_an_open_session_that_leaves_the_list_by_itself_is_told_as_it_is(page, manager):
    page.do("hello", part="sessions")
    session_id = started(page, "leaves")
    page.until(lambda: "leaves" in listed(page))
    page.do("sessions.info", session=session_id)
    page.do("sessions.end", sessions=[session_id])
    page.hears("sessions", "apart", lambda many: many and many[-1][2] == "TERMINATED")

    assert "leaves" not in listed(page)


def test_a_list_that_cannot_be_had_leaves_the_one_that_was_there(page, manager):
    page.do("hello", part="sessions")
    started(page, "still-here")
    page.until(lambda: "still-here" in listed(page))
    broken = manager.faults.status(500, times=None, path="/admin/gql")
    refused = page.ask("sessions.list", which="dead")
    which = page.of("sessions", "which")[-1]
    broken.times = 0
    page.do("sessions.refresh")

    assert refused["error"]["message"] and which == "mine"
    assert listed(page)["still-here"]["status"] == "RUNNING"
    assert page.do("sessions.list", which="running") is None
    assert page.of("sessions", "which")[-1] == "running"


def test_no_key_of_a_list_is_another_sessions_in_the_next():
    rows = Rows()
    rows.update([session(1), session(2)], {}, own_key="")
    rows.clear()
    rows.update([session(3)], {}, own_key="")

    assert [row[:2] for row in rows.whole()["rows"]] == [[3, session(3).id]]


def test_how_soon_a_page_learns_of_what_happens_is_told(page):
    page.do("hello", part="sessions")
    page.hears("sessions", "live", lambda live: live)
    page.do("sessions.list", which="all")  # by an administrator
    page.hears("sessions", "own", lambda own: own)
    page.do("sessions.list", which="mine")
    told = [(m["live"], m["every"]) for m in page.told if m.get("which") and "every" in m]

    assert told[-1] == (True, 30.0)
    assert page.of("sessions", "own")[-1] is False


def test_many_sessions_are_asked_for_less_often_and_so_it_is_told(page):
    part = Sessions(page.desk)
    few = part._pace()
    part._rows.update([session(number) for number in range(250)], {}, own_key="")

    assert few == {"live": False, "every": 8.0, "own": False}
    assert part._pace()["every"] == 38.0  # three requests


def test_what_is_left_of_a_sessions_time_is_told_as_the_server_counts_it(page, manager):
    started(page, "limited")
    started(page, "endless")
    manager.session("limited").remaining["session_lifetime"] = 3600.0
    before = time.time()
    page.do("hello", part="sessions")
    page.do("sessions.refresh")
    rows = listed(page)

    assert before + 3599 <= rows["limited"]["idle"] <= time.time() + 3600
    assert rows["endless"]["idle"] == 0


def test_nothing_goes_on_when_no_view_is_left(page):
    page.do("hello", part="sessions", view="one")
    page.do("hello", part="resources", view="two")
    both = set(page.desk.busy)
    page.do("show", part="sessions", view="two")
    one = set(page.desk.busy)
    page.do("bye", view="one")
    page.do("bye", view="two")
    page.desk.connection.portal.call(nothing())
    page.do("bye", view="two")

    assert both == {"sessions", "resources"} and one == {"sessions"}
    assert page.desk.busy == ()
    assert [task for task in page.desk._tasks if not task.done()] == [page.desk._watch]


async def nothing() -> None:
    """Let the loop go round."""


def test_an_unreachable_server_is_told_in_the_panel(folder):
    gone = {"BACKEND_ENDPOINT": "http://127.0.0.1:9", "BACKEND_ENDPOINT_TYPE": "api"}
    gone |= {"BACKEND_ACCESS_KEY": "AKIA", "BACKEND_SECRET_KEY": "s"}
    gone |= {"BACKENDAI_KERNEL_STATE": str(folder / "none")}
    connection = Connection(None, gone)
    page = Page(connection, Sessions)
    page.do("hello", part="sessions")
    problem = page.hears("sessions", "problem", lambda problem: problem)
    page.do("bye")
    connection.close()

    assert "127.0.0.1:9" in problem["message"] and problem["hint"]


class Stumbles(Part):
    """A part that has a mistake, once."""

    name = "stumbles"
    times = 0

    async def wake(self) -> None:
        self.times += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(self.walk())

    async def walk(self) -> None:
        if self.times == 1:
            raise ValueError("a stone")
        self.show_problem(None)
        self.tell(walks=True)


def test_a_part_that_stumbles_says_so_and_goes_on(connection, monkeypatch, caplog):
    monkeypatch.setattr(desk, "AGAIN", 0.05)
    page = Page(connection, Stumbles)
    page.do("hello", part="stumbles")
    page.hears("stumbles", "walks")
    page.do("bye")
    page.desk.close()

    told, cleared = page.of("stumbles", "problem")
    assert told["message"] == "The panel has a mistake: ValueError: a stone"
    assert "report it" in told["hint"] and cleared is None
    assert "a stone" in caplog.text


def test_what_nobody_waits_for_is_told_when_it_goes_wrong(page, monkeypatch, caplog):
    async def stumble(*args: Any, **options: Any) -> None:
        raise ValueError("a stone")

    monkeypatch.setattr("backendai_kernel.ending.end_sessions", stumble)
    page.do("sessions.end", sessions=["one"])
    problem = page.hears("sessions", "problem", lambda problem: problem)

    assert problem["message"] == "The panel has a mistake: ValueError: a stone"
    assert "a stone" in caplog.text


# -- the launcher -------------------------------------------------------------------------------


def test_a_form_is_a_line_that_the_verb_understands(page):
    form = {
        "image": "python",
        "name": "from-form",
        "resources": {"cpu": 2, "mem": 1536, "cuda.shares": 0.5},
        "mounts": ["my data"],
        "environ": [["KEY", "a b"], ["", "dropped"]],
        "project": "default",
        "scaling_group": "default",
    }
    told = page.do("launcher.check", form=form)
    wrong = page.do("launcher.check", form={**form, "name": "no name!"})
    empty = page.do("launcher.check", form={})

    assert told["line"] == (
        "%bai start python -t from-form -r cpu=2 -r mem=1.5g -r cuda.shares=0.5 -m 'my data' "
        "-e 'KEY=a b' -g default --scaling-group default"
    )
    assert told["cell"] == told["line"].replace("%bai start", "%%bai run")
    assert told["problem"] is None
    assert "is no name" in wrong["problem"]["message"]
    assert empty["problem"]["message"] == "No image is chosen."
    assert words_of({"image": "x", "resources": {"cpu": 0}}) == ["x"]


def test_what_is_offered_is_what_is_left(page, manager):
    page.do("hello", part="launcher")
    choice = page.hears("launcher", "choice")
    before = page.hears("launcher", "offer")
    started(page, "takes-two", resources={"cpu": 2, "mem": 512})
    page.do("hello", part="resources")
    slots = page.hears(
        "resources", "slots", lambda slots: [s for s in slots if s["used"] not in ("0", "")]
    )
    sessions = page.hears("resources", "sessions", lambda many: many)

    assert choice["images"][0]["name"] == "python" and choice["images"][0]["least"]["mem"] == 320
    by_name = {slot["name"]: slot for slot in before["slots"]}
    assert by_name["cpu"]["most"] <= 8 and by_name["cpu"]["step"] == 1
    assert by_name["cuda.shares"]["step"] == 0.1
    assert {slot["label"] for slot in slots} == {"CPU", "Memory", "GPU shares"}
    [seen] = [session for session in sessions if session["name"] == "takes-two"]
    assert seen["cpu"] == 2 and seen["past"][-1][1] > 2**20  # bytes of its processes


def test_resources_say_when_there_may_be_more_sessions_than_they_show(page, monkeypatch):
    monkeypatch.setattr(part_resources, "_MOST", 1)
    page.do("hello", part="resources")
    before = page.hears("resources", "newest")
    started(page, "one-of-two")
    started(page, "two-of-two")
    page.do("resources.refresh")
    page.hears("resources", "newest", lambda number: number == 1)
    [shown] = page.of("resources", "sessions")[-1]

    assert before == 0 and shown["name"] == "two-of-two"


def test_a_start_is_followed_step_by_step_and_can_be_cancelled(page, manager):
    page.do("hello", part="launcher")
    started(page, "steps")
    words = [p["state"] for p in page.of("launcher", "progress")]
    page.do("launcher.start", form={"image": "python", "name": "waits", "resources": {"cpu": 8}})
    page.hears("launcher", "progress", lambda p: p["name"] == "waits" and p["session"])
    second = page.ask("launcher.start", form={"image": "python"})
    page.do("launcher.cancel")
    idle = page.ask("launcher.cancel")

    assert words[0] == "waiting" and words[-1] == "ready"
    assert page.of("launcher", "progress")[-1]["state"] == "cancelled"
    assert [r.status.is_over for r in manager.registry if r.name == "waits"] == [True]
    assert "already" in second["error"]["message"]
    assert "any more" in idle["error"]["message"]


def test_a_start_that_fails_says_why_in_the_panel(page):
    page.do("hello", part="launcher")
    page.do("launcher.start", form={"image": "pyton", "name": "never"})
    failed = page.hears("launcher", "progress", lambda p: p["state"] == "failed")

    assert "no image" in failed["error"]["message"]
    assert "Did you mean" in failed["error"]["hint"]


def test_a_form_becomes_a_kernelspec(page, folder, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(folder / "jupyter-data"))
    monkeypatch.setenv("BACKENDAI_KERNEL_CONFIG", str(folder / "kernel-config"))
    form = {"image": "local/python:3.11", "resources": {"cpu": 2, "mem": 1024}}
    form |= {"mounts": ["data"], "environ": [["TOKEN", "a secret"]]}
    made = page.do("launcher.kernel", form=form)
    spec = next(s for s in specs.installed() if s.name == made["name"])

    assert made["display_name"] == (
        "Backend.AI Python (local/python:3.11, cpu=2, mem=1g, data, TOKEN)"
    )
    assert (spec.mounts, spec.environ) == (("data",), ("TOKEN",))
    assert "a secret" not in (spec.folder / "kernel.json").read_text("utf-8")
    assert (spec.image, dict(spec.resources)) == ("local/python:3.11", {"cpu": "2", "mem": "1g"})


def test_images_come_newest_first():
    tags = ["3.9-ubuntu", "3.11-ubuntu", "3.10-ubuntu"]
    images = [Image(name="b/python", tag=tag) for tag in tags] + [Image(name="a/r", tag="4")]

    assert [image.tag for image in newest_first(images)] == [
        "4",
        *sorted(tags, key=tags.index)[1:],
        "3.9-ubuntu",
    ]


def test_nothing_in_the_page_takes_markup():
    for path in STATIC.glob("*.js"):
        source = path.read_text(encoding="utf-8")
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|srcdoc|DOMParser",
            source,
        )
        assert found == [], path.name


def test_the_page_needs_nothing_that_only_one_front_end_has():
    """VS Code, Colab and Voilà give a module an element and a model, and maybe no network."""
    scripts = [path.read_text(encoding="utf-8") for path in STATIC.glob("*.js")]
    styles = [path.read_text(encoding="utf-8") for path in STATIC.glob("*.css")]
    imported = {name for text in scripts for name in re.findall(r'\bfrom "([^"]+)"', text)}
    addresses = {u for text in scripts + styles for u in re.findall(r"https?://[^\s\"'\\]+", text)}
    strange = re.compile(
        r"\brequire\b|\bimport\(|\bfetch\(|XMLHttpRequest|(?i:jupyterapp)|\bcolab\b"
    )
    variables = [v for text in styles for v in re.findall(r"var\(--(?!bai-)[\w-]+(.)", text)]

    assert len(scripts) > 5 and len(styles) > 1 and len(variables) > 3
    assert imported == {f"./{path.name}" for path in STATIC.glob("*.js")} - {
        "./panel.js",
        "./download.js",
    }
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert [found for text in scripts for found in strange.findall(text)] == []
    assert [found for text in styles for found in re.findall(r"@import|url\(", text)] == []
    assert set(variables) == {","}  # each has a value for pages that do not know it


# -- apps ---------------------------------------------------------------------------------------


def test_an_app_is_opened_and_closed_and_everybody_sees_it(page, manager):
    page.do("hello", part="apps")
    session_id = started(page, "with-apps", resources={"cpu": 1, "mem": 512})
    offered = page.do("apps.list", session=session_id)
    opened = page.do("apps.open", session=session_id, app="sshd")
    page.hears("apps", "open", lambda many: [each["pid"] for each in many] == [opened["pid"]])
    with socket.create_connection((opened["host"], opened["port"]), timeout=30) as there:
        greeting = there.recv(8)
    missing = page.ask("apps.open", session=session_id, app="sshdd")
    page.do("apps.close", pid=opened["pid"])
    gone = page.ask("apps.open", session="nothing", app="sshd")

    assert "sshd" in [each["name"] for each in offered]
    assert not opened["web"] and greeting.startswith(b"SSH-2.0")
    assert "Did you mean sshd?" in missing["error"]["hint"]
    assert page.of("apps", "open")[-1] == []
    assert "does not run any more" in gone["error"]["message"]


class Chooses(Choosing):
    """A part that is about one of the running sessions."""

    name = "chooses"

    async def look(self) -> None:
        self.tell(step="look")


def test_a_thousand_sessions_are_there_to_choose_and_asked_for_less_often(connection, monkeypatch):
    async def found(client: Client, query: Query) -> Listed:
        assert query.limit is not None
        part.tell(step="read")
        return Listed(tuple(session(number) for number in range(query.limit)), 5000)

    monkeypatch.setattr("backendai_kernel.listing.list_sessions", found)
    monkeypatch.setattr(choosing, "LOOK", 0.001)
    page = Page(connection, Chooses)
    part = page.desk.parts["chooses"]
    page.do("hello", part="chooses")
    page.until(lambda: page.of("chooses", "step").count("read") == 2, "it reads again")
    page.do("bye")
    page.desk.close()
    [sessions] = page.of("chooses", "sessions")
    steps = page.of("chooses", "step")

    assert len(sessions) == 1000
    assert steps[: steps.index("read", 1)] == ["read", *["look"] * 50]  # of a hundred: 5


# -- folders ------------------------------------------------------------------------------------


def sent(page: Page, name: str, data: bytes, **to: Any) -> dict[str, Any]:
    """Send a file as a page does, in pieces."""
    token = page.do("folders.begin", name=name, size=len(data))
    step = 300_000
    for offset in range(0, len(data), step):
        page.do("folders.piece", token=token, offset=offset, buffers=[data[offset : offset + step]])
    return page.do("folders.finish", token=token, **to)


def taken(page: Page, **of: Any) -> bytes:
    """Take a file as a page does; return its bytes."""
    before = len(page.told)
    page.do("folders.download", **of)
    return b"".join(
        b for m, each in zip(page.told[before:], page.buffers[before:], strict=True) for b in each
    )


def test_a_virtual_folder_is_filled_and_read(page, connection, manager):
    made = connection.call(lambda client: vfolders.create_folder(client, "from-the-panel"))
    page.do("hello", part="folders")
    known = page.hears(
        "folders", "folders", lambda many: [f for f in many if f["name"] == "from-the-panel"]
    )
    here = {
        "kind": "folder",
        "place": next(f["id"] for f in known if f["name"] == "from-the-panel"),
    }
    data = os.urandom(1_000_000)
    up = sent(page, "weights.bin", data, **here, path="run/one")
    sent(page, "empty", b"", **here)
    top = page.do("folders.list", **here, path=".")["rows"]
    inner = page.do("folders.list", **here, path="run/one")["rows"]

    assert made is not None
    assert up == {"name": "weights.bin", "size": 10**6, "sha256": sha256(data).hexdigest()}
    assert [row[:3] for row in top] == [["run", True, top[0][2]], ["empty", False, 0]]
    assert [row[:3] for row in inner] == [["weights.bin", False, 10**6]]
    assert taken(page, **here, path="run/one/weights.bin") == data
    assert taken(page, **here, path="empty") == b""


def test_folders_are_made_where_the_page_looks(page, manager):
    page.do("hello", part="folders")
    page.do("folders.make", name="made-here", use="data")
    [made] = page.of("folders", "made")
    names = {f["id"]: f["name"] for f in page.of("folders", "folders")[-1]}
    here = {"kind": "folder", "place": made, "path": "."}
    page.do("folders.inside", **here, name="results")
    page.do("folders.inside", **here | {"path": "results"}, name="one")
    top = page.do("folders.list", **here)["rows"]
    inner = page.do("folders.list", **here | {"path": "results"})["rows"]
    again = page.ask("folders.make", name="made-here", use="data")
    evil = page.ask("folders.inside", **here, name="../up")

    assert names[made] == "made-here"
    assert [row[:2] for row in top] == [["results", True]]
    assert [row[:2] for row in inner] == [["one", True]]
    assert page.of("folders", "changed") == [made, made]
    assert "made-here" in again["error"]["message"]
    assert "'../up'" in evil["error"]["message"]


def test_files_of_a_session_are_seen_sent_and_taken(page, manager):
    page.do("hello", part="folders")
    session_id = started(page, "with-files")
    here = {"kind": "session", "place": session_id}
    data = os.urandom(1_500_000)  # more than one request takes
    sent(page, "big.bin", data, **here, path="data")
    sent(page, "small.txt", b"small", **here)
    rows = {row[0]: row for row in page.do("folders.list", **here, path=".")["rows"]}
    work = manager.session("with-files").container.spec.work
    small = taken(page, **here, path="small.txt")
    missing = page.ask("folders.list", **here, path="nowhere")

    assert rows["data"][1] and not rows["small.txt"][1] and rows["small.txt"][2] == 5
    assert (work / "data" / "big.bin").read_bytes() == data
    assert small == b"small"
    assert "nowhere" in missing["error"]["message"]


def test_what_cannot_be_sent_is_refused(page):
    page.do("hello", part="folders")
    large = page.ask("folders.begin", name="x", size=10**12)
    evil = page.ask("folders.begin", name="../x", size=1)
    token = page.do("folders.begin", name="x", size=10)
    early = page.ask("folders.finish", token=token, kind="session", place="s")
    late = page.ask("folders.piece", token=token, offset=0, buffers=[b"x"])
    second = page.do("folders.begin", name="x", size=1)
    wrong = page.ask("folders.piece", token=second, offset=5, buffers=[b"x"])
    page.do("folders.abandon", token=second)

    assert "larger than what a page can send" in large["error"]["message"]
    assert "no name of a file" in evil["error"]["message"]
    assert "did not arrive whole" in early["error"]["message"]
    assert "Nobody waits" in late["error"]["message"]
    assert "in order" in wrong["error"]["message"]


# -- SSH ----------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH is not installed")
def test_a_key_is_fetched_downloaded_and_told_once(page, manager, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    own = folder / "ssh" / "config"
    monkeypatch.setattr("backendai_kernel.sshconfig.default_config", lambda: own)
    page.do("hello", part="keys")
    session_id = started(page, "has-keys")
    before = page.do("keys.look", session=session_id)
    fetched = page.do("keys.fetch", session=session_id)
    saved = page.do("keys.download", session=session_id)
    written = page.do("keys.config")
    after = page.do("keys.look", session=session_id)
    key = (manager.session("has-keys").container.spec.work / "id_container").read_bytes()
    [sent] = [b for each in page.buffers for b in each]

    assert not before["fetched"] and not before["configured"]
    assert fetched["fingerprint"].startswith("SHA256:")
    assert fetched["host_fingerprint"].startswith("SHA256:") != fetched["fingerprint"]
    assert (fetched["line"], fetched["mode"]) == ("ssh bai-has-keys", "0600")
    assert Path(fetched["path"]).expanduser().read_bytes() == sent == key
    assert saved["name"] == "bai-has-keys" and saved["size"] == len(key)
    assert "~/ssh/config" in written["written"] and "bai-has-keys" in written["hosts"]
    assert after["configured"] and "Host bai-has-keys" in own.with_name("config.d").joinpath(
        "backend.ai.conf"
    ).read_text("utf-8")
    assert "PRIVATE KEY" not in repr(page.told) and key[40:60].decode() not in repr(page.told)
    assert "PRIVATE" not in repr(Attached({}, (key,)))


# -- the value ----------------------------------------------------------------------------------


def test_without_anywidget_it_is_a_table_and_a_text(connection, monkeypatch):
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: SimpleNamespace(kernel=1))
    monkeypatch.setattr(panels, "find_spec", lambda name: None)
    still = panels.show("", connection=connection)

    assert "backendai-kernel[panels]" in repr(still)
    assert "<table" in still._repr_html_() and "Resources" in still._repr_html_()
    assert "python" in repr(panels.show("launcher", connection=connection))
    assert "No session runs." in repr(panels.show("keys", connection=connection))
    assert "folder" in repr(panels.show("folders", connection=connection)).lower()
    assert "No app is open" in repr(panels.show("apps", connection=connection))


def test_a_part_that_is_not_there_is_refused(connection):
    with pytest.raises(ConfigError, match="no panel 'sesions'") as caught:
        panels.show("sesions", connection=connection)

    assert caught.value.hint == "Did you mean sessions?"


def test_the_state_of_the_widget_holds_the_program_and_nothing_else(connection):
    pytest.importorskip("anywidget")
    from backendai_magics.panels.widget import open_widget

    widget = open_widget("sessions", connection)
    state = widget.get_state()
    own = {name for name in state if not name.startswith("_")} - {"layout", "tabbable", "tooltip"}
    widget.close()

    assert own == {"parts"}
    assert state["parts"] == ["sessions"]
    assert "import " not in state["_esm"].replace("imported", "").replace("import from", "")
    assert len(state["_esm"]) + len(state["_css"]) < 150_000
