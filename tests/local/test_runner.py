"""A real interpreter behind the runner: what comes out of it is what the recordings show."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backendai_kernel.local.agent import AgentFailure, Container

from .containers import EXECV, ask, run, running, started, text, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
SAMPLES = Path(__file__).parent.parent / "samples" / "execute"
COLOUR = "\x1b["


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def container(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Container]:
    """One container for all tests that leave it as they found it."""
    async with running(tmp_path_factory.mktemp("home") / "work") as container:
        yield container


# --- recorded answers -----------------------------------------------------------------------------


def shape(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer with tracebacks put shortly: their wording belongs to the release of IPython."""
    return {**answer, "console": [[kind, _short(data)] for kind, data in answer["console"]]}


def _short(data: Any) -> Any:
    names = re.findall(r"\w+Error|SystemExit", data) if COLOUR in data else []
    return names[-1] if names else data


@pytest.mark.parametrize("sample", ["streams", "exceptions", "rich", "input", "unicode"])
async def test_recorded_requests_get_the_recorded_answers(
    container: Container, sample: str
) -> None:
    """Recordings 10, 11, 13, 14, 17."""
    await run(container, "x = 1")  # recording 11 uses it
    for row in json.loads((SAMPLES / f"{sample}.json").read_text()):
        answer = await ask(container, row["mode"], row["run_id"], row["code"])
        assert shape(answer) == shape(row["result"])


async def test_continue_after_finished_as_recorded(tmp_path: Path) -> None:
    """Recording 23: what had no answer hangs, and the rescue frees the session."""
    rows = json.loads((SAMPLES / "after-finished.json").read_text())
    async with running(tmp_path / "work") as container:
        hung = []
        for row in rows:
            if row["status"] == 500:
                continue  # a bad mode never reaches the agent
            request = asyncio.create_task(ask(container, row["mode"], row["run_id"], row["code"]))
            if row["status"] is None:
                hung.append(request)
                continue
            answer = await request
            if row["code"] == "print('other 2')":  # the run that hung is let in first
                assert (await hung[0])["console"] == [["stdout", "other\n"]]
            assert answer == row["result"]

    assert len(hung) == 1


async def test_what_does_not_go_through_sys_stdout_comes_too(container: Container) -> None:
    """Recording 17; where it comes among the rest is a matter of luck, there as here.

    A thread of ipykernel reads it, and what that reads when the cell is over is lost.
    """
    code = "import os; os.write(1, b'\\xff\\xfe raw fd\\n'); _ = os.system('echo from-subprocess')"
    said = ""
    for _ in range(10):
        said = text(await run(container, code))
        if said.endswith("from-subprocess\n"):
            break

    assert said == "\ufffd\ufffd raw fd\nfrom-subprocess\n"


# --- output ---------------------------------------------------------------------------------------


async def test_the_namespace_stays_from_run_to_run(container: Container) -> None:
    await run(container, "kept = 41")

    assert text(await run(container, "kept + 1")) == "42"


async def test_output_of_the_wrong_type_ends_the_run_with_127(container: Container) -> None:
    """Seen on a cluster of release 26.4.16."""
    (answer,) = await run(container, "display({'text/plain': 5}, raw=True)\nprint('x')")
    after = await run(container, "print('next')")

    assert (answer["exitCode"], answer["console"]) == (127, [])
    assert text(after) == "next\n"


async def test_output_of_a_thread_after_its_cell_is_dropped(container: Container) -> None:
    work = container.spec.work
    await run(
        container,
        "import pathlib, threading, time\n"
        "def late():\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
        "    print('late', flush=True); pathlib.Path('said').touch()\n"
        "threading.Thread(target=late, daemon=True).start()",
    )
    (work / "go").touch()
    await until((work / "said").exists)

    assert text(await run(container, "print('now')")) == "now\n"


async def test_one_big_print_is_cut_to_ten_mebibytes(container: Container) -> None:
    """Recording 35; its newline is written by itself, and may be sent by itself."""
    answers = await run(container, "print('z' * 30_000_000)")
    after = await run(container, "print('next')")

    assert text(answers).removesuffix("\n") == "z" * 10_485_760
    assert text(after) == "next\n"


async def test_a_big_drawing_comes_whole(container: Container) -> None:
    """Recording 34."""
    answers = await run(
        container, "display({'image/svg+xml': '<svg>' + 'c' * 3_000_000}, raw=True); print('after')"
    )
    items = [item for answer in answers for item in answer["console"]]

    assert items == [["media", ["image/svg+xml", "<svg>" + "c" * 3_000_000]], ["stdout", "after\n"]]


