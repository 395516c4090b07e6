"""Cards as text and as HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from backendai_kernel.views import Card, card_html, card_text, duration, headline, phase_of

HOSTILE = "<script>alert('x')</script>\"&'"


class Reader(HTMLParser):
    """Collects the elements and the text of a piece of HTML, and notices what is left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def card(state="waiting", step="PENDING", *, what="python cpu=1", seconds=2.34, note=""):
    return Card(state, step, what, "nb-1 on this computer", seconds, note)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (2.345, "2.3 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (10, "10 s"),
        (59.4, "59 s"),
        (59.51, "1 min 00 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3600, "60 min 00 s"),
    ],
)
def test_a_duration_reads_as_people_say_it(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("step", "phase"),
    [
        ("CONNECTING", "queued"),
        ("PENDING", "queued"),
        ("SCHEDULED", "queued"),
        ("TIMEOUT", "queued"),
        ("PULLING", "preparing"),
        ("CREATING", "preparing"),
        ("A WORD OF A NEWER SERVER", "preparing"),
        ("RUNNING", "running"),
        ("STARTING PYTHON", "running"),
    ],
)
def test_each_status_word_belongs_to_one_of_three_steps(step, phase):
    assert phase_of(step) == phase


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("waiting", "Session queued (pending) · 2.3 s"),
        ("ready", "Session ready in 2.3 s"),
        ("failed", "No session after 2.3 s"),
        ("cancelled", "Start cancelled after 2.3 s"),
    ],
)
def test_a_card_says_in_words_how_it_stands(state, words):
    assert headline(card(state)) == words


@pytest.mark.parametrize("state", ["waiting", "ready", "failed", "cancelled"])
def test_text_and_html_say_the_same(state):
    shown = card(state, note="It waits for a GPU.")
    html = Reader(card_html(shown))
    line, note = card_text(shown).split("\n")

    for part in line[2:].split(" · "):
        assert part in html.text
    assert note.strip() in html.text
    assert html.text.startswith(line[0])  # the mark, so that colour is never alone


def test_a_card_without_a_note_is_one_line_of_text():
    assert card_text(card("ready")) == (
        "✓ Session ready in 2.3 s · python cpu=1 · nb-1 on this computer"
    )


def test_only_a_card_that_waits_shows_the_steps():
    assert "● queued → ○ preparing → ○ running" in Reader(card_html(card())).text
    assert "✓ queued → ● preparing" in Reader(card_html(card(step="PULLING"))).text
    assert "○" not in Reader(card_html(card("ready"))).text


def test_hostile_text_stays_text():
    shown = Card("waiting", HOSTILE, HOSTILE, HOSTILE, 1.0, HOSTILE)
    html = Reader(card_html(shown))

    assert set(html.tags) == {"div", "span", "strong"}
    assert html.text.count(HOSTILE) == 4
    assert {name for name, _ in html.attributes} == {"role", "style", "aria-hidden"}


def test_a_card_is_announced_and_keeps_its_mark_from_screen_readers():
    html = Reader(card_html(card()))

    assert ("role", "status") in html.attributes
    assert ("aria-hidden", "true") in html.attributes


def test_every_colour_has_a_fall_back_where_there_is_no_theme():
    html = card_html(card())
    used = re.findall(r"var\(--jp-[\w-]+(,[^)]+)?\)", html)

    assert used
    assert all(used)
