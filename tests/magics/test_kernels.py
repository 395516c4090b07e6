"""``%bai`` in real kernels: a plain Python one, and ours, where it is loaded already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from backendai_kernel.local.manager import LocalManager
from tests.conftest import ROOMY
from tests.proxy.frontend import (
    Notebook,
    bare_environment,
    environment_for,
    eventually,
    open_notebook,
)
from tests.test_tunnel import free_port


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[LocalManager]:
    async with LocalManager(tmp_path / "manager", slots=ROOMY) as manager:
        yield manager


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("k")


@pytest.fixture
async def plain(manager: LocalManager, folder: Path) -> AsyncIterator[Notebook]:
    """A plain Python kernel with ``%bai`` loaded."""
    environ = environment_for(manager, folder)
    async with open_notebook(folder, environ, module="ipykernel_launcher") as notebook:
        assert (await notebook.run("%load_ext bai")).is_ok
        yield notebook


@pytest.fixture
async def ours(manager: LocalManager, folder: Path) -> AsyncIterator[Notebook]:
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        yield notebook


async def test_a_plain_kernel_runs_cells_in_a_session(plain, manager):
    ran = await plain.run("%%bai run python -t cells -r cpu=1\nimport sys\nprint('out')\nx = 41")
    more = await plain.run(
        "%%bai run --session cells -o y\nfrom IPython.display import HTML, display\n"
        "y = x + 1\ndisplay(HTML('<b>rich</b>'))\nprint('err', file=__import__('sys').stderr)"
    )
    value = await plain.run("y")
    failed = await plain.run("%%bai run --session cells\n1/0")
    listed = await plain.run("%bai ps")

    assert ran.stdout == "out\n"
    assert "Session ready" in ran.cards[-1]  # one card, updated in place
    ids = {c["transient"]["display_id"] for k, c in ran.messages if "display_data" in k}
    assert len(ids) == 1
    [result] = ran.of("execute_result")
    assert "`%bai rm cells` ends it" in result["data"]["text/plain"]
    assert more.of("display_data")[-1]["data"]["text/html"] == "<b>rich</b>"
    assert more.stderr == "err\n"
    assert value.result == "42"
    assert failed.error[0] == "RunFailed"
    traceback = "\n".join(failed.of("error")[0]["traceback"])
    assert "1/0" in traceback.replace("\x1b[39m", "") or "division by zero" in traceback
    assert "running.py" not in traceback
    assert "<table" in listed.of("execute_result")[0]["data"]["text/html"]


async def test_a_run_asks_and_is_answered(plain, manager):
    cell = plain.send(
        "%%bai run python -t asks\nimport getpass\ninput('name? '), getpass.getpass('pw: ')"
    )
    await cell.until(lambda cell: len(cell.questions) == 1)
    plain.answer("Ada")
    await cell.until(lambda cell: len(cell.questions) == 2)
    plain.answer("secret")
    await cell.done()

    assert [q["password"] for q in cell.questions] == [False, True]
    assert "'Ada', 'secret'" in cell.of("display_data", "execute_result")[-2]["data"]["text/plain"]


async def test_an_interrupt_ends_the_code_and_not_the_session(plain, manager):
    cell = plain.send(
        "%%bai run python -t stops\nimport time\nprint('on', flush=True)\ntime.sleep(600)"
    )
    await cell.until(lambda cell: "on" in cell.stdout)
    await plain.interrupt()
    await cell.done()

    assert "KeyboardInterrupt" in cell.error[1]
    assert "[Interrupting the code." in cell.stderr
    assert (await plain.run("%%bai run --session stops\nprint('lives')")).stdout == "lives\n"


async def test_a_second_interrupt_offers_to_end_the_session(plain, manager):
    stubborn = (
        "import time\nprint('on', flush=True)\nwhile True:\n"
        "    try:\n        time.sleep(600)\n    except KeyboardInterrupt:\n        pass"
    )
    cell = plain.send(f"%%bai run python -t stubborn\n{stubborn}")
    await cell.until(lambda cell: "on" in cell.stdout)
    await plain.interrupt()
    await cell.until(lambda cell: "[Interrupting" in cell.stderr)
    await plain.interrupt()
    await cell.until(lambda cell: cell.questions)
    record = manager.session("stubborn")
    plain.answer("y")
    await cell.done()

    assert cell.questions[0]["prompt"] == "End the session stubborn? [y/N] "
    assert not cell.is_ok
    await record.over.wait()


async def test_an_interrupt_calls_off_a_session_that_starts(plain, manager):
    cell = plain.send("%bai start python -t waits -r cpu=8\n%bai start python -t second -r cpu=8")
    await cell.until(lambda cell: cell.cards and "queued" in cell.cards[-1])
    record = manager.session("second")
    await plain.interrupt()
    await cell.done()

    assert cell.error == ("Interrupted", "called off.")
    assert "called off" in cell.cards[-1] or "cancelled" in cell.cards[-1]
    assert record.status.is_over


async def test_following_ends_with_an_interrupt_and_is_no_error(plain, manager):
    await plain.run("%bai start python -t talks")
    cell = plain.send("%bai events talks --all\n%bai logs -f talks")
    await cell.until(lambda cell: "session_running" in cell.stdout)
    await plain.interrupt()
    await cell.until(lambda cell: "Kernel started" in cell.stdout)
    await plain.interrupt()
    await cell.done()

    assert cell.is_ok


async def test_run_all_stops_at_an_error(plain):
    first = plain.send("%bai info nosuch")
    second = plain.send("print('never')")
    await first.done()
    await second.until(lambda cell: cell.reply)

    assert first.error[0] == "NotFound"
    assert second.reply["status"] in ("aborted", "error")
    assert second.stdout == ""


async def test_our_kernel_has_it_loaded_and_shares_its_thread(ours, manager):
    listed = await ours.run("x = %bai ps\n%local print(len(x))")
    threads = await ours.run(
        "%local import threading; print([t.name for t in threading.enumerate()].count('backendai-portal'))"
    )
    completed = await ours.ask("complete", "%bai ps --ru", 12)

    assert listed.stdout == "0\n"
    assert threads.stdout == "1\n"
    assert "--running" in completed["matches"][0]


async def test_cells_run_in_an_attached_session_and_come_back(ours, manager):
    await ours.run("own = 1")
    await ours.run("%%bai run python -t other\nshared = 'theirs'")
    attached = await ours.run("%bai attach other")
    there = await ours.run("shared, 'own' in globals()")
    where = await ours.run("%bai")
    also = await ours.run("%%bai run --session other\nprint(shared)")
    still = await ours.run("print(shared)\nshared")
    nowhere = await ours.run("%bai attach nosuch")
    back = await ours.run("%bai detach")
    here = await ours.run("own, 'shared' in globals()")
    twice = await ours.run("%bai detach")

    assert "now run in the session other" in attached.result
    assert there.result == "('theirs', False)"
    assert "other" in where.result and "attached" in where.result
    assert also.stdout == "theirs\n"
    assert (still.stdout, still.result) == ("theirs\n", "'theirs'")  # two clients, one session
    assert nowhere.error[0] == "NotFound"
    assert "its own session again" in back.result
    assert here.result == "(1, False)"
    assert twice.error[0] == "ConfigError"


async def test_an_attached_session_is_left_alone_by_restart_and_shutdown(manager, folder):
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        await notebook.run("own = 1")
        own = next(r for r in manager.registry if r.name.startswith("nb-"))
        await notebook.run("%%bai run python -t guest\nkept = 7")
        await notebook.run("%bai attach guest")
        await notebook.restart()
        after = await notebook.run("'own' in globals()")  # its own session, with nothing in it
        await notebook.run("%bai attach guest")
        kept = await notebook.run("kept")

    assert after.result == "False"
    assert kept.result == "7"
    await eventually(lambda: own.status.is_over, "the notebook's own session has ended")
    assert manager.session("guest").status.is_running
    assert [r.name for r in manager.registry if not r.status.is_over] == ["guest"]


async def test_an_attached_session_that_ends_says_how_to_go_back(ours, manager):
    await ours.run("%bai start python -t brief")
    await ours.run("%bai attach brief")
    await ours.run("1")
    await ours.run("%bai rm brief")
    await manager.session("brief").over.wait()
    first = await ours.run("2")
    then = await ours.run("3")
    await ours.run("%bai detach")

    assert first.error[0] == then.error[0] == "RunLost"
    assert "%bai detach" in then.error[1]
    assert (await ours.run("4")).result == "4"


@pytest.mark.parametrize("module", ["ipykernel_launcher", "backendai_kernel"])
async def test_a_login_asks_without_echo_writes_the_profile_and_is_used_at_once(
    manager, folder, module
):
    async with open_notebook(folder, bare_environment(folder), module=module) as notebook:
        await notebook.run("%load_ext bai")
        cell = notebook.send("%bai login")
        for number, answer in enumerate([manager.url, manager.access_key, manager.secret_key], 1):
            await cell.until(lambda cell, number=number: len(cell.questions) == number)
            notebook.answer(answer)
        await cell.done()
        config = await notebook.run("%bai config")
    [profile] = folder.rglob("profile.toml")
    said = f"{cell.messages} {cell.reply} {cell.questions} {config.messages}"

    assert cell.is_ok and "Logged in" in str(cell.of("execute_result"))
    assert [q["password"] for q in cell.questions] == [False, False, True]
    assert profile.stat().st_mode & 0o777 == 0o600
    assert manager.secret_key in profile.read_text()
    assert manager.secret_key not in said
    assert manager.url in str(config.messages)


async def test_a_login_with_a_wrong_secret_or_called_off_writes_nothing(manager, folder):
    environ = bare_environment(folder)
    async with open_notebook(folder, environ, module="ipykernel_launcher") as notebook:
        await notebook.run("%load_ext bai")
        line = f"%bai login --endpoint {manager.url} --access-key {manager.access_key}"
        wrong = notebook.send(line)
        await wrong.until(lambda cell: cell.questions)
        notebook.answer("no such secret")
        await wrong.done()
        left = notebook.send(line)
        await left.until(lambda cell: cell.questions)
        await notebook.interrupt()
        await left.done()

    assert wrong.error[0] == "Unauthorized"
    assert "no such secret" not in f"{wrong.messages} {wrong.reply}"
    assert not left.is_ok
    assert list(folder.rglob("profile.toml")) == []


async def test_an_open_app_ends_with_the_kernel_and_says_when_its_session_ends(manager, folder):
    ports = [free_port(), free_port()]
    words = ",".join(map(str, ports))
    environ = environment_for(manager, folder)
    async with open_notebook(folder, environ, module="ipykernel_launcher") as plain:
        assert (await plain.run("%load_ext bai")).is_ok
        assert (await plain.run(f"%bai start python -t apps --preopen {words}")).is_ok
        assert (await plain.run("%bai start python -t other --preopen 12345")).is_ok
        first = await plain.run(f"%bai app apps {ports[0]}")
        await plain.run("%bai app other 12345")
        listed = await plain.run("%bai apps")
        [pids] = [(await plain.run("[each.pid for each in _]")).result]
        manager.end(manager.session("apps"))
        await first.until(lambda cell: "has ended" in cell.stderr)
        left = await plain.run("%bai apps")
    processes = [psutil.Process(pid) for pid in eval(pids) if psutil.pid_exists(pid)]

    [shown] = first.of("execute_result")
    assert 'href="http://127.0.0.1:' in shown["data"]["text/html"]
    assert "this kernel" in listed.of("execute_result")[0]["data"]["text/plain"]
    assert "The session apps has ended" in first.stderr
    assert len(left.of("execute_result")[0]["data"]["text/plain"].splitlines()) == 3  # one row
    await eventually(lambda: not any(each.is_running() for each in processes), "they have ended")