async def test_ten_megabytes_of_prints_come_whole_and_in_order(container: Container) -> None:
    answers = await run(container, "for i in range(100_000): print(f'{i:099}')")

    assert text(answers) == "".join(f"{i:099}\n" for i in range(100_000))


async def test_html_wedges_the_session_until_the_rescue(container: Container) -> None:
    """Recording 19."""
    with pytest.raises(AgentFailure, match="unreadable media"):
        await ask(container, "query", "h1", "display({'text/html': '<b>bold</b>'}, raw=True)")
    hung = asyncio.create_task(ask(container, "query", "h2", "print('next')"))
    done, _ = await asyncio.wait({hung}, timeout=0.5)
    await container.interrupt()
    rescue = await ask(container, "query", "h1", "print('recovered')")

    assert not done
    assert rescue["console"] == [["stdout", "recovered\n"]]
    assert (await hung)["console"] == [["stdout", "next\n"]]
    assert text(await run(container, "print('fresh')")) == "fresh\n"


# --- interrupt ------------------------------------------------------------------------------------


async def test_an_interrupt_ends_the_running_cell(container: Container) -> None:
    """Recording 21; ten times, since it comes at another moment each time."""
    for _ in range(10):
        request = asyncio.create_task(run(container, "import time; time.sleep(60)"))
        await started(request, container)
        await container.interrupt()
        answers = await request

        assert answers[-1]["exitCode"] == 1
        assert "KeyboardInterrupt" in text(answers, "stderr")


async def test_an_interrupt_that_overtakes_its_cell_is_not_lost(container: Container) -> None:
    """Ours alone: the server's is lost in the moment before a cell begins."""
    for _ in range(5):
        request = asyncio.create_task(run(container, "import time; time.sleep(60)"))
        await asyncio.sleep(0)  # the request runs up to the point where it waits for output
        await asyncio.sleep(0)
        await container.interrupt()

        assert "KeyboardInterrupt" in text(await request, "stderr")


async def test_an_interrupt_of_an_idle_session_does_nothing(container: Container) -> None:
    """Recording 22."""
    await container.interrupt()

    assert text(await run(container, "print('after idle interrupt')")) == "after idle interrupt\n"


async def test_an_interrupt_during_input_shows_after_an_empty_line(container: Container) -> None:
    """API reference 10.6."""
    asked = await ask(container, "query", "i1", "input('p? ')")
    await container.interrupt()
    polled = await ask(container, "continue", "i1")
    ended = await ask(container, "input", "i1", "")

    assert asked["status"] == "waiting-input"
    assert (polled["status"], polled["console"]) == ("continued", [])
    assert (ended["status"], ended["exitCode"]) == ("finished", 1)
    assert "KeyboardInterrupt" in text([ended])


async def test_an_interrupt_reaches_the_running_cell_while_another_waits(
    container: Container,
) -> None:
    """Recording 38."""
    await run(container, "ran = []")
    first = await ask(
        container, "query", "q1", "import time; print('a', flush=True); time.sleep(40)"
    )
    waiting = asyncio.create_task(ask(container, "query", "q2", "ran.append('b'); print('b runs')"))
    await container.interrupt()
    last = await ask(container, "continue", "q1")

    assert first["console"] == [["stdout", "a\n"]]
    assert (last["status"], last["exitCode"]) == ("finished", 1)
    assert (await waiting)["console"] == [["stdout", "b runs\n"]]


# --- an interpreter that goes away ----------------------------------------------------------------


async def test_a_killed_interpreter_is_not_started_again(tmp_path: Path) -> None:
    """Recording 28."""
    async with running(tmp_path / "work") as container:
        first = await ask(
            container,
            "query",
            "k2",
            # What was printed is on its way for a moment.
            "import os, time; print('bye'); time.sleep(0.5); os.kill(os.getpid(), 9)",
        )
        polled = await ask(container, "continue", "k2")
        other = asyncio.create_task(ask(container, "query", "k3", "print('new')"))
        batch = asyncio.create_task(ask(container, "batch", "k4", exec="echo"))
        await container.interrupt()
        rescue = await ask(container, "query", "k2", "print('rescue')")
        completed = await container.complete("x", {})
        hung = not other.done() and not batch.done()

    assert (first["status"], first["console"]) == ("continued", [["stdout", "bye\n"]])
    assert (polled["status"], rescue["status"], rescue["console"]) == ("continued", "continued", [])
    assert hung
    assert completed == {"status": "finished", "error": None, "suggestions": []}
    for request in (other, batch):
        with pytest.raises(AgentFailure):
            await request


