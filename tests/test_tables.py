"""Tables, facts and texts: as text, as HTML, as data; nothing from outside is obeyed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from backendai_kernel.describe import image_table, resource_table, session_facts, session_table
from backendai_kernel.listing import Listed, Query
from backendai_kernel.model import Image, Session, SessionDetail
from backendai_kernel.outcomes import Ran
from backendai_kernel.perform import Outcome
from backendai_kernel.resources import Resources, SlotUse
from backendai_kernel.tables import Column, Facts, Table, Text, ago, amount_of

EVIL = '<script>alert("x")</script>\x1b]0;title\x07'


def sessions(*names: str, **more: object) -> Table[Session]:
    items = tuple(
        Session(id=f"{n:08d}-id", name=name, status_name="RUNNING", access_key="AK", **more)
        for n, name in enumerate(names)
    )
    return session_table(Listed(items, len(items)), Query(), own_key="AK")


def test_rows_are_had_by_number_by_name_and_in_turn():
    table = sessions("a", "b")

    assert table[0].name == table["a"].name == "a"
    assert [session.name for session in table[::-1]] == ["b", "a"]
    assert len(table) == 2 and table[1] in table
    with pytest.raises(KeyError):
        table["c"]


def test_what_is_to_be_typed_is_code_in_html_and_in_backticks_elsewhere():
    step = "`%bai rm <one>` ends it"
    rows = (("Next", step), ("Name", "a `quoted` name"))
    facts = Facts("Session", rows, note="`%bai ps`", sentences=frozenset({"Next"}))
    empty = Table("Sessions", (), (), empty="None: `%bai start` makes one.")
    html = facts._repr_html_()

    assert "<code>%bai rm &lt;one&gt;</code> ends it" in html and "<code>%bai ps</code>" in html
    assert "a `quoted` name" in html  # of other values every letter is their own
    assert step in repr(facts)
    assert "<code>%bai start</code>" in empty._repr_html_()
    queued = Ran(Outcome("an-id", "train", status="PENDING", is_new=True))
    assert "<code>%bai rm train</code> takes it back." in queued._repr_html_()


def test_text_and_html_have_the_same_and_html_is_a_table():
    table = sessions("first", "second")
    text, html = repr(table), table._repr_html_()

    assert text.splitlines()[0].split() == ["NAME", "STATUS", "IMAGE", "RESOURCES", "CHANGED", "ID"]
    assert '<th scope="col"' in html and "<caption" in html
    for word in ("first", "second", "● RUNNING"):
        assert word in text and word in html


def test_a_session_named_script_is_text():
    table = sessions(EVIL)

    assert "<script>" not in table._repr_html_()
    assert "&lt;script&gt;" in table._repr_html_()
    assert "\x1b" not in repr(table) and "\x07" not in repr(table)
    facts = Facts(EVIL, ((EVIL, EVIL),), note=EVIL)
    assert "<script>" not in facts._repr_html_()
    assert "\x1b" not in repr(facts).replace(EVIL, "")


def test_a_log_keeps_colours_in_a_terminal_and_nothing_else():
    text = Text("\x1b[31mred\x1b[0m\x1b[2J\x1b]0;t\x07 <b>\ttab\n")

    assert repr(text) == "\x1b[31mred\x1b[0m <b>\ttab\n"
    assert "red &lt;b&gt;\ttab" in text._repr_html_() and "\x1b" not in text._repr_html_()
    assert str(text).endswith("tab\n")
    assert text.to_dict()["text"] == str(text)
    assert text.df()["line"][0].endswith("tab")


def test_html_has_no_colour_of_its_own():
    html = sessions("a")._repr_html_()

    assert "#" not in html.replace("&#", "")
    assert "var(--jp-ui-font-color1, inherit)" in html


def test_data_has_all_columns_whatever_is_shown():
    table = sessions("a", tag="mine")

    assert table.to_dict()["total_count"] == 1
    [item] = table.to_dict()["items"]
    assert (item["name"], item["tag"], item["session_id"]) == ("a", "mine", "00000000-id")
    frame = table.df()
    assert list(frame["name"]) == ["a"] and "created_at" in frame.columns


def test_others_have_an_owner_column_and_own_sessions_none():
    own = sessions("a")
    listed = Listed((Session(id="x", name="b", access_key="OTHER"),), 1)
    others = session_table(listed, Query(), own_key="AK")

    assert "OWNER" not in repr(own)
    assert "OWNER" in repr(others) and "OTHER" in repr(others)


def test_what_is_left_out_is_told():
    items = (Session(id="x", name="b"),)

    assert "The first 1 of 25; --limit 25" in repr(
        session_table(Listed(items, 25), Query(), own_key="")
    )
    offset = Query(offset=3)
    assert "4 to 4 of 25" in repr(session_table(Listed(items, 25), offset, own_key=""))
    assert repr(session_table(Listed((), 0), Query(), own_key="")) == "No live sessions."


def test_a_detail_says_what_is_there_and_nothing_else():
    detail = SessionDetail(
        id="x",
        name="s",
        status_name="RUNNING",
        service_ports='[{"name": "sshd"}, {"name": "ttyd"}]',
        idle_checks='{"network_timeout": {"remaining": 300.0}, "other": {"remaining": null}}',
        occupying_slots='{"cpu": "2", "mem": "1073741824"}',
        created_at=datetime.now(UTC),
    )
    facts = session_facts(detail)
    text = repr(facts)

    assert "sshd, ttyd" in text and "cpu=2 mem=1g" in text
    assert "ends in 5 min unless something runs in it" in text
    assert "Tag" not in text
    assert facts["name"] == "s" and facts.df().shape[0] == 1


@pytest.mark.parametrize(
    ("pattern", "found"), [("", 2), ("TORCH", 1), ("py", 2), ("*:2.1*", 1), ("py", 2), ("zzz", 0)]
)
def test_images_are_found_by_parts_and_wildcards(pattern, found):
    images = (
        Image(name="stable/python", registry="cr.example.com", tag="3.11", aliases=("python",)),
        Image(name="stable/pytorch", registry="cr.example.com", tag="2.1-py310", size_bytes=10**9),
    )

    assert len(image_table(images, pattern)) == found


def test_resources_tell_no_limit_from_nothing():
    table = resource_table(
        Resources(
            "default",
            (
                SlotUse("mem", None, Decimal(2**30), None, Decimal(7 * 2**30 + 1), "default"),
                SlotUse("cpu", Decimal(4), Decimal(0), Decimal(4), None, ""),
            ),
            (),
        )
    )

    assert "no limit" in repr(table) and "7.0g" in repr(table) and "not told" in repr(table)
    assert table["mem"].limit is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (59, "59 s ago"),
        (61, "1 min ago"),
        (7200, "2 h ago"),
        (200000, "2 d ago"),
        (-5, "0 s ago"),
    ],
)
def test_ages_in_one_unit(seconds, text):
    now = datetime.now(UTC)

    assert ago(now - timedelta(seconds=seconds), now) == text


def test_amounts_are_told_in_one_unit():
    assert amount_of("mem", Decimal(4 * 2**30)) == "4g"
    assert amount_of("cpu", Decimal("0.50")) == "0.5"
    assert amount_of("cpu", None) == "no limit"


def test_a_column_shows_none_as_nothing():
    assert Column("k", "K", lambda row: None).show(object()) == ""
