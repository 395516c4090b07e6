"""Every verb of ``%bai`` with every option, on the embedded manager: a table, row after row.

The rows share two sessions, so they are in order: a row may use what one before it has made.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from backendai_kernel.errors import (
    APIError,
    BackendError,
    ConfigError,
    Conflict,
    NotFound,
    QuotaExceeded,
    RunFailed,
)
from backendai_kernel.model import SessionStatus
from backendai_kernel.tables import Facts, Table, Text
from backendai_magics.tree import ALIASES, VERBS
from backendai_magics.words import split

from .conftest import Cell, Notebook

Check = Callable[[Cell], object]


@dataclass(frozen=True)
class Row:
    """One line and what must be true of it; or the error that it must raise, and words of it."""

    line: str
    check: Check = lambda cell: True
    error: type[BackendError] | None = None
    says: str = ""


def names(cell: Cell) -> list[str]:
    assert isinstance(cell.value, Table)
    return [session.name for session in cell.value]


def fails(line: str, error: type[BackendError], says: str) -> Row:
    return Row(line, error=error, says=says)


def shows(text: str) -> Check:
    return lambda cell: text in cell.out


def has(text: str) -> Check:
    """The value shows the text, in both of its forms."""
    return lambda cell: text in repr(cell.value) and text in _plain(cell.value._repr_html_())


def _plain(html: str) -> str:
    import html as entities

    return entities.unescape(re.sub(r"<[^>]*>", " ", html))


BIG = bytes(range(256)) * 10_000  # more than goes up in one piece

FILES = {
    "own.pub": "ssh-ed25519 "
    "AAAAC3NzaC1lZDI1NTE5AAAAILM8EEd2p3REiQ+QsjZTLVIzJKFz/pzmwpiKKs3R1AZX me@home\n",
    "private": "-----BEGIN OPENSSH PRIVATE KEY-----\n",
    "main.py": "import sys\nprint('main', sys.argv[1:])\n",
    "ask.py": "print('hello', input('name? '))\n",
    "pkg/deep/data.txt": "deep\n",
    "pkg/__pycache__/x.pyc": "no",
    "a file.txt": "spaced\n",
    "empty.txt": "",
    "boot.sh": "echo booted > $HOME/boot.txt\n",
    "Makefile": "all:\n\techo made > made.txt\n",
}

SSH = [
    Row(
        "ssh ported", lambda c: c.value["line"] in ("backendai-kernel ssh ported", "ssh bai-ported")
    ),
    Row(
        "ssh ported --config sshconfig",
        lambda c: (
            c.value["line"] == "ssh bai-ported"
            and c.value["fingerprint"].startswith("SHA256:")
            and c.value["host_fingerprint"].startswith("SHA256:")
            and "PRIVATE" not in repr(c.value) + c.value._repr_html_() + c.out + c.err
        ),
    ),
]
"""What needs OpenSSH."""

ROWS = [
    # -- start
    Row(
        "start python -t work -r cpu=1 -r mem=512m --tag mine -e GREETING=hi",
        lambda c: (c.value["status"], c.value["session"]) == ("RUNNING", "work"),
    ),
    Row("start python -t work", lambda c: c.value["session"] == "work"),
    fails("start python -t work --no-reuse", Conflict, "leave out `--no-reuse`"),
    fails("start nosuch -t nope", NotFound, "There is no image 'nosuch'"),
    fails("start pyton -t nope", NotFound, "Did you mean python"),
    fails("start python -t x", ConfigError, "is no name for a session"),
    fails("start python -t nope -r gpu=x", ConfigError, "not a number"),
    fails("start python -t nope -r tpu=1", ConfigError, "no resource named 'tpu'"),
    fails("start python -t nope -e BAD", ConfigError, "no KEY=VALUE"),
    fails("start python -t nope -m nofolder:/mnt", NotFound, "nofolder"),
    fails("start python -t nope --group nobody", APIError, "nobody"),
    fails("start python -t nope --domain elsewhere", APIError, "elsewhere"),
    fails("start python -t nope --scaling-group none", NotFound, "none"),
    fails("start python -t nope --arch riscv", NotFound, "image"),
    fails("start python -t nope --cluster-size 0", ConfigError, "no number of containers"),
    fails(
        "start python -t nope --cluster-size 2 --cluster-mode single-node",
        APIError,
        "one container",
    ),
    fails("start python -t nope --preopen 80", ConfigError, "no port"),
    fails("start python -t nope --bootstrap-script missing.sh", ConfigError, "cannot be read"),
    fails("start python -t nope -r mem=8m", APIError, "smaller than the image minimum"),
    fails("start python --resource-opts shmem=4x", ConfigError, "is not a size"),
    fails("start python -t nope --max-wait -1", ConfigError, "no time to wait"),
    Row(
        "create python -t ported --preopen 12345,12346 --bootstrap-script boot.sh "
        "--resource-opts shmem=128m -r gpu=0.5 --project default --domain default "
        "--sgroup default --arch x86_64",
        lambda c: c.value["apps"][-2:] == ["12345", "12346"],  # sshd may be before them
    ),
    Row(
        "%%bai run --session ported\nprint(open('boot.txt').read(), open('/proc/self/cwd/boot.txt'))",
        shows("booted"),
    ),
    Row(
        "start python -t queued --enqueue-only -r cpu=8",
        lambda c: c.value["status"] == "PENDING" and "%bai events queued" in repr(c.value),
    ),
    Row(
        "start python -t queued2 --max-wait 0.3 -r cpu=8",
        lambda c: c.value["status"] == "PENDING" and "queued" in c.out,
    ),
    # -- ps
    Row("ps", lambda c: names(c) == ["queued2", "queued", "ported", "work"]),
    Row("ps --running", lambda c: names(c) == ["ported", "work"]),
    Row("ps --dead", lambda c: names(c) == []),
    Row("ps --all", lambda c: len(c.value) == 4),
    Row("ps --limit 1", lambda c: "The first 1 of 4" in repr(c.value)),
    Row("ps --limit 2 --offset 1", lambda c: names(c) == ["queued", "ported"]),
    Row("ps -s PENDING", lambda c: names(c) == ["queued2", "queued"]),
    Row("ps --status=running,pending --order name", lambda c: names(c)[0] == "ported"),
    Row("ps -s ALL", lambda c: len(c.value) == 4),
    Row("ps --filter 'name ilike \"wor%\"'", lambda c: names(c) == ["work"]),
    Row("ps --order=-name --limit 1", lambda c: names(c) == ["work"]),
    Row("ps --detail", lambda c: "TAG" in repr(c.value) and "mine" in repr(c.value)),
    Row("ps --name-only", lambda c: repr(c.value).split()[:2] == ["NAME", "queued2"]),
    Row("ps -f name,tag", lambda c: "STATUS" not in repr(c.value) and "mine" in repr(c.value)),
    Row("ps --access-key KEY", lambda c: names(c) == []),
    Row("ps --access-key *", lambda c: len(c.value) == 4),
    Row("admin sessions", lambda c: len(c.value) == 4),
    Row("session list", lambda c: len(c.value) == 4),
    fails("ps -f nothing", ConfigError, "no column 'nothing'"),
    fails("ps -s RUN-NING", ConfigError, "no status"),
    fails("ps -s RESIZING", APIError, "RESIZING"),
    fails("ps --limit -1", ConfigError, "less than nothing"),
    fails("ps --limit 0", ConfigError, "lists nothing"),
    fails("ps -s FROB", APIError, "does not understand the status FROB"),
    fails("ps --order frob", APIError, "does not understand the order 'frob'"),
    fails("ps --filter 'name ilike \"nb'", APIError, "does not understand the filter"),
    fails("ps --limit x", ConfigError, "invalid int value"),
    fails("ps --running --dead", ConfigError, "not allowed with"),
    fails("ps --filter name", APIError, "parsing error"),
    # -- info and others that only look
    Row("info work", has("mine")),
    Row("info work", lambda c: c.value.to_dict()["status"] == "RUNNING"),
    fails("info wrok", NotFound, "Did you mean work?"),
    fails("info 00000000-0000-0000-0000-000000000000", NotFound, "no session with the id"),
    Row("info work --owner {key}", has("mine")),
    Row("images", has("python")),
    Row("images PYTH*", lambda c: len(c.value) == 1),
    Row("images *python*", lambda c: len(c.value) == 1),
    Row("images nothing", has("No image has 'nothing'")),
    Row(
        "resources", lambda c: c.value["cuda.shares"].used == c.value[2].used and len(c.value) == 3
    ),
    Row("resources --project default", has("cuda.shares")),
    fails("resources -g nobody", NotFound, "Name a project that you belong to."),
    Row("panel", lambda c: "work" in repr(c.value) and "RESOURCE" in repr(c.value)),
    Row("panel resources", lambda c: "<table" in c.value._repr_html_()),
    fails("panel sesions", ConfigError, "invalid choice"),
    *([] if find_spec("sidecar") else [fails("panel --sidecar", ConfigError, "no sidecar")]),
    Row("config", lambda c: c.value["manager"] == "26.4.16" and "{secret}" not in repr(c.value)),
    Row("doctor", lambda c: isinstance(c.value, Facts) and "keypair" in repr(c.value).lower()),
    Row("help", has("%bai VERB")),
    Row("help rm", has("--forced")),
    Row("-h", has("%bai VERB")),
    Row("run -h", has("--max-wait")),
    fails("help nothing", ConfigError, "no verb 'nothing'"),
    # -- apps
    Row(
        "apps ported",
        lambda c: [(p.name, p.protocol) for p in c.value][-1] == ("12346", "preopen"),
    ),
    Row("apps ported", has("12345")),
    Row("apps", has("No app is open at a port of this computer.")),
    fails("apps nosuch", NotFound, "no session 'nosuch'"),
    fails("apps queued", ConfigError, "does not run"),
    fails("app ported 1234", NotFound, "It has "),
    fails("app ported 1234", NotFound, "Did you mean 1234"),
    fails("app ported", ConfigError, "APP is missing"),
    fails("app", ConfigError, "SESSION and APP are missing"),
    fails("app ported 12345 -b here", ConfigError, "no port to listen on"),
    fails("app ported 12345 --arg port", ConfigError, "no argument of an app"),
    fails("app ported 12345 -e A", ConfigError, "no environment variable"),
    Row(
        "app ported 12345 -b 127.0.0.1:0",
        lambda c: (
            re.fullmatch(r"http://127\.0\.0\.1:\d+", c.value["link"])
            and f'href="{c.value["url"]}"' in c.value._repr_html_()
        ),
    ),
    Row("app ported 12345 --bind 0", lambda c: c.value["app"] == "12345"),
    Row("app ported 12346 --arg=--depth=2 --env A=b --bind=0.0.0.0:0", has("Everybody")),
    Row("apps", lambda c: [each.app for each in c.value][-1] == "12346" and len(c.value) == 2),
    Row("apps ported", has("http://127.0.0.1:")),
    fails("app --stop nosuch", ConfigError, "is not open at any port"),
    Row("app --stop ported 12346", lambda c: len(c.value["closed"]) == 1),
    Row("app --stop", lambda c: len(c.value["closed"]) == 1),
    Row("app --stop", has("Nothing was open")),
    # -- ssh
    *(SSH if find_spec("asyncssh") and shutil.which("ssh") else []),
    fails("ssh nosuch", NotFound, "no session 'nosuch'"),
    fails("ssh queued", ConfigError, "does not run"),
    fails("ssh-key use none.pub", ConfigError, "cannot be read"),
    fails("ssh-key use private", ConfigError, "is a private key"),
    Row("ssh-key use own.pub", has("is there now")),
    Row(
        "ssh-key use own.pub", lambda c: not c.value["is_new"] and len(c.value["fingerprints"]) == 1
    ),
    fails("ssh-key forget own.pub", ConfigError, "invalid choice"),
    # -- run: code
    Row(
        "run python -t work -c 'import os; print(os.environ[\"GREETING\"] * 2)'",
        lambda c: "hihi\n" in c.out and c.value.exit_code == 0 and c.value.session == "work",
    ),
    Row(
        "run python --name once -c 'print({{1: \"$HOME\"}})' --rm -r cpu=1",
        lambda c: "{1: '$HOME'}\n" in c.out and c.value.outcome.is_removed,
    ),
    Row("%%bai run --session work\nx = [1, 2.5, ('t', None)]\n6 * 7", shows("42")),
    Row("%%bai run --session work -o x -o y\ny = {{'k': b'v'}}", lambda c: True),
    fails("%%bai run --session work\n1/0", RunFailed, "ZeroDivisionError: division by zero"),
    fails("%%bai run --session work\nimport sys; sys.exit(3)", RunFailed, "3"),
    fails("%%bai run --session work -o nothing\n0", NotFound, "no variable 'nothing'"),
    fails("%%bai run --session work -o f\nf = open", ConfigError, "cannot be brought back"),
    fails("%%bai run --session work -o 1x\n0", ConfigError, "no name of a variable"),
    fails("%%bai run --session work -c 1\n0", ConfigError, "not from -c as well"),
    fails("%%bai run --session nosuch\n0", NotFound, "no session 'nosuch'"),
    fails("%%bai run --session queued\n0", ConfigError, "does not run"),
    fails("%%bai ps\n0", ConfigError, "no cell form"),
    fails("%%bai\n0", ConfigError, "needs a verb"),
    fails("run", ConfigError, "IMAGE is missing"),
    fails("run python", ConfigError, "nothing to run"),
    fails("run python -c 1 --exec ls", ConfigError, "Choose one"),
    fails("run python main.py --terminal", ConfigError, "a notebook's cell is no terminal"),
    fails("run python ask.py", ConfigError, "Nothing says what to execute"),
    fails("run python missing.py", ConfigError, "There is no file 'missing.py'"),
    fails("run python ../outside", ConfigError, "outside"),
    fails("run python main.py -o x", ConfigError, "there is none"),
    # -- run: programs
    Row(
        "run --session work main.py pkg 'a file.txt' empty.txt --exec "
        "'python main.py $((1+1)); cat pkg/deep/data.txt \"a file.txt\"; ls -A pkg; ls empty.txt'",
        lambda c: (
            "main ['2']\n" in c.out
            and "deep\nspaced\ndeep\nempty.txt\n" in c.out
            and "Uploaded 4 files" in c.out
        ),
    ),
    Row("run --session work main.py", shows("main []")),
    Row(
        "run --session work Makefile --clean 'echo cleaned' --build 'make -s' --exec 'cat made.txt'",
        lambda c: (
            re.search("cleaned.*made", c.out, re.DOTALL)
            and dict(c.value.outcome.phases) == {"clean": 0, "build": 0, "execute": 0}
        ),
    ),
    fails("run --session work --exec 'echo no; exit 6'", RunFailed, "exit code 6"),
    fails(
        "run --session work --build 'exit 3' --exec ls", RunFailed, "build failed with exit code 3"
    ),
    Row("run --session work --exec 'echo still there'", shows("still there")),
    Row(
        "run --session work pkg/deep/data.txt --basedir pkg --exec 'cat deep/data.txt'",
        shows("deep"),
    ),
    Row(
        "run --session work big.bin --exec 'sha256sum < big.bin'",
        shows(hashlib.sha256(BIG).hexdigest()),
    ),
    Row(
        "run python -t waits --max-wait 0.3 -r cpu=8 -c 'print(1)'",
        lambda c: (
            c.value.to_dict()["status"] == "PENDING"
            and "print" not in c.out
            and "nothing was executed" in repr(c.value)
        ),
    ),
    Row(
        "run python -t asked --enqueue-only -c 'print(1)'",
        lambda c: c.value.to_dict()["status"] == "PENDING",
    ),
    fails("run python -t nope -r mem=400g -c 1", QuotaExceeded, "can never start"),
    # -- the rest of life
    Row("logs work --owner {key}", lambda c: isinstance(c.value, Text) and c.out == ""),
    fails("logs queued", NotFound, "has no log"),
    Row("interrupt work --owner {key}", has("was sent an interrupt")),
    fails("interrupt queued", APIError, "does not run"),
    Row("restart work --owner {key}", has("fresh interpreter")),
    fails("%%bai run --session work\nx", RunFailed, "NameError"),
    Row("rename work working --owner {key}", has("is now named working")),
    fails("rename working x", ConfigError, "no name for a session"),
    fails("rename queued other", APIError, "does not run"),
    fails("rename working ported", BackendError, "ported"),
    Row("info working --access-key {key}", has("working")),
    Row("events working", shows("session_running")),
    fails("events", ConfigError, "SESSION is missing"),
    fails("events nosuch --owner {key}", NotFound, "nosuch"),
    fails("attach working", ConfigError, "needs the kernel Backend.AI Python"),
    fails("detach", ConfigError, "needs the kernel Backend.AI Python"),
    fails("login --type session --access-key K", ConfigError, "belongs to"),
    # -- ends
    Row(
        "rm queued queued2 waits",
        lambda c: (
            {e.name: e.outcome for e in c.value}
            == {"queued": "cancelled", "queued2": "cancelled", "waits": "cancelled"}
        ),
    ),
    fails("rm ported nosuch", BackendError, "The others are done: ported (ended)"),
    fails("rm nosuch", NotFound, "no session 'nosuch'"),
    Row("rm -f working asked --owner {key}", lambda c: len(c.value) == 2),
    Row("events working --all", shows("session_terminated")),
    Row("logs -f working", lambda c: c.value is None),
    Row("ps --dead --limit 20", lambda c: {"queued", "waits", "once"} <= set(names(c))),
    fails("rename working other", NotFound, "has ended"),
    fails("keepalive --for 8h", ConfigError, "needs the kernel Backend.AI Python"),
    fails("keepalive --off", ConfigError, "needs the kernel Backend.AI Python"),
    fails("retry -r mem=4g --no-run", ConfigError, "needs the kernel Backend.AI Python"),
    fails("replay 3", ConfigError, "needs the kernel Backend.AI Python"),
    # -- what was left behind: here nothing was, `tests/test_orphans.py` has the rest
    Row("gc", has("Nothing was left behind.")),
    Row("gc --dry-run --all", has("Nothing was left behind.")),
    fails("gc ported", ConfigError, "no place for 'ported'"),
    # -- mistakes
    fails("pss", ConfigError, "Did you mean ps?"),
    fails("ps --runing", ConfigError, "Did you mean --running?"),
    fails("run python --cpu 3", ConfigError, "`%bai run -h` lists its options."),
    fails("ps extra", ConfigError, "no place for 'extra'"),
    fails("info", ConfigError, "SESSION is missing"),
    fails("ps 'open", ConfigError, "not closed"),
    fails("session lst", ConfigError, "Did you mean list?"),
    fails("session", ConfigError, "a word is missing"),
]


@pytest.fixture(scope="module")
def words(folder: Path, manager: Any) -> dict[str, str]:
    """What stands in braces in the table, and the files that it names."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder.parent / "outside").write_text("")
    (folder / "big.bin").write_bytes(BIG)
    return {"key": manager.access_key, "secret": manager.secret_key}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.line.replace("\n", " ")[:60])
