"""The manager as a program: what it says to words and folders that are no good."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from backendai_kernel.local.serve import load_keypair, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--port", "99999999"], "'99999999' is no port"),
        (["--port", "-1"], "'-1' is no port"),
        (["--port", "http"], "'http' is no port"),
        (["--mem", "0"], "the size must be above zero"),
        (["--mem", "lots"], "'lots' is not a size."),
        (["--cpu", "0"], "the number must be above zero"),
        (["--cpu", "many"], "'many' is not a number"),
        (["--gpus", "-1"], "'-1' is no number of devices"),
        (["--idle-limit", "nan"], "'nan' is not a number"),
        (["--idle-limit", "-5"], "'-5' is no time: 0 means never"),
        (["--session-idle-limit", "inf"], "'inf' is not a number"),
    ],
)
def test_a_word_that_cannot_be_meant_is_refused(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--state", str(tmp_path / "state"), f"{words[0]}={words[1]}"])

    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        words = ["--state", str(tmp_path), "--port", str(port)]
        run = subprocess.run(
            [sys.executable, "-m", "backendai_kernel.local", *words],
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    assert run.returncode == 1
    assert run.stderr == (
        f"Nothing can listen at 127.0.0.1:{port}: Address already in use.\n"
        "Choose another --port; without one, any that is free is taken.\n"
    )


def test_a_state_folder_that_is_a_file_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("")
    status = main(["--state", str(tmp_path / "state")])

    assert status == 1
    assert capsys.readouterr().err == (
        f"The state folder {tmp_path / 'state'} cannot be used: File exists.\n"
        "Name another one with --state, or with BACKENDAI_KERNEL_STATE.\n"
    )


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"a"', "null"])
def test_a_broken_keypair_file_is_replaced(text: str, tmp_path: Path) -> None:
    (tmp_path / "keypair.json").write_text(text)
    made = load_keypair(tmp_path)

    assert load_keypair(tmp_path) == made
    assert json.loads((tmp_path / "keypair.json").read_text())["access_key"] == made.access_key
