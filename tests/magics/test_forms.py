"""Forms of stock widgets, with no page: what a person fills in, and what comes of it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as w
import pytest

from backendai_kernel import vfolders
from backendai_kernel.client import Client
from backendai_kernel.ending import end_sessions
from backendai_kernel.errors import ConfigError
from backendai_kernel.listing import Query, Which, list_sessions
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.resources import Resources, SlotUse
from backendai_kernel.start import Request, start_session
from backendai_magics import panels
from backendai_magics.connection import Connection
from backendai_magics.panels.alone import Alone
from backendai_magics.panels.form_keys import KeysForm
from backendai_magics.panels.form_launcher import HIDDEN, LauncherForm
from backendai_magics.panels.forms import GONE, Form
from backendai_magics.panels.offers import offer_of

from .conftest import settings

LIMIT = 60.0  # seconds
HERE = {"project": "default", "scaling_group": "", "scaling_groups": ["default"]}
EVIL = '<img src=x onerror="stolen()">'


@pytest.fixture(scope="module")
def connection(folder: Path, manager: LocalManager) -> Iterator[Connection]:
    with settings(folder, manager):
        connection = Connection(None)
        connection.call(lambda client: vfolders.create_folder(client, "data"))
        yield connection
        connection.close()


@pytest.fixture
def alone(connection: Connection) -> Iterator[Alone]:
    alone = Alone("launcher", connection)
    yield alone
    alone.close()
    connection.call(end_all)


async def end_all(client: Client) -> None:
    """Make room for the next test's sessions."""
    there = (await list_sessions(client, Query(Which.LIVE))).items
    await end_sessions(client, [session.id for session in there if not session.status.is_ending])


@pytest.fixture
def form(alone: Alone) -> LauncherForm:
    """A launcher's form that has read what there is."""
    made = alone.desk.parts["launcher"].form
    assert isinstance(made, LauncherForm)
    until(lambda: "%%bai run" in lines(made), "it has read what there is")
    shows(made, "What is left to you")
    return made


