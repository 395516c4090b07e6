"""Panels: sessions, a launcher and resources to look at and to click, in a notebook's output.

    from backendai_magics import panels

    panels.show()            # everything, in tabs; the same as %bai panel
    panels.sessions()        # one part

A panel is one widget: values go to the page, intents come back. Forms in it are made of ipywidgets'
stock controls when their part is opened. Where anywidget is missing, forms stand alone (`Alone`), the
rest is shown once as a table (`Still`), and in a terminal as text.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from backendai_kernel.errors import ConfigError

PARTS = ("sessions", "launcher", "resources", "apps", "folders", "keys")
"""The parts of a panel, in the order of its tabs."""

_EXTRA = 'pip install "backendai-kernel[panels]"'


def show(part: str = "", *, sidecar: bool = False, connection: Any = None) -> Any:
    """Return a panel to be displayed as a cell's value.

    Args:
        part: One of `PARTS`; ``""`` for all of them.
        sidecar: Beside the notebook, where JupyterLab's sidecar is installed; then there is nothing
            to display in the cell, and ``None`` is returned.
        connection: The way to the server; ``None``: that of ``%bai`` in this shell.

    Raises:
        ConfigError: There is no such part, or no sidecar.
        BackendError: Without anywidget, when the server cannot be asked.
    """
    if part and part not in PARTS:
        from ..words import did_you_mean

        raise ConfigError(
            f"There is no panel {part!r}.",
            hint=did_you_mean(part, PARTS, otherwise=f"There is {', '.join(PARTS)}."),
        )
    if sidecar and find_spec("sidecar") is None:
        raise ConfigError(
            "There is no sidecar here.", hint="pip install sidecar, then load the page again."
        )
    if connection is None:
        connection = _connection()
    why = _why_still()
    if why:
        from .still import Still

        return Still(part, connection, why, has_forms=_has_kernel())
    from .widget import open_widget, show_beside

    widget = open_widget(part, connection)
    if not sidecar:
        return widget
    show_beside(widget, part)
    return None


def form(part: str, *, connection: Any = None) -> Any:
    """Return a part that is a form, of stock ipywidgets alone and without a frame around it.

    It is for front ends whose pages draw stock widgets and no others.

    Args:
        part: ``launcher`` or ``keys``.

    Raises:
        ConfigError: That part is no form.
    """
    from .still import FORMS

    if part not in FORMS:
        raise ConfigError(f"{part!r} is no form.", hint=f"There is {', '.join(FORMS)}.")
    from .alone import Alone

    return Alone(part, _connection() if connection is None else connection)


def _has_kernel() -> bool:
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def _why_still() -> str:
    """Return what keeps a panel from living here, in a sentence; ``""`` for nothing."""
    if not _has_kernel():
        return "In a notebook, this is a panel to click."
    if find_spec("anywidget") is None:
        return f"For a panel to click: {_EXTRA}, then load the page again."
    return ""


def sessions() -> Any:
    """Return the panel of sessions."""
    return show("sessions")


def launcher() -> Any:
    """Return the panel that starts sessions."""
    return show("launcher")


def resources() -> Any:
    """Return the panel of quota and use."""
    return show("resources")


def apps() -> Any:
    """Return the panel that opens apps of sessions."""
    return show("apps")


def folders() -> Any:
    """Return the panel of virtual folders and files of sessions."""
    return show("folders")


def keys() -> Any:
    """Return the panel for SSH: keys, lines to copy, OpenSSH's configuration."""
    return show("keys")


def _connection() -> Any:
    """Return the connection of ``%bai`` in this shell, or one of our own."""
    from IPython.core.getipython import get_ipython

    from ..connection import Connection

    shell = get_ipython()
    magics = None if shell is None else shell.magics_manager.registry.get("BaiMagics")
    return Connection(shell) if magics is None else magics.connection
