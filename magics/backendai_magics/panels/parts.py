"""The parts of a panel by their names."""

from __future__ import annotations

from importlib import import_module

from .desk import Desk, Part


def make_part(name: str, desk: Desk) -> Part:
    """Return a part; it is the class of its name, in a module of its own."""
    module = import_module(f".part_{name}", __package__)
    part: Part = getattr(module, name.capitalize())(desk)
    return part