def replaced(image: Path, before: bytes) -> bool:
    try:
        return image.read_bytes() not in (before, b"")
    except ProcessLookupError:  # in the middle of it
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_an_interpreter_can_replace_itself(tmp_path: Path) -> None:
    """Recording 29: same process, empty namespace; what is sent in the gap runs."""
    async with running(tmp_path / "work") as container:
        pid = text(await run(container, "import os; print(os.getpid())")).strip()
        image = Path(f"/proc/{pid}/auxv")  # changes with each exec
        before = image.read_bytes()
        await run(container, EXECV)
        await until(lambda: replaced(image, before))
        answers = await run(container, "import os; print(os.getpid(), 'x' in globals())")
        request = asyncio.create_task(run(container, "import time; time.sleep(60)"))
        await started(request, container)
        await container.interrupt()
        interrupted = await request

    assert text(answers) == f"{pid} False\n"
    assert "KeyboardInterrupt" in text(interrupted)


# --- batch mode -----------------------------------------------------------------------------------


async def test_a_batch_run_goes_through_its_steps(container: Container) -> None:
    """Recording 32, with the build step that is lost there."""
    (container.spec.work / "main.py").write_text(
        "import sys\nprint('batch', sys.argv)\nprint(input('q? '))\n"
    )
    answers = await run(
        container, "", mode="batch", typed=["typed"], clean="*", build="", exec="python main.py a b"
    )

    assert [(a["status"], a["exitCode"]) for a in answers] == [
        ("clean-finished", 0),
        ("build-finished", 0),
        ("waiting-input", None),
        ("finished", 0),
    ]
    assert answers[2]["options"] == {}
    assert answers[2]["console"] == [["stdout", "batch ['main.py', 'a', 'b']\nq? "]]
    assert answers[3]["console"] == [["stdout", "typed\n"]]


async def test_the_default_execution_is_main_py(container: Container) -> None:
    main = container.spec.work / "main.py"
    main.write_text("print('by default')")
    found = await run(container, "", mode="batch", build="*", exec="*")
    main.unlink()
    missing = await run(container, "", mode="batch", exec="*")

    assert text(found) == "by default\n"
    assert (found[-1]["exitCode"], missing[-1]["exitCode"]) == (0, 127)


async def test_a_makefile_is_made(container: Container) -> None:
    make = container.spec.work / "Makefile"
    make.write_text("all:\n\t@echo made\n")
    answers = await run(container, "", mode="batch", build="*", exec="true")
    make.unlink()

    assert text(answers) == "made\n"


async def test_streams_and_exit_code_of_a_command(container: Container) -> None:
    answers = await run(container, "", mode="batch", exec="echo out; echo err >&2; exit 5")

    assert answers[-1]["exitCode"] == 5
    assert (text(answers, "stdout"), text(answers, "stderr")) == ("out\n", "err\n")


async def test_nothing_is_executed_after_a_build_that_failed(container: Container) -> None:
    answers = await run(container, "", mode="batch", build="exit 3", exec="echo never")
    after = await run(container, "", mode="batch", exec="echo again")

    assert [a["exitCode"] for a in answers] == [0, 3, 127]
    assert text(answers) == ""
    assert text(after) == "again\n"


async def test_an_interrupt_ends_the_running_command(container: Container) -> None:
    command = "echo > started; exec sleep 60"
    request = asyncio.create_task(run(container, "", mode="batch", exec=command))
    await until((container.spec.work / "started").exists)
    await container.interrupt()
    answers = await request

    assert answers[-1]["exitCode"] not in (0, None)


# --- what a container can be like -----------------------------------------------------------------


async def test_before_25_11_the_exit_code_is_always_0(tmp_path: Path) -> None:
    async with running(tmp_path / "work", exit_codes=False) as container:
        (failed,) = await run(container, "1/0")
        (exited,) = await run(container, "import sys; sys.exit(3)")

    assert "ZeroDivisionError" in text([failed])
    assert (failed["exitCode"], exited["exitCode"]) == (0, 0)


async def test_without_ipykernel_every_run_ends_with_127(tmp_path: Path) -> None:
    """As on a server whose image has no interpreter for Jupyter: no output, for ever."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    async with running(tmp_path / "work", python=python) as container:
        answers = [await run(container, "1+1") for _ in range(2)]
        batch = await run(container, "", mode="batch", exec="echo alive")

    for (answer,) in answers:
        assert (answer["status"], answer["exitCode"], answer["console"]) == ("finished", 127, [])
    assert text(batch) == "alive\n"
