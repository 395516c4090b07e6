"""The kernel on a real cluster: ``pytest -m cluster`` with BACKEND_ENDPOINT and a keypair set."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ..proxy.frontend import ROOT, Notebook, bare_environment, open_notebook

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="module")]

MODEST = ("-r", "cpu=1", "-r", "mem=1g")


def environment(folder: Path) -> dict[str, str]:
    if not os.environ.get("BACKEND_ENDPOINT"):
        pytest.skip("BACKEND_ENDPOINT names no cluster")
    given = {name: value for name, value in os.environ.items() if name.startswith("BACKEND_")}
    return bare_environment(folder) | given


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def notebook(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Notebook]:
    folder = tmp_path_factory.mktemp("k")
    async with open_notebook(folder, environment(folder), *MODEST) as notebook:
        yield notebook


async def test_output_of_every_kind_comes_back(notebook):
    cell = await notebook.run(
        "import sys\nfrom IPython.display import HTML, display\n"
        "print('out'); print('err', file=sys.stderr); display(HTML('<b>x</b>')); 6 * 7"
    )

    assert (cell.stdout, cell.stderr) == ("out\n", "err\n")
    assert cell.result == "42"
    assert cell.of("display_data")[-1]["data"]["text/html"] == "<b>x</b>"


async def test_an_exception_is_an_error(notebook):
    assert (await notebook.run("1/0")).error == ("ZeroDivisionError", "division by zero")


async def test_a_question_is_asked_and_answered(notebook):
    cell = notebook.send("import getpass; input('name? '), len(getpass.getpass('pw: '))")
    await cell.until(lambda cell: len(cell.questions) == 1)
    notebook.answer("Ada")
    await cell.until(lambda cell: len(cell.questions) == 2)
    notebook.answer("four")
    await cell.done()

    assert [q["password"] for q in cell.questions] == [False, True]
    assert cell.result == "('Ada', 4)"


async def test_an_interrupt_ends_the_cell_in_time(notebook):
    cell = notebook.send("import time\nprint('begun', flush=True)\ntime.sleep(600)")
    await cell.until(lambda cell: cell.stdout)
    began = time.monotonic()
    await notebook.interrupt()
    await cell.done()

    assert cell.error[0] == "KeyboardInterrupt"
    assert time.monotonic() - began < 2
    assert (await notebook.run("1")).result == "1"


async def test_a_restart_keeps_the_container_and_its_files(notebook):
    name = "import os; os.environ['BACKENDAI_SESSION_ID']"
    before = (await notebook.run(f"open('kept.txt', 'w').close(); x = 1\n{name}")).result
    await notebook.restart()
    after = await notebook.run(name)
    there = await notebook.run("'x' in dir(), os.path.exists('kept.txt')")

    assert after.result == before
    assert there.result == "(False, True)"


@pytest.mark.parametrize("code", ["import time; print('begun'); time.sleep(8)", "input('who? ')"])
async def test_a_kernel_that_was_killed_goes_on_with_session_files_and_variables(notebook, code):
    name = "import os; os.environ['BACKENDAI_SESSION_ID']"
    before = (await notebook.run(f"open('kept2.txt', 'w').close(); x = 1\n{name}")).result
    cell = notebook.send(code)
    await cell.until(lambda cell: cell.stdout or cell.questions)
    notebook.process.kill()
    await notebook.manager.provisioner.wait()
    await notebook.restart()
    after = await notebook.run(name)
    there = await notebook.run("'x' in dir(), os.path.exists('kept2.txt')")

    assert (after.result, there.result) == (before, "(True, True)")


async def test_a_dead_interpreter_is_noticed_and_replaced(notebook):
    await notebook.run("x = 1")
    cell = await notebook.run("import os; os._exit(3)")
    again = await notebook.run("'x' in dir()")

    assert "interpreter has died" in cell.error[1]
    assert again.result == "False"


async def test_a_cell_and_a_widgets_message_may_be_larger_than_a_request(notebook):
    text = "".join(chr(0x4E00 + i % 20000) for i in range(700_000))
    cell = await notebook.run(f"text = {text!r}\nlen(text), hash(text) == hash({text!r})")
    await notebook.run(
        "import hashlib\n"
        "def opened(comm, message):\n"
        "    def take(m): comm.send([hashlib.sha256(b).hexdigest() for b in m['buffers']])\n"
        "    comm.on_msg(take)\n"
        "get_ipython().kernel.comm_manager.register_target('digest', opened)"
    )
    await notebook.tell("comm_open", {"comm_id": "digest-1", "target_name": "digest", "data": {}})
    buffers = [os.urandom(3_000_000), b"small"]
    answer = await notebook.tell("comm_msg", {"comm_id": "digest-1", "data": {}}, buffers=buffers)

    assert cell.result == "(700000, True)"
    assert answer.of("comm_msg")[0]["data"] == [hashlib.sha256(b).hexdigest() for b in buffers]


async def test_the_session_has_no_file_of_ours_in_its_work_folder(notebook):
    before = await notebook.run("import os; 'backendai' in ' '.join(os.listdir('.'))")

    assert before.result == "False"


async def test_breakpoint_asks_at_the_prompt(notebook):
    cell = notebook.send("def f(n):\n    breakpoint()\n    return n * 2\nf(21)")
    for number, line in enumerate(["!n = 4", "c"], start=1):
        await cell.until(lambda cell, number=number: len(cell.questions) == number)
        notebook.answer(line)
    await cell.done()

    assert cell.result == "8"


async def test_the_first_notebook_runs(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    spec = tmp_path / "kernels" / "backendai-cluster"
    spec.mkdir(parents=True)
    words = ["-m", "backendai_kernel", "-f", "{connection_file}", *MODEST]
    spec.joinpath("kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, *words],
                "display_name": "Backend.AI Python",
                "language": "python",
                "interrupt_mode": "message",
            }
        )
    )
    pages = nbformat.read(ROOT / "notebooks" / "01-first-cell.ipynb", as_version=4)
    runner = NotebookClient(
        pages,
        timeout=120,
        kernel_name="backendai-cluster",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    environ = environment(tmp_path) | {"JUPYTER_PATH": str(tmp_path)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        await asyncio.wait_for(runner.async_execute(), 240)

    outputs = [out for page in pages.cells for out in page.get("outputs", [])]
    assert outputs
    assert not [out for out in outputs if out["output_type"] == "error"]
