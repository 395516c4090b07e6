"""What the launcher's form says: labels of images and presets, and how far a start has come."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .forms import problem_markup

if TYPE_CHECKING:
    from .desk import Message

_PHASES = ("queued", "preparing", "running")
_MARKS = {"done": "✓", "now": "●", "later": "○"}
_UNITS = {"cpu": "CPU", "cuda.shares": "GPU", "cuda.device": "GPU"}
HEADS = {
    "waiting": "Starting {}",
    "ready": "{} runs",
    "failed": "{} was not started",
    "cancelled": "The start of {} was cancelled",
}
"""State of a start → its headline."""


def searched(image: Message) -> str:
    """Return what a search looks through."""
    return f"{image['reference']} {' '.join(image['aliases'])} {image['about']}".lower()


def labelled(images: list[Message]) -> list[tuple[str, str]]:
    """Return label and reference of images; of those of one label, the reference is the label."""
    labels = [f"{each['name']}  {each['tag']}".strip() for each in images]
    return [
        (each["reference"] if labels.count(label) > 1 else label, each["reference"])
        for label, each in zip(labels, images, strict=True)
    ]


def preset_text(preset: Message) -> str:
    """Return a preset with its amounts, and whether it can be had."""
    amounts = []
    for slot, amount in preset["slots"].items():
        unit = _UNITS.get(slot, slot)
        amounts.append(f"{amount / 1024:g} GiB" if slot == "mem" else f"{amount:g} {unit}")
    busy = "" if preset["free"] else " (not free now)"
    return f"{preset['name']}: {' · '.join(amounts)}{busy}"


def place_text(offer: Message) -> str:
    """Return where what is left is left."""
    where = offer["scaling_group"]
    group = (
        f"scaling group {where}" if where else "of each in the scaling group that has most of it"
    )
    return f"What is left to you in the project {offer['project']}, {group}."


def progress_markup(now: Message, took: str) -> str:
    """Return how far a start has come, as markup."""
    head = escape(HEADS[now["state"]].format(now["name"]))
    parts = [
        f'<div class="bai-progress-head"><strong>{head}</strong>'
        f'<span class="bai-took" aria-hidden="true"> · {escape(took)}</span></div>'
    ]
    if now["state"] in ("waiting", "ready"):
        at = _PHASES.index(now["phase"]) if now["phase"] in _PHASES else -1
        steps = []
        for index, phase in enumerate(_PHASES):
            is_done = now["state"] == "ready" or index < at
            state = "done" if is_done else "now" if index == at else "later"
            current = ' aria-current="step"' if state == "now" else ""
            steps.append(
                f'<li class="bai-{state}"{current}><span aria-hidden="true">{_MARKS[state]}</span> '
                f"{phase}</li>"
            )
        parts.append(f'<ol class="bai-steps">{"".join(steps)}</ol>')
    if now["error"]:
        parts.append(problem_markup(now["error"]))
    else:
        note = now["note"] or (now["status"].lower() if now["state"] == "waiting" else "")
        parts.append(f'<p class="bai-hint" role="status">{escape(note)}</p>' if note else "")
    return "".join(parts)
