"""A value as text and as HTML: pure functions, no widgets.

Colours are JupyterLab's own variables with a fall-back each, so a card fits light and dark themes;
nothing is said by colour alone, and everything from outside is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from .postmortem import PostMortem
from .tables import marked


@dataclass(frozen=True, slots=True)
class Card:
    """What is shown while a session starts, and after.

    Attributes:
        state: ``waiting``, ``ready``, ``failed`` or ``cancelled``.
        step: Where the session is, in the server's word (``PREPARING``) or ours.
        what: Image and resources, in one line.
        where: The session's name and the server.
        seconds: Since it was asked for.
        note: What it waits for, or why it failed, in a sentence.
    """

    state: str
    step: str
    what: str
    where: str
    seconds: float
    note: str = ""


_STEPS = ("queued", "preparing", "running")
_MARKS = {"waiting": "…", "ready": "✓", "failed": "✗", "cancelled": "■"}
_COLOURS = {
    "waiting": "var(--jp-info-color1, #1976d2)",
    "ready": "var(--jp-success-color1, #2e7d32)",
    "failed": "var(--jp-error-color1, #d32f2f)",
    "cancelled": "var(--jp-warn-color1, #f57c00)",
}


def phase_of(step: str) -> str:
    """Return which of the three steps of a start a status word belongs to."""
    if step in ("PENDING", "SCHEDULED", "CONNECTING", "TIMEOUT"):
        return "queued"
    if step in ("RUNNING", "RUNNING_DEGRADED", "STARTING PYTHON", "READY"):
        return "running"
    return "preparing"


def duration(seconds: float) -> str:
    """Return a time as people say it: ``2.3 s``, ``45 s``, ``3 min 05 s``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def headline(card: Card) -> str:
    """Return the card's first line."""
    took = duration(card.seconds)
    if card.state == "ready":
        return f"Session ready in {took}"
    if card.state == "failed":
        return f"No session after {took}"
    if card.state == "cancelled":
        return f"Start cancelled after {took}"
    return f"Session {phase_of(card.step)} ({card.step.lower()}) · {took}"


def card_text(card: Card) -> str:
    """Return the card as plain text, for nbconvert and terminals."""
    lines = [f"{_MARKS[card.state]} {headline(card)} · {card.what} · {card.where}"]
    if card.note:
        lines += [f"  {line}" for line in card.note.splitlines()]
    return "\n".join(lines)


def card_html(card: Card) -> str:
    """Return the card as HTML."""
    colour = _COLOURS[card.state]
    note = "".join(
        f'<div style="margin-top:4px">{marked(line)}</div>' for line in card.note.splitlines()
    )
    steps = _steps_html(card) if card.state == "waiting" else ""
    return (
        f'<div role="status" style="border-left:3px solid {colour};padding:6px 12px;margin:2px 0;'
        "font-family:var(--jp-ui-font-family, sans-serif);font-size:var(--jp-ui-font-size1, 13px);"
        'line-height:1.5;color:var(--jp-ui-font-color1, inherit)">'
        f'<span style="color:{colour};font-weight:600" aria-hidden="true">'
        f"{_MARKS[card.state]}</span> "
        f"<strong>{escape(headline(card))}</strong>"
        f'<span style="color:var(--jp-ui-font-color2, inherit)"> · {escape(card.what)}'
        f" · {escape(card.where)}</span>{steps}{note}</div>"
    )


def post_mortem_text(found: PostMortem) -> str:
    """Return what a session's log said last; `PostMortem.sentence` is told by the error below it."""
    return "\n".join(["The last lines of its log:", *(f"  {line}" for line in found.log)])


def post_mortem_html(found: PostMortem) -> str:
    """Return `post_mortem_text` as HTML."""
    lines = escape("\n".join(found.log))
    return (
        f'<div role="note" style="border-left:3px solid {_COLOURS["failed"]};padding:6px 12px;'
        "margin:2px 0;font-family:var(--jp-ui-font-family, sans-serif);"
        'font-size:var(--jp-ui-font-size1, 13px);color:var(--jp-ui-font-color1, inherit)">'
        "<div>The last lines of its log:</div>"
        '<pre style="margin:4px 0 0;white-space:pre-wrap;overflow-wrap:anywhere;'
        f'color:var(--jp-ui-font-color2, inherit)">{lines}</pre></div>'
    )


def _steps_html(card: Card) -> str:
    now = _STEPS.index(phase_of(card.step))
    words = []
    for index, step in enumerate(_STEPS):
        mark = "✓" if index < now else "●" if index == now else "○"
        weight = "600" if index == now else "400"
        words.append(f'<span style="font-weight:{weight}">{mark} {step}</span>')
    return f'<div style="margin-top:4px">{" → ".join(words)}</div>'
