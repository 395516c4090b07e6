"""``%bai`` alone, in an IPython that is not our kernel."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell


@pytest.fixture
def shell(monkeypatch, tmp_path):
    for name in ("BACKEND_ENDPOINT", "BACKEND_ACCESS_KEY", "BACKEND_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BACKENDAI_KERNEL_CONFIG", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell()
    shell.history_manager.enabled = False
    shell.extension_manager.load_extension("bai")
    yield shell
    shell.extension_manager.unload_extension("bai")
    shell.history_manager.end_session()


def test_it_tells_where_the_notebook_runs(shell):
    facts = dict(shell.run_line_magic("bai", "").rows)

    assert facts["Server"] == "the manager on this computer (no endpoint is configured)"
    assert facts["Session"] == "none: this is not a Backend.AI kernel"


def test_it_tells_what_is_wrong_with_the_settings_and_what_to_do(shell, monkeypatch):
    monkeypatch.setenv("BACKEND_ENDPOINT", "manager")
    facts = dict(shell.run_line_magic("bai", "").rows)

    assert facts["Server"] == (
        "The endpoint 'manager' is not a URL. "
        "Write it as https://manager.example.com (BACKEND_ENDPOINT)."
    )


def test_it_names_the_configured_server_and_hides_the_keys(shell, monkeypatch):
    monkeypatch.setenv("BACKEND_ENDPOINT", "https://manager.example.com")
    monkeypatch.setenv("BACKEND_ACCESS_KEY", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("BACKEND_SECRET_KEY", "not-to-be-seen")

    shown = repr(shell.run_line_magic("bai", ""))

    assert "https://manager.example.com" in shown
    assert "AKIAIOSFODNN7EXAMPLE" not in shown
    assert "not-to-be-seen" not in shown
