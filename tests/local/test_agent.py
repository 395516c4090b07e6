"""The life of a container: what it is given, and that nothing of it is left when it ends."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest

from backendai_kernel.local.agent import AgentFailure, start_container
from backendai_kernel.local.environment import environment_of
from backendai_kernel.local.processes import members

from .containers import ask, run, running, spec, started, text, until

# A child, a grandchild that left the process group, and one that cut every tie but its environment.
FAMILY = """\
import os, subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
child = subprocess.Popen(sleep)
loose = subprocess.Popen(sleep, start_new_session=True)
if (pid := os.fork()) == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sleep[0], sleep)
    os._exit(0)
os.waitpid(pid, 0)
"""


def alive(kernel_id: str) -> set[int]:
    return members(kernel_id)


def test_what_the_user_gave_is_not_shown(tmp_path: Path) -> None:
    shown = repr(spec(tmp_path / "work", environ={"TOKEN": "secret"}, bootstrap_script="secret"))

    assert "secret" not in shown


# --- the end ------------------------------------------------------------------------------------


async def test_nothing_is_left_after_stop(tmp_path: Path) -> None:
    async with running(tmp_path / "work") as container:
        folder = container._folder
        await run(container, FAMILY)
        before = alive(container.spec.kernel_id)
        await container.stop()

    assert len(before) == 5  # runner, interpreter, and the three of the cell
    assert alive(container.spec.kernel_id) == set()
    assert container.ended.result() == 0
    assert not folder.exists()
    with pytest.raises(AgentFailure, match="gone"):
        await ask(container, "query", "r1", "1")
    with pytest.raises(AgentFailure, match="gone"):
        await container.complete("x", {})


async def test_a_poll_that_is_held_during_stop_is_answered(tmp_path: Path) -> None:
    """Recording 36."""
    async with running(tmp_path / "work") as container:
        poll = asyncio.create_task(
            ask(container, "query", "r1", "import time; print('begin', flush=True); time.sleep(60)")
        )
        await started(poll, container)
        await container.stop()
        answer = await poll

    assert answer["status"] == "continued"


async def test_when_the_runner_is_killed_everything_ends(tmp_path: Path) -> None:
    """Recording 37."""
    async with running(tmp_path / "work") as container:
        await run(container, FAMILY)
        await container.kill_runner()

    assert await container.ended == -signal.SIGKILL
    assert alive(container.spec.kernel_id) == set()


async def test_when_the_interpreter_is_killed_the_container_goes_on(tmp_path: Path) -> None:
    """Recording 28."""
    async with running(tmp_path / "work") as container:
        await container.kill_interpreter()
        answer = await ask(container, "query", "r1", "1")

        assert not container.ended.done()
        assert answer["status"] == "continued"


MANAGER = """\
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from containers import run, spec
from backendai_kernel.local.agent import start_container

async def main():
    container = await start_container(spec(Path({work!r})))
    await run(container, {code!r})
    print(container.spec.kernel_id, container._folder, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_nothing_is_left_when_the_manager_is_killed(tmp_path: Path) -> None:
    script = MANAGER.format(
        tests=str(Path(__file__).parent), work=str(tmp_path / "work"), code=FAMILY
    )
    manager = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert manager.stdout is not None
    kernel_id, folder = (await manager.stdout.readline()).decode().split()
    before = alive(kernel_id)
    manager.kill()
    await manager.wait()
    await until(lambda: not alive(kernel_id))

    assert len(before) == 5
    await until(lambda: not Path(folder).exists())


async def test_a_runner_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backendai_kernel.local.agent._END_PATIENCE", 0.1)
    async with running(tmp_path / "work") as container:
        os.kill(container._process.pid, signal.SIGSTOP)
        await container.stop()

    assert alive(container.spec.kernel_id) == set()


async def test_cancelling_a_start_leaves_nothing(tmp_path: Path) -> None:
    wanted = spec(tmp_path / "work", bootstrap_script="touch begun; sleep 60")
    start = asyncio.create_task(start_container(wanted))
    await until((wanted.work / "begun").exists)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start

    assert alive(wanted.kernel_id) == set()


@pytest.mark.parametrize("turns", [1, 2, 3, 4, 6, 8])
async def test_cancelling_a_start_in_its_first_turns_leaves_nothing(
    tmp_path: Path, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = tmp_path / "t"
    folders.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folders))
    wanted = spec(tmp_path / "work")
    start = asyncio.create_task(start_container(wanted))
    for _ in range(turns):
        await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    gc.collect()  # a file that was left open warns here, and a warning is an error

    assert alive(wanted.kernel_id) == set()
    assert list(folders.iterdir()) == []


async def test_a_python_that_does_not_exist_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(AgentFailure, match=r"Python of the image does not start.*nowhere"):
        await start_container(spec(tmp_path / "work", python=str(tmp_path / "nowhere")))


