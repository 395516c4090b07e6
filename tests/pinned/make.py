"""Make the environments that sessions of the pinned tests run in, or those of them that can be made.

``python tests/pinned/make.py`` makes what is missing and prints what is there. Each file in
``environments`` is one: its first line names the Python, the others are all of its packages. The
environments lie in the cache folder, or where ``BACKENDAI_PINNED`` says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LISTS = sorted(Path(__file__).with_name("environments").glob("*.txt"))


def folder_of(packages: Path) -> Path:
    """Return where an environment is or would be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    base = os.environ.get("BACKENDAI_PINNED") or cache / "backendai-kernel" / "pinned"
    return Path(base) / packages.stem


def is_made(packages: Path) -> bool:
    """An environment is there, with the packages that the list has now."""
    try:
        return (folder_of(packages) / "made-from.txt").read_text() == packages.read_text()
    except FileNotFoundError:
        return False


def version_of(packages: Path) -> str:
    """Return the Python that a list is for, as ``3.8``."""
    with packages.open() as lines:
        return next(lines).removeprefix("# Python ").strip()


def _pythons(version: str) -> Iterator[str]:
    if found := shutil.which(f"python{version}"):
        yield found
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob(f"versions/{version}.*/bin/python"), reverse=True))


def find_python(version: str) -> str | None:
    """Return an interpreter of that version which can make environments."""
    for python in _pythons(version):
        code = (
            f"import venv, ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
        )
        # A name may exist and still not start.
        if subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0:
            return python
    return None


def make(packages: Path, python: str) -> None:
    """Make one environment anew; it counts once everything is in it."""
    folder = folder_of(packages)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    command = [
        *(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"),
        # The list is whole; what old packages want beside it is for a notebook server.
        *("--disable-pip-version-check", "--no-deps", "-r", str(packages)),
    ]
    subprocess.run(command, check=True)
    (folder / "made-from.txt").write_text(packages.read_text())


def main() -> int:
    """Make what is missing; return 1 when there is nothing in the end."""
    status = 1
    for packages in LISTS:
        if not is_made(packages):
            python = find_python(version_of(packages))
            if python is None:
                print(f"{packages.stem}: no Python {version_of(packages)} with venv was found")
                continue
            make(packages, python)
        status = 0
        print(f"{packages.stem}: {folder_of(packages)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
