"""Images made of interpreters that a file names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backendai_kernel.errors import ConfigError
from backendai_kernel.local.images import named_images
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.serve import main
from tests.conftest import ROOMY
from tests.signed import signed

OURS = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "images.toml"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The folder of an environment, whose interpreter tells that it is this one."""
    python = tmp_path / "other" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nWHICH=other exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path / "other"


def test_without_a_file_there_is_our_own_interpreter(file: Path) -> None:
    (image,) = named_images(file)

    assert (image.name, image.python) == ("python", sys.executable)
    assert image.tag.startswith(f"{OURS}-")
    assert image.aliases == ("python", f"python:{OURS}")


def test_a_named_interpreter_is_an_image(file: Path, other: Path) -> None:
    file.write_text(f'other = "{other}"\n')
    own, image = named_images(file)

    assert own.python == sys.executable
    assert image.python == str(other / "bin" / "python")
    assert image.aliases == ("other", f"other:{OURS}")


def test_the_image_of_all_kernels_can_be_another(file: Path, other: Path) -> None:
    file.write_text(f'python = "{other}/bin/python"\n')
    (image,) = named_images(file)
    (given,) = named_images(file, sys.executable)

    assert (image.name, image.python) == ("python", f"{other}/bin/python")
    assert given.python == sys.executable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("torch", "is not TOML"),
        ("torch = 3", "must give the whole path of an interpreter for torch"),
        ('torch = "bin/python"', "must give the whole path of an interpreter for torch"),
        ('"my torch" = "/bin/python"', "names an image 'my torch'"),
        ('[images]\na = "/b"', "must give the whole path of an interpreter for images"),
    ],
)
def test_a_file_that_says_something_else_is_refused(file: Path, text: str, said: str) -> None:
    file.write_text(text)

    with pytest.raises(ConfigError, match=said) as caught:
        named_images(file)
    assert "/home/me/torch/bin/python" in caught.value.hint


def test_a_manager_that_cannot_read_the_file_says_so_and_stops(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("torch")
    monkeypatch.setenv("BACKENDAI_KERNEL_CONFIG", str(file.parent))

    assert main(["--state", str(file.parent / "state")]) == 1
    assert f"The list of images {file} is not TOML" in capsys.readouterr().err


async def test_a_session_runs_on_the_interpreter_of_its_image(file: Path, other: Path) -> None:
    file.write_text(f'other = "{other}"\n')
    manager = LocalManager(file.parent / "manager", slots=ROOMY, images=named_images(file))
    async with manager, signed(manager) as api:
        await api.start("s", image="other")
        result = await api.run("s", "import os; print(os.environ.get('WHICH'))")

    assert result["console"] == [["stdout", "other\n"]]


def test_an_image_whose_interpreter_is_gone_is_left_out(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text('torch = "/nowhere/bin/python"\n')

    assert [image.name for image in named_images(file)] == ["python"]
    assert "There is no image torch: The interpreter /nowhere/bin/python" in caplog.text


def test_without_the_interpreter_of_all_kernels_there_is_no_manager(file: Path) -> None:
    with pytest.raises(ConfigError, match="/nowhere/bin/python does not tell its version"):
        named_images(file, "/nowhere/bin/python")
