"""From settings to an open client, and to this computer's own manager where nothing is set."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from backendai_kernel.config import LOCAL
from backendai_kernel.connect import open_client
from backendai_kernel.errors import ConfigError
from backendai_kernel.protocol import calls


@pytest.fixture
def environ(tmp_path):
    """Settings that name folders and no endpoint."""
    return {
        "BACKENDAI_KERNEL_STATE": str(tmp_path / "state"),
        "BACKENDAI_KERNEL_CONFIG": str(tmp_path / "config"),
    }


async def test_settings_that_name_a_server_are_used_as_they_are(manager, environ):
    notes = []
    client = await open_client(
        environ
        | {
            "BACKEND_ENDPOINT": manager.url,
            "BACKEND_ACCESS_KEY": manager.access_key,
            "BACKEND_SECRET_KEY": manager.secret_key,
        },
        on_note=notes.append,
    )
    try:
        known = await client.send(calls.get_keypair())
    finally:
        await client.__aexit__(None, None, None)

    assert known.access_key == manager.access_key
    assert not client.config.is_local
    assert notes == []


async def test_a_manager_of_ones_own_is_started_once_and_told_of(environ, tmp_path):
    notes = []
    clients = []
    for _ in range(2):
        client = await open_client(environ, on_note=notes.append)
        clients.append(client)
        await client.__aexit__(None, None, None)
    serving = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path / "state" / "local") in (process.info["cmdline"] or [])
    ]
    for process in serving:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(30)

    assert notes == ["No Backend.AI endpoint is configured: starting a manager on this computer."]
    assert len(serving) == 1
    assert clients[0].config.endpoint == clients[1].config.endpoint
    assert clients[0].config.endpoint_type == LOCAL
    assert "secret" not in repr(clients[0].config).replace("secret_key", "")
    assert clients[0].config.secret_key not in repr(clients[0].config)


async def test_a_manager_that_cannot_be_started_is_told_with_the_next_step(environ, tmp_path):
    (tmp_path / "state").write_text("a file where a folder should be")

    with pytest.raises(ConfigError, match="could not be started") as caught:
        await open_client(environ)
    assert "backendai-kernel serve" in caught.value.hint
    assert "BACKEND_ENDPOINT" in caught.value.hint


async def test_half_a_keypair_is_refused_before_anything_is_sent(manager, environ):
    with pytest.raises(ConfigError):
        await open_client(environ | {"BACKEND_ENDPOINT": manager.url, "BACKEND_ACCESS_KEY": "AKIA"})
    assert not manager.requests
