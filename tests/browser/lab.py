"""JupyterLab in a real browser: a server with a home of its own, and a notebook as a person has it.

Notebook 7 is the same application with other doors: `serve` runs either.

What a test does to a page it does with mouse and keyboard; only the text of cells is put there by
the application's own interface, since typing it would be slow and would open boxes of completions.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from backendai_kernel.local import discovery

LIMIT = 60.0  # seconds after which a test is lost; everything it waits for is a fact
TOKEN = "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_STRANGERS = ("BACKEND", "SORNA", "JUPYTER", "IPYTHON", "JPY", "PYTEST", "XDG", "MPL")
_SETTINGS = {
    # Every cell is in the page, whether it is in sight or not.
    "notebook-extension/tracker": {"windowingMode": "none", "recordTiming": False},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


def find_browser() -> str | None:
    """Return the path of a Chromium; ``None`` when there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


# Application → its class, and where in it a notebook is opened.
_APPS = {"lab": ("LabApp", "lab/tree"), "notebook": ("JupyterNotebookApp", "notebooks")}


class Lab:
    """A JupyterLab server, the home it was given, and the manager that its kernels start.

    Attributes:
        home: Holds all that server, kernels and manager write; ``notebooks`` in it is served.
    """

    def __init__(self, home: Path, url: str, door: str) -> None:
        self.home = home
        self.url = url
        self._door = door

    @property
    def notebooks(self) -> Path:
        return self.home / "notebooks"

    def write(self, name: str, *cells: str, kernel: str = "backendai-python") -> str:
        """Put a notebook there; return its address."""
        notebook = {
            "cells": [
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "id": f"cell-{number}",
                    "metadata": {},
                    "outputs": [],
                    "source": code,
                }
                for number, code in enumerate(cells or ("",))
            ],
            "metadata": {"kernelspec": {"name": kernel, "display_name": kernel}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.notebooks / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        return f"{self.url}/{self._door}/{name}.ipynb?reset&token={TOKEN}"

    def add_kernel(self, name: str, path: Path) -> None:
        """Give notebooks a plain Python kernel which finds packages in a folder before others."""
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
            "env": {"PYTHONPATH": str(path)},
        }
        folder = self.home / ".local" / "share" / "jupyter" / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")

    def set_theme(self, theme: str) -> None:
        """Set the theme of the pages that are opened from now on: ``Light`` or ``Dark``."""
        _set(self.home, "apputils-extension/themes", {"theme": f"JupyterLab {theme}"})


