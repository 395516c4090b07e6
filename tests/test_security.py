"""Promises of docs/security.md that are about all of it, and the page's own honesty."""

from __future__ import annotations

import ast
import json
import os
import re
import stat
from pathlib import Path

import aiohttp
import psutil
import pytest

from backendai_kernel.local.auth import new_keypair
from backendai_kernel.local.manager import LocalManager
from tests.conftest import ROOMY
from tests.signed import Signed

from .proxy.frontend import environment_for, open_notebook

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")

OPEN = {("GET", "/"), ("GET", "/func/")}
"""What anybody may ask of the embedded manager: which version it is."""


def test_every_test_that_the_page_names_is_there():
    named = NAMED.findall(PAGE.read_text("utf-8"))
    missing = []
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        there = {getattr(node, "name", "") for node in tree.body}
        if name not in there:
            missing.append(f"{path}::{name}")

    assert len(named) > 25
    assert missing == []


def test_every_promise_of_the_page_has_a_test():
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise", "| ---"))]

    assert promises
    assert [row for row in promises if not NAMED.search(row)] == []


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("k")


CELLS = [
    "import os; print(dict(os.environ))",
    "1/0",
    "%bai",
    "%bai config",
    "%bai doctor",
    "%bai ps --detail",
    "%bai info nosuch",
    "%bai gc --dry-run",
    "%bai keepalive",
    "%bai retry",
    "x = %bai config\n%local print(repr(x), x.to_dict())",
    "%local print(get_ipython().kernel._lane.client.config)",
    "%bai logs -f nosuch",
]


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_socket()]


async def test_the_secret_key_is_in_no_output_file_log_or_command_line(manager, folder):
    environ = environment_for(manager, folder)
    async with open_notebook(folder, environ) as notebook:
        cells = [await notebook.run(code) for code in CELLS]
        record = next(iter(manager.registry.alive()))
        manager.end(record, "idle-timeout")
        await record.over.wait()
        cells.append(await notebook.run("x"))
        manager.faults.status(500, method="POST", path="/session")
        cells.append(await notebook.run("x"))
        words = [
            word
            for process in [notebook.process, *notebook.process.children(recursive=True)]
            for word in process.cmdline()
        ]
        shown = json.dumps([[c.messages, c.reply, c.questions] for c in cells], default=str)
        kept = {path: path.read_bytes() for path in files_below(folder)}
    kept |= {path: path.read_bytes() for path in files_below(folder)}
    secret = manager.secret_key

    assert secret not in shown
    assert manager.access_key[:8] in shown  # what was looked through is the right thing
    assert [path for path, data in kept.items() if secret.encode() in data] == []
    assert any("leases" in str(path) for path in kept) and any("log" in str(p) for p in kept)
    assert not any(secret in word for word in words)


async def test_what_is_kept_between_runs_is_for_its_owner_alone(manager, folder):
    mask = os.umask(0)  # as careless as can be: the modes must be ours
    try:
        async with open_notebook(folder, environment_for(manager, folder)) as notebook:
            await notebook.run("1")
            state = folder / "state"
            below = [state, *(path for path in state.rglob("*") if not path.is_socket())]
            open_to_others = {
                str(path.relative_to(state)): oct(stat.S_IMODE(path.stat().st_mode))
                for path in below
                if stat.S_IMODE(path.stat().st_mode) & 0o077
            }
    finally:
        os.umask(mask)

    assert {path.name for path in below} >= {"state", "leases", "kept", "journal"}
    assert open_to_others == {}


async def test_the_embedded_manager_answers_nothing_without_a_signature(manager):
    routes = [
        (route.method, route.resource.canonical.replace("{session}", "x").replace("{folder}", "x"))
        for route in manager._runner.app.router.routes()
        if route.resource is not None and not route.resource.canonical.startswith("/server/")
    ]
    stranger = new_keypair()
    answers: dict[tuple[str, str], tuple[int, int]] = {}
    async with aiohttp.ClientSession() as http:
        forged = Signed(manager, http, stranger)
        for method, path in routes:
            if method == "HEAD":
                continue
            async with http.request(method, manager.url + path) as plain:
                status = plain.status
            signed = await forged(method, path)
            answers[method, path] = (status, signed.status)
    let_in = {asked for asked, statuses in answers.items() if min(statuses) < 400}

    assert len(answers) > 60
    assert let_in <= OPEN
    by_token = {asked: s for asked, s in answers.items() if asked[1].startswith("/storage/")}
    assert set(by_token.values()) <= {(400, 401)}  # as the storage proxy refuses: no such token
    others = answers.keys() - by_token.keys() - OPEN
    assert {answers[asked] for asked in others} == {(401, 401)}


async def test_the_embedded_manager_listens_on_this_computer_alone(tmp_path):
    async with LocalManager(tmp_path, slots=ROOMY) as manager:
        port = int(manager.url.rpartition(":")[2])
        found = {
            each.laddr.ip
            for each in psutil.Process().net_connections(kind="inet")
            if each.status == psutil.CONN_LISTEN and each.laddr.port == port
        }

    assert found == {"127.0.0.1"}
