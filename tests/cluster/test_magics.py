"""``%bai`` on a real cluster: the verbs of a session's life, and lists beside the official ones."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backendai_kernel.errors import NotFound, RunFailed
from tests.magics.conftest import Notebook, settings

pytestmark = pytest.mark.cluster

PREFIX = f"m{secrets.token_hex(3)}"
NAMES = ("ENDPOINT", "ENDPOINT_TYPE", "ACCESS_KEY", "SECRET_KEY", "DOMAIN", "GROUP")


def given() -> dict[str, str]:
    """Return the settings of the cluster, read before a test hides them."""
    found = {f"BACKEND_{name}": os.environ.get(f"BACKEND_{name}", "") for name in NAMES}
    if not found["BACKEND_ENDPOINT"]:
        pytest.skip("BACKEND_ENDPOINT names no cluster")
    return {name: value for name, value in found.items() if value}


def of_user(file: str) -> dict[str, str]:
    """Return the settings of another user, from the file beside the cluster's ``env.sh``."""
    path = Path(os.environ.get("REALBAI_HOME", "/nowhere")) / file
    if not path.exists():
        pytest.skip(f"there is no {file} beside the cluster's settings")
    lines = re.findall(r"^export (BACKEND_\w+)=(\S+)$", path.read_text(), re.MULTILINE)
    return given() | dict(lines)


@contextmanager
def notebook_of(environ: dict[str, str], folder: Path) -> Iterator[Notebook]:
    """A notebook on the cluster that ends what it has left there."""
    with settings(folder) as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        notebook = Notebook()
        try:
            yield notebook
        finally:
            left = notebook(f"%bai ps --limit 100 --filter 'name ilike \"{PREFIX}%\"'").value
            if len(left):
                notebook.run(f"%bai rm --forced {' '.join(s.id for s in left)}")
            notebook.close()


_PAGE = 100  # as JSON the official command gives one page only
_PS = ("ps", "-f", "name,session_id,status", "--limit", str(_PAGE))


