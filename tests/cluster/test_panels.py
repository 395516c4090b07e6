"""A panel's sessions on a real cluster, without a page."""

from __future__ import annotations

import secrets
import time

import pytest

from backendai_kernel.expiry import ask_deadlines
from backendai_magics.connection import Connection
from backendai_magics.panels.part_launcher import Launcher
from backendai_magics.panels.part_sessions import Sessions
from tests.magics.conftest import settings
from tests.magics.page import Page
from tests.magics.test_panels import listed, started

from .test_magics import given

pytestmark = pytest.mark.cluster


def test_a_session_comes_tells_what_it_uses_and_has_left_and_goes(tmp_path):
    name = f"panel-{secrets.token_hex(3)}"
    environ = given()
    with settings(tmp_path) as patch:
        for variable, value in environ.items():
            patch.setenv(variable, value)
        connection = Connection(None)
        page = Page(connection, Sessions, Launcher)
        page.do("hello", part="sessions")
        page.hears("sessions", "live", lambda live: live)
        session_id = started(page, name, resources={"cpu": 1, "mem": 512})
        try:
            page.until(lambda: listed(page).get(name, {}).get("status") == "RUNNING", "it runs")
            page.do("sessions.refresh")
            row = listed(page)[name]
            deadlines = connection.call(lambda client: ask_deadlines(client, session_id))
        finally:
            page.do("sessions.end", sessions=[session_id])
        page.until(lambda: name not in listed(page), "it is gone")
        page.do("bye")
        connection.close()

    assert row["asked"].startswith("1 CPU · ")
    if deadlines:  # a cluster without checks tells nothing, and so does the panel
        assert abs(row["idle"] - time.time() - deadlines[0].seconds) < 60
    else:
        assert row["idle"] == 0
