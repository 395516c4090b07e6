"""Cells that outlive their kernel: nothing of their output is lost, nothing comes twice."""

from __future__ import annotations

import os

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
