"""What matters of a notebook, in sessions of old and new Pythons, ipykernels and IPythons.

Nothing of this package is installed in them. `make pinned` makes the environments and runs this.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backendai_kernel.local.images import Images, of_interpreter
from backendai_kernel.local.manager import LocalManager

from ..conftest import ROOMY
from ..proxy.frontend import Notebook, environment_for, open_notebook
from .make import LISTS, folder_of, is_made, version_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.pinned]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=LISTS, ids=lambda p: p.stem)
async def packages(request: pytest.FixtureRequest) -> Path:
    """The list of packages of the session's Python."""
    if not is_made(request.param):
        pytest.skip("its environment is not there: `make pinned` makes it")
    return request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def notebook(
    packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Notebook]:
    """A kernel of ours, in our own Python, whose session runs in the pinned one."""
    python = str(folder_of(packages) / "bin" / "python")
    images = Images([of_interpreter(python, version_of(packages))])
    folder = tmp_path_factory.mktemp("k")
    async with (
        LocalManager(tmp_path_factory.mktemp("m"), slots=ROOMY, images=images) as manager,
        open_notebook(
            folder, environment_for(manager, folder) | {"BACKENDAI_KERNEL_OUTPUT": "0"}
        ) as notebook,
    ):
        await notebook.run("import time, threading, asyncio, os, sys")
        yield notebook


async def test_the_session_is_what_it_is_meant_to_be(notebook, packages):
    cell = await notebook.run(
        "import ipykernel, IPython, importlib.util\n"
        "print('%d.%d' % sys.version_info[:2], ipykernel.__version__, IPython.__version__)\n"
        "print(importlib.util.find_spec('backendai_kernel'))"
    )
    pinned = dict(line.split("==") for line in packages.read_text().splitlines()[1:])

    assert cell.stdout == (
        f"{version_of(packages)} {pinned['ipykernel']} {pinned['ipython']}\nNone\n"
    )


# -- outputs --------------------------------------------------------------------------------------


async def test_streams_displays_and_a_result_keep_their_order(notebook):
    cell = await notebook.run(
        "class Frame:\n"
        "    def _repr_html_(self): return '<table><tr><td>1</td></tr></table>'\n"
        "    def __repr__(self): return '   a\\n0  1'\n"
        "print('out', flush=True); display('shown'); print('err', file=sys.stderr)\n"
        "sys.stderr.flush(); Frame()"
    )
    [result] = cell.of("execute_result")

    assert cell.kinds == ["stdout", "display_data", "stderr", "execute_result"]
    assert (cell.stdout, cell.stderr) == ("out\n", "err\n")
    assert result["data"] == {
        "text/html": "<table><tr><td>1</td></tr></table>",
        "text/plain": "   a\n0  1",
    }


async def test_displays_are_updated_and_cleared(notebook):
    cell = await notebook.run(
        "from IPython.display import clear_output\n"
        "handle = display('a', display_id='d'); handle.update('b'); clear_output(wait=True)"
    )

    assert cell.kinds == ["display_data", "update_display_data", "clear_output"]
    assert {
        c["transient"]["display_id"] for c in cell.of("display_data", "update_display_data")
    } == {"d"}


async def test_a_picture_is_bare_base64(notebook):
    cell = await notebook.run("display({'image/png': b'\\x89PNG'}, raw=True)")

    assert cell.of("display_data")[0]["data"]["image/png"].strip() == "iVBORw=="


async def test_an_error_has_its_name_and_traceback_and_stops_what_follows(notebook):
    cells = [notebook.send(code) for code in ("def f(): 1/0\nf()", "print('never')")]
    for cell in cells:
        await cell.done()

    assert cells[0].error == ("ZeroDivisionError", "division by zero")
    traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(cells[0].of("error")[0]["traceback"]))
    assert "1/0" in traceback.replace(" / ", "/")
    assert cells[1].reply["status"] == "aborted"


async def test_a_cell_right_behind_an_error_is_not_refused(notebook):
    await notebook.run("get_ipython().kernel.stop_on_error_timeout = 30.0")
    await notebook.run("1/0")
    cell = await notebook.run("'alive'")
    await notebook.run("get_ipython().kernel.stop_on_error_timeout = 0.0")

    assert cell.result == "'alive'"


async def test_every_script_and_many_megabytes_come_whole(notebook):
    text = "한글 ελ 🐍 \\x1b[31m"
    cell = await notebook.run(f"print('{text}'); n = sys.stdout.write('0123456789' * 1_500_000)")

    assert cell.stdout == "한글 ελ 🐍 \x1b[31m\n" + "0123456789" * 1_500_000