@contextmanager
def serve(home: Path, app: str = "lab") -> Iterator[Lab]:
    """Run JupyterLab with *home* as its only home; end its kernels and their manager with it.

    Args:
        app: ``lab``, or ``notebook`` for Notebook 7.
    """
    name_of_app, door = _APPS[app]
    (home / "notebooks").mkdir()
    for name, values in _SETTINGS.items():
        _set(home, name, values)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(_STRANGERS)}
    environ |= {
        "HOME": str(home),
        "BACKENDAI_KERNEL_CONFIG": str(home / "config"),
        "BACKENDAI_KERNEL_STATE": str(home / "state"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
    }
    command = [
        *(sys.executable, "-m", "jupyter", app, "--no-browser", "--port=0", "--allow-root"),
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={home / 'notebooks'}",
        f"--{name_of_app}.expose_app_in_browser=True",
    ]
    with (
        (home / "lab.log").open("wb") as log,
        subprocess.Popen(command, env=environ, cwd=home, stdout=log, stderr=log) as server,
    ):
        try:
            yield Lab(home, _address(home, server), door)
        finally:
            server.terminate()
            server.wait(LIMIT)
            _end_manager(home / "state" / "local")


def _set(home: Path, name: str, values: dict[str, object]) -> None:
    path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


def _address(home: Path, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and server.poll() is None:
        for told in (home / "runtime").glob("jpserver-*.json"):
            try:
                url = json.loads(told.read_text(encoding="utf-8"))["url"].rstrip("/")
                with urllib.request.urlopen(f"{url}/api?token={TOKEN}", timeout=5):
                    return str(url)
            except (ValueError, OSError):
                continue  # it is being written, or not listened to yet
        time.sleep(0.1)
    raise AssertionError(f"Jupyter does not start:\n{(home / 'lab.log').read_text()[-2000:]}")


def _end_manager(state: Path) -> None:
    """End the manager that the kernels have started; it ends its sessions itself."""
    found = state / discovery.STATE_FILE
    try:
        pid = int(json.loads(found.read_text(encoding="utf-8"))["pid"])
        os.kill(pid, 15)
    except (FileNotFoundError, ProcessLookupError):
        return
    deadline = time.monotonic() + LIMIT
    while found.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


_ADD_CELL = """async code => {
    const app = window.jupyterapp, panel = app.shell.currentWidget, book = panel.content;
    book.activeCellIndex = book.widgets.length - 1;
    if (book.activeCell.model.sharedModel.getSource()) {
        await app.commands.execute('notebook:insert-cell-below');
    }
    book.activeCell.model.sharedModel.setSource(code);
    return book.activeCellIndex;
}"""
_READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.sessionContext?.session?.kernel?.status === 'idle' && panel.content.widgets.length > 0;
}"""


class Sheet:
    """A notebook in a page.

    Attributes:
        complaints: What the page has written to its console as an error.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(LIMIT * 1000)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _said(self, message: ConsoleMessage) -> None:
        # Containers that come and go on the computer change its network; nothing is lost by that.
        if message.type == "error" and "ERR_NETWORK_CHANGED" not in message.text:
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

    def open(self, address: str) -> None:
        """Open a notebook; return when its kernel has answered."""
        self.page.goto(address)
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_function(_READY)

    def reload(self) -> None:
        """Save and load the page again, as F5 does."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        self.page.reload()
        self.ready()

    def shut_down(self) -> None:
        """End the kernel, and with it the session: this computer has room for few."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    def command(self, name: str) -> None:
        """Begin a command of the application, such as ``kernelmenu:interrupt``."""
        self.page.evaluate("name => { window.jupyterapp.commands.execute(name) }", name)

    def type(self, text: str) -> Cell:
        """Type into a cell at the end, key by key."""
        cell = self.write("")
        cell.editor.click()
        self.page.keyboard.type(text)
        return cell

    def write(self, code: str) -> Cell:
        """Put code into a cell at the end."""
        return Cell(self.page, self.page.evaluate(_ADD_CELL, code))

    def start(self, code: str) -> Cell:
        """Put code into a cell at the end and press Shift-Enter."""
        cell = self.write(code)
        cell.editor.click()
        self.page.keyboard.press("Shift+Enter")
        return cell

    def run(self, code: str) -> Cell:
        """Run code to its end in a cell at the end."""
        return self.start(code).done()


class Cell:
    """One cell of a sheet: what a person sees of it."""

    def __init__(self, page: Page, index: int) -> None:
        self.page = page
        self.index = index
        self.box = page.locator(".jp-Notebook-cell").nth(index)
        self.editor = self.box.locator(".cm-content")
        self.prompt = self.box.locator(".jp-InputPrompt")
        self.outputs = self.box.locator(".jp-Cell-outputArea")

    def done(self) -> Cell:
        """Return once it has its number."""
        try:
            self.page.wait_for_function(
                r"e => /\[\d+\]/.test(e.textContent)", arg=self.prompt.element_handle()
            )
        except Exception as exc:
            raise AssertionError(f"the cell never ended; it shows {self.text!r}") from exc
        return self

    @property
    def text(self) -> str:
        """What the outputs say, without their numbers."""
        return "\n".join(self.outputs.locator(".jp-OutputArea-output").all_inner_texts()).strip()

    def find(self, selector: str, **options: Any) -> Locator:
        return self.outputs.locator(selector, **options)

    def shows(self, text: str) -> None:
        """Return once the text stands among the outputs."""
        expect(self.outputs).to_contain_text(text, timeout=LIMIT * 1000)