def test_row(row: Row, notebook: Notebook, words: dict[str, str]) -> None:
    line = re.sub(r"\{(key|secret)\}", lambda m: words[m[1]], row.line)
    line = line.replace("{{", "{").replace("}}", "}")
    cell = notebook.run(line if line.startswith("%") else f"%bai {line}")
    if row.error is None:
        if cell.error is not None:
            raise cell.error
        assert row.check(cell), cell
    else:
        assert isinstance(cell.error, row.error), cell
        assert row.says in str(cell.error)
        assert "Traceback" not in cell.out or isinstance(cell.error, RunFailed)
        assert "magics.py" not in cell.out + cell.err  # no frame of ours


def test_values_came_back(notebook: Notebook) -> None:
    assert notebook.shell.user_ns["x"] == [1, 2.5, ("t", None)]
    assert notebook.shell.user_ns["y"] == {"k": b"v"}


def test_the_table_has_every_verb_and_every_option() -> None:
    from .test_files import FILE_ROWS

    used: dict[str, set[str]] = {name: set() for name in VERBS}
    for row in [*ROWS, *FILE_ROWS]:
        line = row.line.partition("\n")[0].removeprefix("%%bai").strip()
        if line.count("'") % 2 or not line:
            continue  # a row about what no shell could read
        first, *rest = split(line)
        name = {"session": "ps", "admin": "ps", "-h": "help"}.get(first, ALIASES.get(first, first))
        if name in used:
            used[name] |= {word.partition("=")[0] for word in rest if word.startswith("-")} | {""}
    missing = {}
    for name, verb in VERBS.items():
        for action in verb.parser().actions:
            spellings = set(action.option_strings) - {"-h", "--help"}
            shared = name == "run" and any(
                spellings & set(a.option_strings) for a in VERBS["start"].parser().actions
            )
            where = used[name] | (used["start"] if shared else set())
            if spellings and not spellings & where:
                missing.setdefault(name, []).append(sorted(spellings))
    # What needs somebody to answer has tests of its own.
    login = missing.pop("login", [])
    assert [found for found in login if found[0] not in LOGIN_ELSEWHERE] == []
    assert missing == {}
    assert [name for name, words in used.items() if not words] == []


LOGIN_ELSEWHERE = ("--endpoint", "--username", "--domain", "--group")


def test_every_status_can_be_asked_for_by_name() -> None:
    for status in SessionStatus:
        assert re.fullmatch("[A-Z_]+", status.value)
