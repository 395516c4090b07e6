"""The user's OpenSSH configuration: ours goes in and out, and every other byte stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from backendai_kernel import sshconfig

TEXT = sshconfig.blocks([("User", "work")], [("bai-train", "train")], "bai-*")


def write(config: Path, text: str | None, *, inline: bool = False) -> list[Path]:
    with sshconfig.locked(config):
        return sshconfig.apply(sshconfig.plan(config, text, inline=inline))


@pytest.mark.parametrize("inline", [False, True], ids=["include", "inline"])
@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"Host a\n    User b\n",
        b"Host a\n    User b",
        b"\n\n# mine\nHost a\n",
        b"Host a\r\n    User b\r\n",
        b"# caf\xe9, not UTF-8\nHost a\n",
        "# \x0c and \u2028 end no line of OpenSSH's\nHost a\n".encode(),
        b"Include config.d/*.conf\nHost a\n",
        b"Include config.d/backend.ai.conf.old\n",
    ],
    ids=["empty", "plain", "no end", "blank lines", "crlf", "latin", "breaks", "glob", "alike"],
)
def test_ours_goes_in_once_and_out_again(tmp_path, before, inline):
    config = tmp_path / "config"
    config.write_bytes(before)
    write(config, TEXT, inline=inline)
    first = config.read_bytes()
    again = write(config, TEXT, inline=inline)
    write(config, None)

    assert first.endswith(before)
    assert first != before
    assert again == []
    assert config.read_bytes() == before
    assert (tmp_path / sshconfig.BACKUP).read_bytes() == before


def test_one_form_takes_the_place_of_the_other(tmp_path):
    config = tmp_path / "config"
    config.write_text("Host a\n")
    write(config, TEXT)
    write(config, TEXT, inline=True)
    inline = config.read_text()
    own = tmp_path / sshconfig.OWN
    was_removed = not own.exists()
    write(config, TEXT)

    assert "Include" not in inline
    assert was_removed
    assert own.read_text() == TEXT
    assert config.read_text() == f'Include "{own}"\n\nHost a\n'


def test_our_line_below_others_goes_to_the_top(tmp_path):
    config = tmp_path / "config"
    own = tmp_path / sshconfig.OWN
    config.write_text(f'\nHost a\n    User b\ninclude="{own}"\n')
    write(config, TEXT)

    assert config.read_text() == f'Include "{own}"\n\n\nHost a\n    User b\n'


def test_a_file_that_is_no_text_is_left_alone(tmp_path):
    config = tmp_path / "config"
    config.write_bytes(b"Host a\0\n")
    with pytest.raises(sshconfig.ConfigError, match="is no text"):
        write(config, TEXT)

    assert config.read_bytes() == b"Host a\0\n"


def test_a_change_by_another_program_meanwhile_is_not_lost(tmp_path):
    config = tmp_path / "config"
    config.write_text("Host a\n")
    planned = sshconfig.plan(config, TEXT)
    config.write_text("Host b\n")
    with sshconfig.locked(config), pytest.raises(sshconfig.ConfigError, match="changed meanwhile"):
        sshconfig.apply(planned)

    assert config.read_text() == "Host b\n"
