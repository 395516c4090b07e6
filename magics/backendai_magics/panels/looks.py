"""The style sheet of panels, for the frame and for forms that stand alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_STATIC = Path(__file__).with_name("static")
_STYLES = ("panel.css", "sessions.css", "forms.css", "parts.css")
"""In this order: narrow widths and high contrast, at the end, have the last word."""


def read(name: str) -> str:
    """Return a file of the page."""
    return (_STATIC / name).read_text(encoding="utf-8")


@cache
def style() -> str:
    """Return the page's style sheet."""
    return "\n".join(read(name) for name in _STYLES)