async def test_a_python_that_ends_at_once_runs_nothing_and_its_words_are_in_the_log(
    tmp_path: Path,
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho this is no python\n")
    python.chmod(0o755)
    async with running(tmp_path / "work", python=str(python)) as container:
        (answer,) = await run(container, "1")

        assert answer["exitCode"] == 127
        assert "this is no python" in container.logs()


async def test_variables_for_the_sessions_python_are_for_that_alone(tmp_path: Path) -> None:
    """The runner has an interpreter of its own, which they may not be fit for."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "json.py").write_text("raise SystemExit('not this one')")
    environ = {"PYTHONPATH": str(modules), "PYTHONSAFEPATH": "1"}
    async with running(tmp_path / "work", environ=environ) as container:
        answers = await run(container, "", mode="batch", exec="python -c 'import json'")

    assert text(answers) == "not this one\n"


# --- restart, bootstrap, log ----------------------------------------------------------------------


async def test_a_restart_keeps_the_files_and_nothing_else(tmp_path: Path) -> None:
    async with running(tmp_path / "work") as container:
        await run(container, "x = 1; open('kept.txt', 'w').close()")
        await container.restart()
        answers = await run(container, "import os; print('x' in globals(), os.listdir())")

        assert not container.ended.done()
        assert text(answers).startswith("False [")
        assert "kept.txt" in text(answers)


async def test_a_container_that_cannot_restart_has_ended(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    container = await start_container(spec(tmp_path / "work", python=str(python)))
    python.unlink()
    with pytest.raises(AgentFailure, match="did not start"):
        await container.restart()

    assert container.ended.result() == 127
    assert alive(container.spec.kernel_id) == set()


async def test_the_bootstrap_script_has_run_when_the_container_is_up(tmp_path: Path) -> None:
    script = "echo from bootstrap; echo $ANSWER > answer"
    async with running(
        tmp_path / "work", bootstrap_script=script, environ={"ANSWER": "42"}
    ) as container:
        assert (container.spec.work / "answer").read_text() == "42\n"
        assert "from bootstrap\r\n" in container.logs()
        assert text(await run(container, "print('clean')")) == "clean\n"


async def test_the_log_has_the_lines_of_a_terminal_and_stays_after_the_end(tmp_path: Path) -> None:
    async with running(tmp_path / "work") as container:
        await run(container, "", mode="batch", exec="echo out; echo err >&2")

    assert container.logs().startswith("Kernel started at: ")
    assert container.logs().endswith("+00:00\r\nout\r\nerr\r\n")


# --- what the code sees ---------------------------------------------------------------------------


async def test_home_is_the_work_folder_and_the_variables_are_the_servers(tmp_path: Path) -> None:
    work = tmp_path / "work"
    code = "import json, os; print(json.dumps([dict(os.environ), os.getcwd()]))"
    async with running(work, environ={"MINE": "1", "HOME": "/elsewhere"}) as container:
        environ, here = json.loads(text(await run(container, code)))

    assert here == environ["HOME"] == str(work)
    assert environ["MINE"] == "1"
    assert environ["BACKENDAI_SESSION_NAME"] == "s1"
    assert environ["BACKENDAI_KERNEL_ID"] == container.spec.kernel_id
    assert environ["MPLBACKEND"].endswith("backend_inline")
    assert (work / ".ipython").is_dir()


def environment(inherited: dict[str, str], **slots: str) -> dict[str, str]:
    return environment_of(
        inherited,
        session_id="s",
        kernel_id="k",
        name="n",
        image="i",
        access_key="AK",
        work=Path("/home/work"),
        python="/opt/image/bin/python",
        slots={name: Decimal(amount) for name, amount in slots.items()},
        given={"A": "1", "BACKENDAI_SESSION_ID": "forged"},
    )


def test_the_managers_own_settings_stay_outside() -> None:
    inherited = {
        "BACKEND_SECRET_KEY": "secret",
        "BACKENDAI_KERNEL_STATE": "/state",
        "IPYTHONDIR": "/users/ipython",
        "JPY_PARENT_PID": "1",
        "JUPYTER_PATH": "/users/jupyter",
        "PYTHONPATH": "/users/modules",
        "XDG_CONFIG_HOME": "/users/config",
        "PATH": "/usr/bin",
        "LC_ALL": "C.UTF-8",
    }
    environ = environment(inherited, cpu="2")

    assert not {"secret", "/state"} & set(environ.values())
    assert not [value for value in environ.values() if value.startswith("/users")]
    assert environ["LC_ALL"] == "C.UTF-8"
    assert environ["PATH"] == "/home/work/.local/bin:/opt/image/bin:/usr/bin"
    assert environ["BACKENDAI_SESSION_ID"] == "s"
    assert (environ["A"], environ["OMP_NUM_THREADS"]) == ("1", "2")


@pytest.mark.parametrize(
    ("shares", "count", "config", "memory"),
    [
        ("0.5", "1", "0:8g", "0:8192"),
        ("1.5", "2", "0:11.2g,1:11.2g", "0:11468,1:11468"),
        ("0.25", "1", "0:3.2g", "0:3276"),
        ("2", "2", "0:16g,1:16g", "0:16384,1:16384"),
    ],
)
def test_simulated_gpus_are_told_as_the_server_tells_them(
    shares: str, count: str, config: str, memory: str
) -> None:
    """Recording 04."""
    environ = environment({}, **{"cuda.shares": shares})

    assert (environ["GPU_COUNT"], environ["GPU_CONFIG"]) == (count, config)
    assert environ["TF_GPU_MEMORY_ALLOC"] == memory
    assert environ["GPU_MODEL_NAME"] == "Simulated GPU"


def test_without_shares_there_is_no_gpu() -> None:
    environ = environment({}, cpu="1")

    assert (environ["GPU_COUNT"], environ["N_GPUS"]) == ("0", "0")
    assert "GPU_CONFIG" not in environ