async def test_numbers_and_what_hangs_on_them(notebook):
    first = await notebook.run("'first'")
    await notebook.ask("complete", "thr", 3)
    await notebook.run("%local 1")
    number = first.reply["execution_count"]
    cell = await notebook.run(f"_, In[{number}], Out[{number}], _{number}, len(In) - 1")

    assert cell.reply["execution_count"] == number + 2
    assert ast.literal_eval(cell.result) == ("first", "'first'", "first", "first", number + 2)


async def test_magics_and_commands_work(notebook):
    cell = await notebook.run("%env PINNED=yes\n!echo $PINNED\nx = !echo a b\nprint(x)")

    assert cell.is_ok
    assert "yes\n" in cell.stdout.replace("\r\n", "\n")
    assert "['a b']" in cell.stdout


# -- questions ------------------------------------------------------------------------------------


async def test_questions_are_asked_and_answered(notebook):
    cell = notebook.send(
        "import getpass\n"
        "for i in range(3): print(i); time.sleep(0.2)\n"
        "name = input('who? '); secret = getpass.getpass('pw: '); print(name, len(secret))"
    )
    await cell.until(lambda cell: len(cell.questions) == 1)
    notebook.answer("Ada")
    await cell.until(lambda cell: len(cell.questions) == 2)
    notebook.answer("hidden")
    await cell.done()

    assert cell.questions == [
        {"prompt": "who? ", "password": False},
        {"prompt": "pw: ", "password": True},
    ]
    assert cell.stdout == "0\n1\n2\nAda 6\n"


async def test_names_are_completed_and_inspected_and_expressions_evaluated(notebook):
    cell = await notebook.run(
        "def a_remote_name():\n    'It says so.'",
        user_expressions={"good": "1 + 1", "bad": "not_there"},
    )
    completed = await notebook.ask("complete", "a_remote", 8)
    inspected = await notebook.ask("inspect", "a_remote_name", 4)
    values = cell.reply["user_expressions"]

    assert completed["matches"] == ["a_remote_name"]
    assert (completed["cursor_start"], completed["cursor_end"]) == (0, 8)
    assert "It says so." in inspected["data"]["text/plain"]
    assert values["good"]["data"] == {"text/plain": "2"}
    assert values["bad"]["ename"] == "NameError"


async def test_a_question_mark_opens_the_pager(notebook):
    cell = await notebook.run("time.sleep?")
    [payload] = cell.reply["payload"]

    assert payload["source"] == "page"
    assert "sleep" in payload["data"]["text/plain"]


# -- live and late, interrupt ---------------------------------------------------------------------


async def test_a_running_cell_is_seen_live_and_interrupted(notebook):
    for _ in range(2):
        cell = await notebook.started("print('early'); time.sleep(60)")
        await cell.until(lambda cell: "early" in cell.stdout)
        was_running = not cell.reply
        await notebook.interrupt()
        await cell.done()

        assert was_running
        assert cell.error[0] == "KeyboardInterrupt"
    assert (await notebook.run("'alive'")).result == "'alive'"


async def test_an_awaiting_cell_works_and_is_interrupted(notebook):
    cell = await notebook.run("await asyncio.sleep(0.01); print('awaited'); 7")
    asleep = await notebook.started("await asyncio.sleep(60)")
    await notebook.interrupt()
    await asleep.done()

    assert (cell.stdout, cell.result) == ("awaited\n", "7")
    assert asleep.error[0] in ("KeyboardInterrupt", "CancelledError")
    assert (await notebook.run("1")).result == "1"


async def test_what_a_thread_says_later_comes_under_its_cell(notebook):
    sign = notebook.folder / "go"
    cell = await notebook.run(
        "def say():\n"
        f"    while not os.path.exists({str(sign)!r}): time.sleep(0.01)\n"
        "    print('from behind'); display('seen')\n"
        "threading.Thread(target=say).start()"
    )
    was_silent = not cell.messages
    sign.touch()
    await cell.until(lambda cell: "from behind" in cell.stdout and cell.of("display_data"))

    assert was_silent


async def test_what_a_thread_displays_while_another_cell_runs_comes_under_its_own(notebook):
    """Text does, too, from ipykernel 6.29 on; older ones do not know who wrote it."""
    first = await notebook.run(
        "turn = threading.Event()\n"
        "def say():\n"
        "    turn.wait(60); display('seen')\n"
        "    threading.Thread(target=display, args=('of a child',)).start()\n"
        "talker = threading.Thread(target=say); talker.start()"
    )
    second = await notebook.run("turn.set(); talker.join(60); print('yours')")
    await first.until(lambda cell: len(cell.of("display_data")) == 2)

    assert second.stdout == "yours\n"
    assert second.of("display_data") == []


