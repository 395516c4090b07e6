from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backendai_kernel import cli, specs
from backendai_kernel.cli_words import make_parser
from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.leases import Lease, Terms
from backendai_kernel.local.auth import KeyPair
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.start import Request, enqueue_session

ROOT = Path(__file__).parents[1]
PROGRAM = "import sys; from backendai_kernel.cli import main; sys.exit(main())"
LIMIT = 60  # seconds that no command takes, even on a busy computer


@dataclass(frozen=True)
class Result:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str


@dataclass
class CommandLine:
    """Runs ``backendai-kernel`` as its users do, in a home of its own."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def profile(self) -> Path:
        return self.home / "config" / "profile.toml"

    @property
    def cookie(self) -> Path:
        return self.home / "config" / "cookie.json"

    def _environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "utf-8",
            "JUPYTER_DATA_DIR": str(self.home / "jupyter"),
            "BACKENDAI_KERNEL_CONFIG": str(self.home / "config"),
            "BACKENDAI_KERNEL_STATE": str(self.home / "state"),
            **self.environ,
        }

    async def start(self, *words: str, **streams: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, *words), cwd=self.home, env=self._environ(), **streams
        )

    async def __call__(self, *words: str, stdin: str = "") -> Result:
        pipe = asyncio.subprocess.PIPE
        process = await self.start(*words, stdin=pipe, stdout=pipe, stderr=pipe)
        async with asyncio.timeout(LIMIT):
            out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    home = tmp_path / "home"
    home.mkdir()
    return CommandLine(home)


@pytest.fixture
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give Jupyter a place of its own in this process; return the user's kernels folder."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))
    monkeypatch.setattr("jupyter_core.paths.ENV_JUPYTER_PATH", [])
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_JUPYTER_PATH", [])
    return tmp_path / "user" / "kernels"


# -- the command line itself ------------------------------------------------------------------


async def test_help_names_every_command(command):
    result = await command("-h")

    assert result.status == 0
    for name in (*cli._COMMANDS, "serve"):
        assert re.search(rf"^ +{name}\b", result.out, re.MULTILINE), name


@pytest.mark.parametrize("name", [*cli._COMMANDS, "serve"])
def test_each_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "-h"])

    assert ended.value.code == 0
    assert f"backendai-kernel {name}" in capsys.readouterr().out


def test_no_command_shows_the_help_and_fails(capsys):
    status = cli.main([])

    assert status == 2
    assert "usage: backendai-kernel" in capsys.readouterr().out


def test_an_unknown_command_is_named_with_the_closest(capsys):
    status = cli.main(["instal"])

    assert status == 2
    assert capsys.readouterr().err == (
        "✗ There is no command 'instal'.\n  Did you mean 'install'?\n"
    )


def test_a_command_like_no_other_gets_the_list(capsys):
    cli.main(["xyzzy"])

    assert "The commands are install, list, uninstall, " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--secret-key", "s3cret"], ["--secret-key=s3cret"], ["--password", "s3cret"]]
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(words, capsys):
    status = cli.main(["login", "--endpoint", "http://127.0.0.1:1", *words])
    said = capsys.readouterr()

    assert status == 2
    assert "never part of a command line" in said.err
    assert "s3cret" not in said.out + said.err


def test_login_has_no_option_that_takes_a_secret():
    options = make_parser()._subparsers._group_actions[0].choices["login"]._actions
    taking = {o.dest for o in options if o.nargs != 0}

    assert taking == {"endpoint", "type", "access_key", "username", "domain", "group"}


@pytest.mark.parametrize(
    ("encoding", "text"), [("utf-8", "✓ ü"), ("latin-1", "ok ü"), ("ascii", "ok ?"), (None, "ok ?")]
)
def test_a_line_is_written_in_the_characters_that_the_terminal_has(encoding, text):
    assert cli._writable("✓ ü", encoding) == text


# -- install, list, uninstall -----------------------------------------------------------------


def test_install_list_and_uninstall(jupyter, capsys):
    statuses = [
        cli.main(["install", "-r", "gpu=0.5", "-r", "mem=4g", "--display-name", "Half a GPU"]),
        cli.main(["list"]),
        cli.main(["uninstall", "backendai-python-gpu0.5-mem4g"]),
        cli.main(["list"]),
    ]
    out = capsys.readouterr().out

    assert statuses == [0, 0, 0, 0]
    assert "✓ Installed 'Half a GPU' as backendai-python-gpu0.5-mem4g in " in out
    header, row = re.findall(r"^(?:NAME|backendai-).*$", out, re.MULTILINE)
    assert header.split() == ["NAME", "DISPLAY", "NAME", "IMAGE", "RESOURCES", "WHERE"]
    assert re.fullmatch(
        rf"backendai-python-gpu0\.5-mem4g  Half a GPU +python +gpu=0\.5 mem=4g +{jupyter}", row
    )
    assert "✓ Removed backendai-python-gpu0.5-mem4g from " in out
    assert out.endswith("Jupyter finds no kernels of ours.\nRun: backendai-kernel install\n")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("gpu", "'gpu' is not a resource."),
        ("mem=lots", "'lots' is not a size."),
        ("cpu=-1", "'cpu=-1' asks for nothing: the amount must be above zero."),
    ],
)
def test_a_malformed_resource_is_refused_at_once(word, sentence, jupyter, capsys):
    status = cli.main(["install", "-r", word])

    assert status == 1
    assert capsys.readouterr().err.startswith(f"✗ {sentence}\n")
    assert not jupyter.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--profile", "nope"], "There is no profile 'nope'.\n  The profiles are python and"),
        (["--profile", "pyton"], "There is no profile 'pyton'.\n  Did you mean 'python'? The"),
        (["--image", ""], "--image is empty."),
        (["--display-name", ""], "--display-name is empty."),
    ],
)
def test_a_kernel_that_cannot_be_meant_is_not_installed(words, sentence, jupyter, capsys):
    status = cli.main(["install", *words])

    assert status == 1
    assert capsys.readouterr().err.startswith(f"✗ {sentence}")
    assert not jupyter.exists()


def test_an_install_where_jupyter_does_not_look_says_what_to_set(jupyter, tmp_path, capsys):
    status = cli.main(["install", "--prefix", str(tmp_path / "env")])

    assert status == 0
    assert f"Set JUPYTER_PATH={tmp_path / 'env' / 'share' / 'jupyter'}" in capsys.readouterr().out
    assert specs.installed(prefix=tmp_path / "env")


def test_uninstall_says_what_it_left_alone(jupyter, capsys):
    foreign = jupyter / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text('{"argv": ["python"], "display_name": "Python 3"}')
    status = cli.main(["uninstall", "python3"])

    assert status == 1
    assert capsys.readouterr().err == "✗ Left python3 alone: not ours.\n"
    assert foreign.exists()


def test_uninstall_of_all(jupyter, capsys):
    cli.main(["install"])
    cli.main(["install", "--profile", "python-gpu"])
    status = cli.main(["uninstall", "--all"])

    assert status == 0
    assert list(jupyter.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["--all", "backendai-python"]])
def test_uninstall_wants_names_or_all(words, jupyter, capsys):
    status = cli.main(["uninstall", *words])

    assert status == 2
    assert "Name them, or use --all." in capsys.readouterr().err


# -- login and logout -------------------------------------------------------------------------


def secret_is_nowhere(result: Result, *secrets: str) -> bool:
    return not any(secret in result.out + result.err for secret in secrets)


async def test_a_login_with_a_keypair_is_tried_and_kept(command, manager: LocalManager):
    result = await command(
        *("login", "--endpoint", manager.url, "--access-key", manager.access_key),
        *("--group", "research", "--secret-from-stdin"),
        stdin=manager.secret_key + "\n",
    )

    assert result.status == 0, result.err
    who = f"local@localhost (administrator) on manager {manager.release.manager}"
    assert f"✓ You are {who}." in result.out
    assert "✓ Wrote ~/config/profile.toml, which only you can read." in result.out
    assert secret_is_nowhere(result, manager.secret_key)
    assert command.profile.stat().st_mode & 0o777 == 0o600
    config = Config.from_env({"BACKENDAI_KERNEL_CONFIG": str(command.profile.parent)})
    assert (config.endpoint, config.endpoint_type) == (manager.url, "api")
    assert (config.access_key, config.secret_key) == (manager.access_key, manager.secret_key)
    assert config.group == "research"


async def test_a_wrong_secret_is_told_and_nothing_is_written(command, manager: LocalManager):
    result = await command(
        *("login", "--endpoint", manager.url, "--access-key", manager.access_key),
        "--secret-from-stdin",
        stdin="wrong-secret\n",
    )

    assert result.status == 1
    assert result.err == (
        "✗ The server does not accept this keypair (HMAC signature mismatch).\n"
        "  Check what you typed; nothing was written.\n"
    )
    assert not command.profile.exists()


async def test_a_login_replaces_a_profile_that_cannot_be_read(command, manager: LocalManager):
    command.profile.parent.mkdir()
    command.profile.write_text("no toml")
    result = await command(
        *("login", "--endpoint", manager.url, "--access-key", manager.access_key),
        "--secret-from-stdin",
        stdin=manager.secret_key + "\n",
    )

    assert result.status == 0, result.err


async def test_a_login_warns_of_what_wins_over_it(command, manager: LocalManager):
    command.environ["BACKEND_ENDPOINT"] = "http://127.0.0.1:9"
    result = await command(
        *("login", "--endpoint", manager.url, "--access-key", manager.access_key),
        "--secret-from-stdin",
        stdin=manager.secret_key + "\n",
    )

    assert "! BACKEND_ENDPOINT in the environment will win over it" in result.out


async def test_without_a_terminal_what_is_missing_is_named(command):
    result = await command("login")

    assert result.status == 1
    assert result.err.startswith("✗ Endpoint is missing, and there is nobody to ask.\n")


async def test_a_secret_is_asked_for_only_where_it_can_be_hidden(command):
    result = await command(
        "login", "--endpoint", "http://127.0.0.1:9", "--access-key", "AKIAEXAMPLE"
    )

    assert result.status == 1
    assert "--secret-from-stdin" in result.err


class Terminal:
    """The far side of a terminal: reads until a prompt stands there, then types."""

    def __init__(self) -> None:
        self.fd, self.far = pty.openpty()
        self.seen = ""

    async def answer(self, prompt: str, text: str, *, is_hidden: bool = False) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(LIMIT):
            while prompt not in self.seen:
                data = await loop.run_in_executor(None, os.read, self.fd, 4096)
                self.seen += data.decode()
            if is_hidden:  # the prompt may stand there a moment before the echo is off
                while termios.tcgetattr(self.fd)[3] & termios.ECHO:  # noqa: ASYNC110  # no event
                    await asyncio.sleep(0.01)
        os.write(self.fd, text.encode())

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.far)


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


async def test_what_is_missing_is_asked_and_the_secret_not_shown(
    command, terminal, manager: LocalManager
):
    far = terminal.far
    process = await command.start("login", stdin=far, stdout=far, stderr=far)
    await terminal.answer("Endpoint (such as https://manager.example.com): ", f"{manager.url}\n")
    await terminal.answer("Access key: ", f"{manager.access_key}\n")
    await terminal.answer("Secret key (not shown): ", f"{manager.secret_key}\n", is_hidden=True)
    await terminal.answer("looks closer.", "")
    status = await asyncio.wait_for(process.wait(), LIMIT)

    assert status == 0
    assert manager.access_key in terminal.seen
    assert manager.secret_key not in terminal.seen
    assert manager.secret_key in command.profile.read_text()


async def test_ctrl_c_at_a_prompt_is_quiet(command, terminal):
    far = terminal.far
    process = await command.start("login", stdin=far, stdout=far, stderr=far)
    await terminal.answer("Endpoint", "")
    status = await interrupted(process)

    assert status == 130
    assert "Traceback" not in terminal.seen


async def interrupted(process: asyncio.subprocess.Process) -> int:
    """Press Ctrl-C until the program ends: one that comes just before a read is not noticed in it."""
    async with asyncio.timeout(LIMIT):
        while True:
            process.send_signal(signal.SIGINT)
            try:
                return await asyncio.wait_for(process.wait(), 0.5)
            except TimeoutError:
                continue


async def log_in_to_web(command: CommandLine, manager: LocalManager, password: str) -> Result:
    return await command(
        *("login", "--type", "session", "--endpoint", manager.url),
        *("--username", manager.keypair.user_id, "--secret-from-stdin"),
        stdin=f"{password}\n",
    )


async def test_a_login_with_a_password_keeps_a_cookie_and_no_password(
    command, manager: LocalManager
):
    result = await log_in_to_web(command, manager, manager.keypair.password)

    assert result.status == 0, result.err
    assert command.cookie.stat().st_mode & 0o777 == 0o600
    kept = command.profile.read_text() + command.cookie.read_text()
    assert manager.keypair.password not in re.findall(r'"(.*?)"', kept)
    assert manager.secret_key not in kept
    config = Config.from_env({"BACKENDAI_KERNEL_CONFIG": str(command.profile.parent)})
    async with Client(config) as client:
        assert (await client.version()).manager == manager.release.manager


async def test_a_second_login_needs_no_logout(command, manager: LocalManager):
    first = await log_in_to_web(command, manager, manager.keypair.password)
    second = await log_in_to_web(command, manager, manager.keypair.password)

    assert [first.status, second.status] == [0, 0]


async def test_a_wrong_password_is_told_and_nothing_is_written(command, manager: LocalManager):
    result = await log_in_to_web(command, manager, "wrong")

    assert result.status == 1
    assert result.err == "✗ The login was refused: User credential mismatch.\n"
    assert not command.profile.exists()
    assert not command.cookie.exists()


async def test_logout_ends_the_login_on_the_server_too(command, manager: LocalManager):
    await log_in_to_web(command, manager, manager.keypair.password)
    assert len(manager.gate.cookies) == 1
    result = await command("logout")

    assert result.status == 0, result.err
    assert manager.gate.cookies == {}
    assert not command.profile.exists()
    assert not command.cookie.exists()


async def test_logout_without_the_server_still_forgets(command, tmp_path):
    async with LocalManager(tmp_path / "manager", keypair=keypair()) as manager:
        await log_in_to_web(command, manager, "open sesame")
    result = await command("logout")

    assert result.status == 0
    assert "! The server was not told: Nothing answers at" in result.out
    assert not command.profile.exists()
    assert not command.cookie.exists()


async def test_logout_twice_is_no_failure(command):
    result = await command("logout")

    assert (result.status, result.out) == (0, "You were not logged in.\n")


def keypair() -> KeyPair:
    return KeyPair(access_key="AKIAEXAMPLE", secret_key="of-the-test", password="open sesame")


# -- doctor and serve -------------------------------------------------------------------------


def pointing_at(manager: LocalManager) -> Mapping[str, str]:
    return {
        "BACKEND_ENDPOINT": manager.url,
        "BACKEND_ACCESS_KEY": manager.access_key,
        "BACKEND_SECRET_KEY": manager.secret_key,
    }


async def test_doctor_says_that_all_is_well(command, manager: LocalManager):
    command.environ |= pointing_at(manager)
    await command("install")
    result = await command("doctor")

    assert result.status == 0, result.out
    assert "✗" not in result.out
    assert f"✓ server: Manager {manager.release.manager} answers" in result.out
    assert "gpu=0.5 becomes cuda.shares=0.5" in result.out
    assert secret_is_nowhere(result, manager.secret_key, manager.access_key)


async def test_doctor_fails_when_the_keypair_does_not_work(command, manager: LocalManager):
    command.environ |= pointing_at(manager) | {"BACKEND_SECRET_KEY": "wrong"}
    result = await command("doctor")

    assert result.status == 1
    assert "✗ keypair: The server does not accept this keypair" in result.out


async def test_doctor_speaks_to_machines(command, manager: LocalManager):
    command.environ |= pointing_at(manager)
    result = await command("doctor", "--json")
    told = json.loads(result.out)

    assert told["ok"] is (result.status == 0)
    assert {"topic": "sessions", "text": "You have none.", "state": "ok", "advice": ""} in told[
        "facts"
    ]
    assert secret_is_nowhere(result, manager.secret_key, manager.access_key)


async def test_gc_ends_what_a_killed_kernel_left_behind(command, manager: LocalManager):
    command.environ |= pointing_at(manager)
    nothing = await command("gc")
    async with Client(Config.from_env(pointing_at(manager))) as client:
        request = Request("python")
        session, _ = await enqueue_session(client, request, "nb-00000000000000aa")
    lease = Lease({"BACKENDAI_KERNEL_STATE": str(command.home / "state")}, session.name)
    assert lease.hold()
    lease.write(Terms(name=session.name, session_id=session.id))
    lease.release()
    looked = await command("gc", "--dry-run")
    ended = await command("gc", "--all")
    await next(iter(manager.registry)).over.wait()

    assert (nothing.status, nothing.out) == (0, "Nothing was left behind.\n")
    assert "`backendai-kernel gc` does it" in looked.out
    assert (ended.status, "✓ ended" in ended.out) == (0, True)


async def test_serve_serves_until_it_is_interrupted(command):
    pipe = asyncio.subprocess.PIPE
    process = await command.start("serve", "--idle-limit", "0", stdout=pipe)
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        line = (await process.stdout.readline()).decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None, line
        result = await command("doctor")
        process.send_signal(signal.SIGINT)
        await process.communicate()

    assert process.returncode == 0
    assert f"It runs at {found[0]} (process {process.pid})." in result.out