def until(fact: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not fact():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def controls(widget: w.Widget) -> Iterator[w.Widget]:
    """Yield what is in a form, in the order of the page."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from controls(child)


def labelled(form: Form, label: str, kind: type[Any] = w.Widget) -> Any:
    """Return the control of that label."""
    [found] = [
        each
        for each in controls(form.box)
        if isinstance(each, kind) and getattr(each, "description", None) == label
    ]
    return found


def markup(form: Form) -> str:
    return "\n".join(each.value for each in controls(form.box) if isinstance(each, w.HTML))


def lines(form: LauncherForm) -> str:
    return "\n".join(text for text in markup(form).split("\n") if "bai-line" in text)


def shows(form: Form, text: str) -> None:
    until(lambda: text in markup(form), f"it shows {text!r}, not {markup(form)!r}")


def slider(form: LauncherForm, label: str) -> w.FloatSlider:
    [row] = [
        each
        for each in controls(form.box)
        if isinstance(each, w.HBox)
        and each.children
        and getattr(each.children[0], "description", "") == label
    ]
    return row.children[1]


def test_what_is_filled_in_is_a_line(form):
    labelled(form, "Name").value = "from-a-form"
    slider(form, "Memory (GiB)").value = 1.5
    labelled(form, "data", w.Checkbox).value = True
    labelled(form, "Environment").value = "DEBUG=1\n\nHOME"
    labelled(form, "Scaling group").value = "default"
    shows(form, "-m data -e DEBUG=1 -e HOME --scaling-group default")

    assert "-t from-a-form -r mem=1536m" in lines(form) or "-r mem=1.5g" in lines(form)
    assert "cpu=" not in lines(form)  # nobody has set it: the image's minimum


def test_sliders_go_as_far_as_what_is_left_and_presets_set_them(form):
    cpu, preset = slider(form, "CPU"), labelled(form, "Preset")
    most = cpu.max
    before = cpu.value
    name = next(value for label, value in preset.options if value and "not free" not in label)
    preset.value = name
    shows(form, "-r cpu=")

    assert (cpu.min, before) == (1, 1) and most >= 1
    assert f"-r cpu={cpu.value:g}" in lines(form)
    cpu.value = most  # by hand: it is no preset's any more
    assert preset.value == ""


def offered(form: LauncherForm, name: str, left: str | None, free: str | None = None) -> str:
    """Offer the form some of a slot; return what it says of it, and how far its slider goes."""
    amounts = [None if each is None else Decimal(each) for each in (left, free)]
    slot = SlotUse(name, None, Decimal(0), amounts[0], amounts[1], "")
    form.told({"offer": {**HERE, **offer_of(Resources("default", (slot,), ()))}})
    amount = form._amounts[name]
    return f"{amount.left.value}: {amount.slider.max:g}"


def test_what_is_left_is_a_sentence_beside_its_slider(form):
    mib = 2**20

    assert offered(form, "cpu", "4.5") == "4.5 left: 4"
    assert offered(form, "cpu", "4", "3") == "3 left: 3"
    assert offered(form, "cpu", None) == "no limit: 64"
    assert offered(form, "cpu", "-1", "8") == "none left: 0"
    assert offered(form, "mem", str(200 * mib)) == "200 MiB left, less than a step: 0"
    assert offered(form, "mem", str(2048 * mib)) == "2 GiB left: 2"
    assert offered(form, "cuda.shares", "0.55") == "0.55 left: 0.5"


def test_what_is_left_is_that_of_the_project_and_scaling_group_that_are_filled_in(form):
    shows(form, "in the project default, of each in the scaling group that has most of it.")
    labelled(form, "Scaling group").value = "default"
    shows(form, "in the project default, scaling group default.")
    labelled(form, "Project").value = "no-such-project"
    shows(form, "no-such-project")
    until(lambda: 'role="alert"' in markup(form), "it is refused")
    refused = markup(form)
    labelled(form, "Project").value = "default"
    until(lambda: 'role="alert"' not in markup(form), "that is there again")
    shows(form, "-g default")

    assert "Project not found (name: no-such-project)" in refused
    assert "in the project default, scaling group default." in refused  # what is shown is of there
    assert labelled(form, "Scaling group").value == "default"


def test_a_scaling_group_that_the_project_does_not_have_is_left(form):
    group = labelled(form, "Scaling group")
    two = HERE | {"scaling_group": "gpu", "scaling_groups": ["cpu", "gpu"]}
    form.told({"offer": {**two, "slots": [], "presets": []}})
    group.value = "gpu"
    form.told({"offer": {**HERE, "project": "other", "slots": [], "presets": []}})

    assert group.value == "" and [value for _, value in group.options] == ["", "default"]
    assert "in the project other, of each" in markup(form)


def test_an_amount_beyond_all_computers_is_no_limit(form):
    assert offered(form, "cpu", "1e40") == "no limit: 64"
    assert offered(form, "cpu", "1e40", "8") == "8 left: 8"
    assert offered(form, "cpu", "-1e40", "8") == "none left: 0"
    assert offered(form, "mem", str(2**62)) == f"{2**32:.3g} GiB left: {2**32:g}"


def test_a_preset_that_is_not_free_is_refused(form):
    slots = [{"name": "cpu", "label": "CPU", "step": 1, "most": 4, "left": "4 left"}]
    presets = [{"name": "huge", "free": False, "slots": {"cpu": 64}}]
    form.told({"offer": {**HERE, "slots": slots, "presets": presets}})
    labelled(form, "Preset").value = "huge"

    assert "The preset huge is more than what is left now." in markup(form)
    assert labelled(form, "Preset").value == "" and slider(form, "CPU").value == 1
    assert "cpu=" not in lines(form)


def test_the_search_leaves_the_images_that_match(form):
    image, search = labelled(form, "By name, the newest version first"), labelled(form, "Search")
    chosen = image.value
    search.value = "PYTHON linux"
    found = [reference for _, reference in image.options]
    search.value = "no such thing"
    shows(form, "No image matches.")
    nothing = image.options
    shows(form, "No image is chosen.")
    assert labelled(form, "Start the session").disabled
    search.value = ""

    assert chosen in found and nothing == ()
    shows(form, "%%bai run")
    assert image.value == chosen


def test_a_secret_is_in_no_control_and_reaches_the_session(form, manager):
    environ = labelled(form, "Environment")
    environ.value = "PLAIN=1\nHF_TOKEN=hf_very_secret"
    shows(form, "-e PLAIN=1 -e HF_TOKEN")
    labelled(form, "Name").value = "has-secret"
    shows(form, "-t has-secret")
    labelled(form, "Start the session").click()
    shows(form, "has-secret runs")
    states = [each.get_state() for each in controls(form.box)]

    assert environ.value == f"PLAIN=1\nHF_TOKEN={HIDDEN}"
    assert "hf_very_secret" not in json.dumps(states, default=str)
    assert manager.session("has-secret").container.spec.environ["HF_TOKEN"] == "hf_very_secret"


def test_a_start_is_followed_cancelled_and_told_when_it_fails(form, manager):
    cancel = labelled(form, "Cancel")
    labelled(form, "Name").value = "too-large"
    slider(form, "CPU").max = 64
    slider(form, "CPU").value = 64
    shows(form, "-r cpu=64")
    labelled(form, "Start the session").click()
    shows(form, "Starting too-large")
    until(lambda: GONE not in cancel._dom_classes, "it can be cancelled")
    cancel.click()
    shows(form, "too-large was ")  # cancelled, or refused before that
    until(lambda: not labelled(form, "Start the session").disabled, "it can start another")

    labelled(form, "Name").value = "no name!"
    shows(form, "is no name for a session")
    assert labelled(form, "Start the session").disabled


def test_it_becomes_a_kernel(form, folder, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("BACKENDAI_KERNEL_CONFIG", str(folder / "kept"))
    labelled(form, "data", w.Checkbox).value = True
    labelled(form, "Make it a kernel").click()
    shows(form, "is written to")

    [written] = (folder / "data" / "kernels").glob("*/kernel.json")
    assert json.loads(written.read_text("utf-8"))["metadata"]["backendai"]["mounts"] == ["data"]


def test_a_click_that_meets_a_mistake_says_so(form, monkeypatch, caplog):
    async def stumble(intent: object) -> None:
        raise ValueError("a <stone>")

    monkeypatch.setattr(form.part, "_make_kernel", stumble)
    button = labelled(form, "Make it a kernel")
    button.click()
    shows(form, "The panel has a mistake: ValueError: a &lt;stone&gt;")
    until(lambda: not button.disabled, "it can be clicked again")

    assert "a <stone>" in caplog.text


def test_hostile_words_stay_words(form):
    image = {"reference": EVIL, "name": EVIL, "tag": EVIL, "aliases": [], "about": EVIL}
    choice = {"images": [image | {"least": {}}], "folders": [EVIL]}
    place = {"project": EVIL, "scaling_group": EVIL, "scaling_groups": [EVIL]}
    slot = {"name": EVIL, "label": EVIL, "step": 1, "most": 4, "left": EVIL}
    preset = {"name": EVIL, "free": True, "slots": {EVIL: 1}}
    error = {"message": EVIL, "hint": EVIL}
    progress = {"name": EVIL, "state": "failed", "status": EVIL, "phase": EVIL, "took": EVIL}
    form.told(
        {
            "choice": choice | {"project": EVIL},
            "offer": {**place, "slots": [slot], "presets": [preset]},
            "problem": error,
            "progress": progress | {"note": EVIL, "seconds": 1, "error": error, "session": ""},
        }
    )
    shows(form, "&lt;img")
    until(lambda: "&lt;img" in lines(form), "the line is made anew")

    assert "<img" not in markup(form)
    for each in controls(form.box):  # labels are shown as text where nobody asks for markup
        assert not getattr(each, "description_allow_html", False)


@pytest.fixture
def keys(connection: Connection) -> Iterator[KeysForm]:
    alone = Alone("keys", connection)
    made = alone.desk.parts["keys"].form
    assert isinstance(made, KeysForm)
    yield made
    alone.close()
    connection.call(end_all)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH is not installed")
def test_a_key_is_fetched_in_its_form(keys, connection):
    shows(keys, "No session runs: launch one first.")
    connection.call(start_one)
    keys.part.desk.receive({"do": "keys.look", "session": ""})  # it looks who runs
    shows(keys, "backendai-kernel ssh with-keys")
    assert "not fetched yet" in markup(keys)
    labelled(keys, "Fetch the key").click()
    shows(keys, "proved to be the session&#x27;s")
    shows(keys, "The key is here")

    assert "SHA256:" in markup(keys) and "(mode 0600, yours alone)" in markup(keys)
    assert GONE in labelled(keys, "Fetch the key")._dom_classes
    assert "PRIVATE KEY" not in json.dumps([c.get_state() for c in controls(keys.box)], default=str)


async def start_one(client: Client) -> None:
    await start_session(client, Request("python"), "with-keys", on_progress=lambda now: None)


def test_a_session_that_is_asked_for_is_looked_at_and_its_refusal_shown(keys):
    until(lambda: "Asking the server" not in markup(keys), "it has looked who runs")
    keys.want("nobody", "anybody")
    shows(keys, "That session does not run any more.")


def test_hostile_words_stay_words_in_the_form_for_keys(keys):
    names = ("command", "line", "fingerprint", "host_fingerprint", "path", "mode", "config")
    keys.take(dict.fromkeys(names, EVIL) | {"fetched": True, "configured": False})
    keys.show_problem({"message": EVIL, "hint": EVIL})

    assert markup(keys).count("&lt;img") == 9
    assert "<img" not in markup(keys)


def test_a_form_costs_few_comms_and_all_of_them_go(connection):
    alone = Alone("launcher", connection)
    form = alone.desk.parts["launcher"].form
    until(lambda: "%%bai run" in lines(form), "it has read what there is")
    made = len(form._made)
    alone.close()
    until(lambda: form.box.comm is None, "it is closed")

    assert made < 80
    assert all(each.comm is None for each in form._made)


def test_folders_come_and_go_and_what_is_checked_stays(alone, form, connection):
    labelled(form, "data", w.Checkbox).value = True
    connection.call(lambda client: vfolders.create_folder(client, "newer"))
    alone._view_count = 1
    alone._view_count = 0
    until(lambda: alone.desk.busy == (), "it rests")
    alone._view_count = 1
    until(lambda: labelled_or_none(form, "newer"), "it has seen the new one")
    there = connection.call(lambda client: vfolders.find_folder(client, "newer"))
    connection.call(lambda client: vfolders.delete_folder(client, there))
    alone._view_count = 0
    until(lambda: alone.desk.busy == (), "it rests")
    alone._view_count = 1
    until(lambda: not labelled_or_none(form, "newer"), "what is in the trash is not offered")

    assert labelled(form, "data", w.Checkbox).value


def labelled_or_none(form: Form, label: str) -> object:
    return any(getattr(each, "description", None) == label for each in controls(form.box))


def test_it_rests_when_no_page_shows_it(alone, form):
    alone._view_count = 1
    alone._view_count = 0
    until(lambda: alone.desk.busy == (), "it rests")
    alone._view_count = 1
    until(lambda: alone.desk.busy == ("launcher",), "it looks again")


def test_without_anywidget_the_form_lives_and_the_rest_is_a_table(connection, monkeypatch):
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: SimpleNamespace(kernel=1))
    monkeypatch.setattr(panels, "find_spec", lambda name: None)
    still = panels.show("", connection=connection)
    form = still.form.desk.parts["launcher"].form
    until(lambda: "%%bai run" in lines(form), "it has read what there is")
    bundle = still._repr_mimebundle_()
    still.close()
    apps = panels.show("apps", connection=connection)

    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "<table" in bundle["text/html"] and "RESOURCE" in bundle["text/plain"]
    assert apps.form is None and apps._repr_mimebundle_() == {}


def test_a_part_that_is_no_form_is_refused(connection):
    with pytest.raises(ConfigError, match="'sessions' is no form"):
        panels.form("sessions", connection=connection)