async def test_what_a_task_says_later_comes_under_its_cell(notebook):
    cell = await notebook.run(
        "async def later():\n    await asyncio.sleep(0.3); print('task')\n"
        "task = asyncio.get_event_loop().create_task(later())"
    )
    await cell.until(lambda cell: "task" in cell.stdout)

    assert cell.is_ok


# -- comms and widgets ----------------------------------------------------------------------------

COMM = """
try:
    from comm import create_comm
except ImportError:
    from ipykernel.comm import Comm as create_comm
there = create_comm(target_name="probe", data={"a": 1}, buffers=[b"\\x00\\xff"])
def echo(message):
    print("heard", message["content"]["data"], [bytes(b) for b in message["buffers"]])
    there.send({"back": 2}, buffers=message["buffers"])
there.on_msg(echo)
there.on_close(lambda message: print("closed"))
"""


async def test_comms_carry_buffers_in_both_directions(notebook):
    opened = await notebook.run(COMM)
    [content] = opened.of("comm_open")
    told = {"comm_id": content["comm_id"], "data": {"b": 2}}
    answered = await notebook.tell("comm_msg", told, [b"\x01\x02"])
    closed = await notebook.tell("comm_close", {"comm_id": content["comm_id"], "data": {}})

    assert (content["target_name"], content["data"]) == ("probe", {"a": 1})
    assert [bytes(b) for b in opened.buffers] == [b"\x00\xff"]
    assert answered.stdout == "heard {'b': 2} [b'\\x01\\x02']\n"
    assert [c["data"] for c in answered.of("comm_msg")] == [{"back": 2}]
    assert [bytes(b) for b in answered.buffers] == [b"\x01\x02"]
    assert closed.stdout == "closed\n"


async def test_a_moved_slider_calls_back(notebook, packages):
    if "ipywidgets" not in packages.read_text():
        pytest.skip("a session without ipywidgets")
    shown = await notebook.run(
        "import ipywidgets\n"
        "slider = ipywidgets.IntSlider(description='x'); out = ipywidgets.Output()\n"
        "def moved(change):\n"
        "    print('moved to', change['new'])\n"
        "    with out: print('in the output')\n"
        "slider.observe(moved, 'value'); display(slider, out)"
    )
    comm = ast.literal_eval((await notebook.run("slider.comm.comm_id")).result)
    update = {"method": "update", "state": {"value": 42}, "buffer_paths": []}
    told = await notebook.tell("comm_msg", {"comm_id": comm, "data": update})
    states = [c["data"].get("state", {}) for c in told.of("comm_msg")]

    models = {c["data"]["state"]["_model_name"] for c in shown.of("comm_open")}
    assert {"IntSliderModel", "OutputModel"} <= models
    assert "application/vnd.jupyter.widget-view+json" in json.dumps(shown.of("display_data"))
    assert "moved to 42\n" in told.stdout
    assert [s["msg_id"] for s in states if "msg_id" in s] == [told.id, ""]
    assert (await notebook.run("slider.value")).result == "42"


# -- forgetting, and starting again ---------------------------------------------------------------


async def test_after_a_reset_all_goes_on(notebook):
    await notebook.run("forgotten = 1")
    await notebook.run("%reset -f")
    gone = await notebook.run("'forgotten' in dir()")
    cell = await notebook.run("class A:\n    def _repr_html_(self): return '<i>'\nA()")
    reply = await notebook.ask("complete", "A", 1)

    assert gone.result == "False"
    assert cell.of("execute_result")[0]["data"]["text/html"] == "<i>"
    assert "A" in reply["matches"]


async def test_a_restart_gives_a_fresh_interpreter_in_the_same_session(notebook):
    await notebook.run("x = 1; open('kept.txt', 'w').close()")
    await notebook.restart()
    cell = await notebook.run("import os; 'x' in dir(), os.path.exists('kept.txt'), len(_ih)")
    html = await notebook.run("from IPython.display import HTML\nHTML('<b>')")

    assert cell.result == "(False, True, 2)"
    assert cell.reply["execution_count"] == 1
    assert html.of("execute_result")[0]["data"]["text/html"] == "<b>"
    assert (await notebook.run("import time; print('again')")).stdout == "again\n"
