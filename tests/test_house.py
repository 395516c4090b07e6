"""What the repository promises around the code: its notebooks, its words, its pictures."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import nbformat
import pytest

import backendai_kernel

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("*/*.md"))]
KERNELS = sorted(ROOT.glob("kernelspecs/*"))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
PNG = b"\x89PNG\r\n\x1a\n"


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_is_the_same_everywhere():
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert backendai_kernel.__version__ == project()["version"] == versions[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(page):
    targets = [t for t in LINK.findall(page.read_text("utf-8")) if "://" not in t]

    assert [t for t in targets if not (page.parent / t).exists()] == []


def test_every_picture_is_shown_on_a_page():
    shown = {
        name for page in PAGES for name in re.findall(r"images/([\w.-]+)", page.read_text("utf-8"))
    }

    assert {path.name for path in ROOT.glob("docs/images/*")} <= shown


def test_every_command_that_the_readme_names_is_in_the_makefile():
    text = (ROOT / "README.md").read_text("utf-8") + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"\bmake ([a-z]+)", text))
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    assert {"demo", "test"} <= named <= there


def test_the_notebooks_are_numbered():
    assert NOTEBOOKS
    numbers = [re.match(r"(\d\d)-", path.name) for path in NOTEBOOKS]
    assert all(numbers)
    assert len({found[1] for found in numbers}) == len(NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert notebook.metadata.kernelspec.name == "backendai-python"
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []


@pytest.mark.parametrize("folder", KERNELS, ids=lambda folder: folder.name)
def test_a_kernelspec_has_its_pictures(folder):
    sizes = {}
    for path in folder.glob("logo-*.png"):
        data = path.read_bytes()
        assert data.startswith(PNG)
        sizes[path.name] = (int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))

    assert sizes == {"logo-32x32.png": (32, 32), "logo-64x64.png": (64, 64)}
    assert "<svg" in (folder / "logo-svg.svg").read_text("utf-8")


@pytest.mark.parametrize("folder", KERNELS, ids=lambda folder: folder.name)
def test_a_kernelspec_that_ships_promises_nothing_an_older_ipykernel_lacks(folder):
    metadata = json.loads((folder / "kernel.json").read_text("utf-8"))["metadata"]

    # Encrypted sockets and the debugger depend on the ipykernel of the day, see `specs.install`.
    assert set(metadata) == {"backendai"}


def test_every_environment_variable_of_ours_is_documented():
    code = "".join(path.read_text("utf-8") for path in ROOT.glob("backendai_kernel/*.py"))
    ours = set(re.findall(r"\bBACKENDAI_KERNEL_[A-Z]+\b", code))
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")

    assert ours
    assert {name for name in ours if name not in text} == set()
