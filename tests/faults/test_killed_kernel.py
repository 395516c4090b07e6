"""Cells that outlive their kernel: nothing of their output is lost, nothing comes twice."""

from __future__ import annotations

import os

import pytest

from tests.proxy.conftest import folder, notebook  # noqa: F401 -- fixtures
from tests.proxy.frontend import environment_for, open_notebook

LINES = """
import time
for number in range(40):
    print("line", number)
    if number % 10 == 5:
        display({{"text/plain": f"shown {{number}}"}}, raw=True)
    time.sleep(0.1)
open({sign!r}, "x").close()
kept = "all of it"
"""


async def test_a_cell_that_outlives_its_kernel_is_shown_whole_by_the_next(notebook, manager):  # noqa: F811
    sign = str(notebook.folder / "ended")
    await notebook.run("0")
    cell = notebook.send(LINES.format(sign=sign))
    await cell.until(lambda cell: "line 3\n" in cell.stdout)
    notebook.process.kill()
    await notebook.manager.provisioner.wait()
    before = cell.stdout
    await notebook.restart()
    shown = await notebook.run("%bai replay")
    went_on = await notebook.run("kept")
    again = await notebook.run("%bai replay 1")
    wrong = await notebook.run("%bai replay 77")

    expected = "".join(f"line {number}\n" for number in range(40))
    assert expected.startswith(before)
    assert os.path.exists(sign)
    assert shown.stdout == expected
    assert [c["data"]["text/plain"] for c in shown.of("display_data")] == [
        f"shown {number}" for number in (5, 15, 25, 35)
    ]
    assert went_on.result == "'all of it'"
    assert again.is_ok
    assert wrong.error[0] == "ConfigError"
    [folder_of_journal] = (notebook.folder / "state" / "journal").iterdir()
    assert {p.stat().st_mode & 0o777 for p in folder_of_journal.iterdir()} == {0o600}
    assert folder_of_journal.stat().st_mode & 0o777 == 0o700
    assert folder_of_journal.parent.stat().st_mode & 0o777 == 0o700


async def test_what_a_cell_says_after_its_kernel_was_killed_is_shown_under_it(notebook):  # noqa: F811
    sign = str(notebook.folder / "ended")
    await notebook.run("0")
    cell = notebook.send(LINES.format(sign=sign) + "1/0")
    await cell.until(lambda cell: "line 3\n" in cell.stdout)
    notebook.process.kill()
    await notebook.manager.provisioner.wait()
    await notebook.restart()
    await cell.until(lambda cell: cell.is_idle)  # without any other request
    after = await notebook.run("kept")
    silent = await notebook.run("kept")

    lines = [int(line.split()[1]) for line in cell.stdout.splitlines()]
    shown = [c["data"]["text/plain"] for c in cell.of("display_data")]
    assert lines == sorted(set(lines))
    assert lines[-25:] == list(range(15, 40))
    assert shown[-2:] == ["shown 25", "shown 35"] and len(set(shown)) == len(shown)
    assert [c["ename"] for c in cell.of("error")] == ["ZeroDivisionError"]
    assert after.result == "'all of it'"
    told = "".join([after.stderr, *after.cards])  # the card, where the cell has come early
    assert "Cell 2 went on meanwhile" in told and "`%bai replay 2`" in told
    assert silent.stderr == ""


async def test_a_cell_that_outlives_its_kernel_is_waited_for_and_interrupted(notebook):  # noqa: F811
    await notebook.run("x = 1")
    cell = await notebook.started("import time\ntime.sleep(600)")
    notebook.process.kill()
    await notebook.manager.provisioner.wait()
    cell.is_busy = False
    await notebook.restart()
    await cell.until(lambda cell: cell.is_busy)
    waiting = notebook.send("'never'")
    await waiting.until(lambda cell: any("goes on; this one waits" in card for card in cell.cards))
    await notebook.interrupt()
    await waiting.done()
    await cell.until(lambda cell: cell.of("error"))

    assert waiting.error[0] == "KeyboardInterrupt"
    assert [c["ename"] for c in cell.of("error")] == ["KeyboardInterrupt"]
    assert (await notebook.run("x")).result == "1"


@pytest.mark.parametrize("journal", ["2g", "0"])
async def test_a_question_of_a_killed_kernels_cell_keeps_nobody_waiting(manager, folder, journal):  # noqa: F811
    environ = environment_for(manager, folder) | {"BACKENDAI_KERNEL_JOURNAL": journal}
    async with open_notebook(folder, environ) as killed:
        await killed.run("x = 1")
        cell = killed.send("print('asks', flush=True)\ninput('who? ')")
        await cell.until(lambda cell: cell.questions)
        killed.process.kill()
        await killed.manager.provisioner.wait()
        await killed.restart()

        assert (await killed.run("x")).result == "1"


async def test_a_flood_is_cut_for_the_page_and_whole_in_the_journal(folder, manager):  # noqa: F811
    code = "for number in range(240): print(number, 'x' * 99_990)"
    environ = environment_for(manager, folder) | {"BACKENDAI_KERNEL_OUTPUT": "10m"}
    async with open_notebook(folder, environ) as limited:
        cell = await limited.run(code)
    journal = folder / "state" / "journal"

    assert "only its end is shown" in cell.stderr
    assert str(journal) in cell.stderr
    assert len(cell.stdout) < 11 * 2**20
    assert cell.stdout.endswith("x\n")
    [file] = journal.glob("*/*.jsonl")
    assert file.read_bytes().count(b"x") > 240 * 99_990