class Official:
    """The official command line as one user."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        self._executable = os.environ.get("REALBAI_CLI") or os.environ.get("BACKENDAI_CLI", "")
        if not self._executable:
            pytest.skip("neither REALBAI_CLI nor BACKENDAI_CLI names the official executable")
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
        } | environ

    def ps(self, *words: str) -> list[tuple[str, str, str]]:
        """Return name, id and status of our own sessions, in the order of the list."""
        done = subprocess.run(
            [self._executable, "--output", "json", *_PS, *words],
            env=self._environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        items = json.loads(done.stdout)["items"]
        found = [(each["name"], each["session_id"], each["status"]) for each in items]
        return [each for each in found if each[0].startswith(PREFIX)]


def listed(notebook: Notebook, words: str) -> list[tuple[str, str, str]]:
    sessions = notebook(f"%bai ps {words}").value
    found = [(session.name, session.id, session.status_name) for session in sessions[:_PAGE]]
    return [each for each in found if each[0].startswith(PREFIX)]


Rows = list[tuple[str, str, str]]


def both(ours: Callable[[], Rows], theirs: Callable[[], Rows]) -> tuple[Rows, Rows]:
    """Return two lists of one moment: the queue of a cluster moves, there and back, all the time."""
    for _ in range(10):
        before, official, after = ours(), theirs(), ours()
        if official in (before, after):
            return official, official
    return before, official


def test_the_life_of_a_session(tmp_path):
    name = f"{PREFIX}-life"
    (tmp_path / "main.py").write_text("import sys\nprint('main', sys.argv[1:], input('who? '))\n")
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "big.bin").write_bytes(bytes(1_500_000))
    with notebook_of(given(), tmp_path) as notebook:
        started = notebook(f"%bai start python -t {name} -r cpu=1 --tag {PREFIX} -e A=b").value
        info = notebook(f"%bai info {name}").value
        ran = notebook(
            f"%%bai run --session {name} -o x -o frame\nimport os\nx = [os.environ['A'], (1, 2.5)]\n"
            "frame = {'a': b'b'}\nfrom IPython.display import HTML\nHTML('<b>rich</b>')"
        )
        failed = notebook.run(f"%%bai run --session {name}\n1/0")
        shell = notebook.shell
        shell.user_ns["input"] = lambda prompt="": "me"
        import builtins

        kept, builtins.input = builtins.input, lambda prompt="": "me"
        try:
            program = notebook(
                f"%bai run --session {name} main.py pkg --clean true --build 'echo built' "
                "--exec 'wc -c < pkg/big.bin; python3 main.py a'"
            )
        finally:
            builtins.input = kept
        wrong = notebook.run(f"%bai run --session {name} --exec 'exit 6'")
        unbuilt = notebook.run(f"%bai run --session {name} --build 'exit 3'")
        still = notebook(f"%bai run --session {name} -c 'print(x[0])'")
        events = notebook(f"%bai events {name}")
        logs = notebook(f"%bai logs {name}").value
        notebook(f"%bai interrupt {name}")
        notebook(f"%bai rename {name} {name}-2")
        notebook(f"%bai restart {name}-2")
        fresh = notebook.run(f"%%bai run --session {name}-2\nx")
        ended = notebook(f"%bai rm {name}-2").value
        end = notebook(f"%bai events {info['id']} --all")
        late = notebook(f"%bai logs {info['id']}").value
        gone = notebook.run(f"%bai rename {name}-2 other")
        queued = notebook(f"%bai start python -t {name}-q -r cpu=1 --enqueue-only").value
        cancelled = notebook(f"%bai rm {name}-q").value

    assert (started["status"], info["tag"], info["group_name"]) == ("RUNNING", PREFIX, "default")
    assert shell.user_ns["x"] == ["b", (1, 2.5)] and shell.user_ns["frame"] == {"a": b"b"}
    assert "<IPython.core.display.HTML object>" in ran.out
    assert isinstance(failed.error, RunFailed) and "ZeroDivisionError" in str(failed.error)
    assert "1500000" in program.out and "main ['a'] me" in program.out and "built" in program.out
    assert dict(program.value.outcome.phases) == {"clean": 0, "build": 0, "execute": 0}
    assert wrong.error.exit_code == 6
    assert "build failed with exit code 3" in str(unbuilt.error)
    assert still.out == "b\n"
    assert "session_running" in events.out
    assert "Kernel started" in str(logs) and "Kernel started" in str(late)
    assert "NameError" in str(fresh.error)
    assert ended[0].outcome == "ended"
    assert "session_terminated" in end.out.splitlines()[-1]
    assert isinstance(gone.error, NotFound)
    assert queued["status"] in ("PENDING", "SCHEDULED")
    assert cancelled[0].outcome in ("cancelled", "ended")


def test_the_same_sessions_as_the_official_command_under_every_filter(tmp_path):
    """25 sessions of a plain user, queued and cancelled, seen by him and by an administrator."""
    user, administrator = of_user("env-user.sh"), given()
    official, everybodys = Official(user, tmp_path), Official(administrator, tmp_path)
    key = user["BACKEND_ACCESS_KEY"]
    with notebook_of(user, tmp_path) as own:
        for number in range(25):  # more CPUs than there are: they stay in the queue
            own(f"%bai start python -t {PREFIX}-{number:02} -r cpu=64 --enqueue-only")
        seen = {
            "first": both(lambda: listed(own, ""), lambda: official.ps()[:10]),
            "live": both(lambda: listed(own, "--limit 100"), official.ps),
            "running": both(
                lambda: listed(own, "--running --all"), lambda: official.ps("--running")
            ),
        }
        for number in range(0, 25, 5):
            own(f"%bai rm --forced {PREFIX}-{number:02}")
        seen["dead"] = both(lambda: listed(own, "--dead --all"), lambda: official.ps("--dead"))
        seen["all"] = both(lambda: listed(own, "--all"), lambda: official.ps("--all"))
        seen["status"] = both(
            lambda: listed(own, "-s PENDING --limit 30"), lambda: official.ps("-s", "PENDING")
        )
        seen["order"] = both(
            lambda: listed(own, "--order name --limit 30"), lambda: official.ps("--order", "name")
        )
        wanted = f'name like "{PREFIX}-1%"'
        seen["filter"] = both(
            lambda: listed(own, f"--filter '{wanted}' --limit 30"),
            lambda: official.ps("--filter", wanted),
        )
        with notebook_of(administrator, tmp_path) as admin:
            seen["admin"] = both(
                lambda: listed(admin, f"--access-key {key} --limit 100"),
                lambda: everybodys.ps("--access-key", key),
            )
            seen["everybody's"] = both(
                lambda: listed(admin, "--access-key * --all"), lambda: everybodys.ps("--all")
            )
            mine = listed(admin, "--all")
            admin(f"%bai rm --forced --owner {key} {PREFIX}-01")
            info = admin(f"%bai info --owner {key} {PREFIX}-02").value

    assert len(seen["all"][0]) == 25 and len(seen["dead"][0]) == 5
    assert 0 < len(seen["live"][0]) <= 25  # the queue sets some aside for a moment
    assert {row[1] for row in mine}.isdisjoint(row[1] for row in seen["all"][0])
    assert info["access_key"] == key
    assert "CANCELLED" in {status for _, _, status in seen["all"][0]}
    assert {name: pair for name, pair in seen.items() if pair[0] != pair[1]} == {}
