"""What the query API has no field for: updates, pages, widgets, completion, late and live output."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import ipykernel
import pytest
import pytest_asyncio

from backendai_kernel.local.manager import LocalManager

from ..conftest import ROOMY
from .frontend import Notebook, environment_for, eventually, open_notebook, spent

# ipykernel 6 takes up a cell when the widget's message before it is done with.
TAKES_CELLS_MEANWHILE = ipykernel.version_info[0] >= 7

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def manager(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalManager]:
    async with LocalManager(tmp_path_factory.mktemp("m"), slots=ROOMY) as manager:
        yield manager


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def notebook(
    manager: LocalManager, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Notebook]:
    folder = tmp_path_factory.mktemp("k")
    environ = environment_for(manager, folder) | {"BACKENDAI_KERNEL_OUTPUT": "0"}  # all of it
    async with open_notebook(folder, environ) as notebook:
        await notebook.run("import time, threading, asyncio")
        yield notebook


# -- displays -------------------------------------------------------------------------------------


async def test_a_display_is_updated_and_outputs_are_cleared(notebook):
    cell = await notebook.run(
        "from IPython.display import display, clear_output\n"
        "handle = display('a', display_id='d1'); handle.update('b'); clear_output(wait=True)"
    )

    assert cell.kinds == ["display_data", "update_display_data", "clear_output"]
    assert [c["transient"] for c in cell.of("display_data", "update_display_data")] == [
        {"display_id": "d1"}
    ] * 2
    assert cell.of("clear_output") == [{"wait": True}]


async def test_ten_thousand_updates_come_whole_and_in_order(notebook):
    cell = await notebook.run(
        "handle = display(0, display_id=True)\nfor i in range(10_000): handle.update(i)"
    )
    updates = [c["data"]["text/plain"] for c in cell.of("update_display_data")]

    assert updates == [str(i) for i in range(10_000)]


async def test_a_bundle_comes_with_all_its_types_and_their_metadata(notebook):
    data = {"text/html": "<b>x</b>", "text/plain": "x", "application/vnd.x+json": {"k": [1, None]}}
    cell = await notebook.run(f"display({data!r}, raw=True, metadata={{'text/html': {{'a': 1}}}})")
    [content] = cell.of("display_data")

    assert content["data"] == data
    assert content["metadata"] == {"text/html": {"a": 1}}


async def test_a_printed_text_of_many_megabytes_comes_whole(notebook):
    cell = await notebook.run("import sys; n = sys.stdout.write('0123456789' * 3_000_000)")

    assert cell.stdout == "0123456789" * 3_000_000


async def test_what_looks_like_an_envelope_is_only_what_it_looks_like(notebook):
    fake = "<!--bai:3:" + "0" * 32 + ":1:0:1:1:QUJD-->"
    cell = await notebook.run(
        f"print({fake!r}); display({{'image/svg+xml': {fake!r}}}, raw=True); print('\\x00\\x1b[31m')"
    )

    assert cell.stdout == f"{fake}\n\x00\x1b[31m\n"
    assert [c["data"] for c in cell.of("display_data")] == [{"image/svg+xml": fake}]
    assert cell.is_ok


@pytest.mark.parametrize("value", ["None", "io.StringIO()", "5", "open(os.devnull, 'w')"])
async def test_a_replaced_stdout_does_no_harm(notebook, value):
    await notebook.run(f"import io, os, sys; kept = sys.stdout; sys.stdout = {value}")
    lost = await notebook.run("x = 6 * 7; x")
    await notebook.run("sys.stdout = kept")
    back = await notebook.run("print('back')")

    assert lost.result == "42"
    assert back.stdout == "back\n"


async def test_a_failure_of_ipykernel_itself_is_an_error(notebook):
    await notebook.run(
        "ip = get_ipython()\n"
        "def broken(*args, **kwargs):\n"
        "    del ip.run_cell\n"
        "    return [][1]\n"
        "ip.run_cell = broken"
    )
    cell = await notebook.run("1")
    after = await notebook.run("2")

    assert cell.error == ("IndexError", "list index out of range")
    assert after.result == "2"


async def test_a_cell_larger_than_a_request_runs(notebook):
    text = "".join(chr(0x4E00 + i % 20000) for i in range(700_000))
    cell = await notebook.run(f"text = {text!r}\nlen(text), hash(text) == hash({text!r})")

    assert cell.result == "(700000, True)"


# -- numbers, history, reply ----------------------------------------------------------------------


async def test_numbers_follow_the_notebook_and_hidden_requests_leave_no_trace(notebook):
    first = await notebook.run("'first'")
    await notebook.request("complete", code="thr", cursor_pos=3)
    await notebook.run("%local 1")
    number = first.reply["execution_count"]
    cell = await notebook.run(f"In[{number}], Out[{number}], _{number}, len(In) - 1")

    assert cell.reply["execution_count"] == number + 2
    assert ast.literal_eval(cell.result) == ("'first'", "first", "first", number + 2)


async def test_silent_code_runs_and_is_not_counted(notebook):
    before = await notebook.run("0")
    silent = await notebook.run("quiet = 7; quiet", silent=True)
    after = await notebook.run("quiet")

    assert silent.kinds == []
    assert after.result == "7"
    assert after.reply["execution_count"] == before.reply["execution_count"] + 1


async def test_user_expressions_are_evaluated_in_the_session(notebook):
    cell = await notebook.run(
        "there = 20", user_expressions={"good": "there + 1", "bad": "not_there"}
    )
    values = cell.reply["user_expressions"]

    assert values["good"]["data"] == {"text/plain": "21"}
    assert (values["bad"]["status"], values["bad"]["ename"]) == ("error", "NameError")


async def test_a_question_mark_opens_the_pager_and_the_next_cell_can_be_set(notebook):
    page = await notebook.run("time.sleep?")
    following = await notebook.run("get_ipython().set_next_input('and now')")

    [payload] = page.reply["payload"]
    assert payload["source"] == "page"
    assert "sleep(" in payload["data"]["text/plain"]
    [payload] = following.reply["payload"]
    assert (payload["source"], payload["text"]) == ("set_next_input", "and now")


async def test_inputs_are_found_again_by_their_number(notebook):
    await notebook.run("'to be found'")
    tail = await notebook.request("history", hist_access_type="tail", n=1, raw=True, output=False)
    [[session, line, text]] = tail.reply["history"]
    found = await notebook.request(
        "history", hist_access_type="range", session=session, start=line, stop=line + 1, raw=True
    )

    assert text == "'to be found'"
    assert [list(entry) for entry in found.reply["history"]] == [[session, line, text]]


async def test_inputs_are_in_the_file_soon_and_all_when_the_kernel_is_shut_down(manager, tmp_path):
    def saved() -> list[str]:
        [file] = tmp_path.rglob("history.sqlite")
        with contextlib.closing(sqlite3.connect(file)) as db:
            return [text for (text,) in db.execute("SELECT source_raw FROM history ORDER BY line")]

    async with open_notebook(tmp_path, environment_for(manager, tmp_path)) as opened:
        await opened.run("1")
        await opened.run("2")
        await eventually(lambda: saved() == ["1", "2"], "two inputs in the file")
        await opened.run("3")

    assert saved() == ["1", "2", "3"]


# -- completion and inspection --------------------------------------------------------------------


async def test_names_of_the_session_are_completed_with_their_types(notebook):
    await notebook.run("a_remote_name = 1")
    reply = (await notebook.request("complete", code="a_remote", cursor_pos=8)).reply

    assert reply["matches"] == ["a_remote_name"]
    assert (reply["cursor_start"], reply["cursor_end"]) == (0, 8)
    [known] = reply["metadata"]["_jupyter_types_experimental"]
    assert known["type"] == "instance"


@pytest.mark.alone
async def test_while_a_cell_runs_completion_answers_at_once_with_the_names_from_before(notebook):
    await notebook.run("known_before = 1")
    cell = await notebook.started("time.sleep(60)")
    asked = time.monotonic()
    reply = (await notebook.request("complete", code="x = known_b", cursor_pos=11)).reply
    took, was_running = time.monotonic() - asked, not cell.reply
    await notebook.interrupt()
    await cell.done()

    assert (reply["matches"], was_running) == (["known_before"], True)
    assert (reply["cursor_start"], reply["cursor_end"]) == (4, 11)
    assert took < 0.3


async def test_objects_of_the_session_are_inspected(notebook):
    await notebook.run("def documented():\n    'It says so.'")
    found = (await notebook.request("inspect", code="documented", cursor_pos=4)).reply
    missing = (await notebook.request("inspect", code="not_there", cursor_pos=4)).reply

    assert found["found"]
    assert "It says so." in found["data"]["text/plain"]
    assert not missing["found"]


# -- live and late --------------------------------------------------------------------------------


async def test_output_of_a_running_cell_does_not_wait_for_the_poll_to_end(notebook):
    cell = await notebook.started("print('early'); time.sleep(60)")
    loop_time = cell.until(lambda cell: "early" in cell.stdout)
    await loop_time
    before_the_end = not cell.reply
    await notebook.interrupt()
    await cell.done()

    assert before_the_end


async def test_a_question_of_the_user_is_not_disturbed_by_live_output(notebook):
    cell = notebook.send(
        "for i in range(3): print(i); time.sleep(0.2)\n"
        "name = input('who? ')\n"
        "for i in range(3): print(i); time.sleep(0.2)\n"
        "print(name, input('and? '))"
    )
    await cell.until(lambda cell: len(cell.questions) == 1)
    notebook.answer("Ada")
    await cell.until(lambda cell: len(cell.questions) == 2)
    notebook.answer("you")
    await cell.done()

    assert [q["prompt"] for q in cell.questions] == ["who? ", "and? "]
    assert cell.stdout == "0\n1\n2\n0\n1\n2\nAda you\n"


@pytest.mark.alone
async def test_a_silent_cell_costs_no_more_than_its_polls(notebook, manager):
    since = len(manager.requests)
    await notebook.run("time.sleep(2.5)")

    # Now and then the server is also asked, on another path, how much time the session has left.
    assert spent(manager, since).count("POST /session/{id}") == 2


async def test_what_a_thread_says_later_comes_under_its_own_cell(notebook):
    sign = notebook.folder / "go"
    cell = await notebook.run(
        "import os\n"
        "def say():\n"
        f"    while not os.path.exists({str(sign)!r}): time.sleep(0.01)\n"
        "    print('from behind'); display('seen')\n"
        "threading.Thread(target=say).start()"
    )
    was_silent = not cell.messages
    sign.touch()
    await cell.until(lambda cell: "from behind" in cell.stdout and cell.of("display_data"))

    assert was_silent


async def test_what_a_thread_says_while_another_cell_runs_comes_under_its_own(notebook):
    first = await notebook.run(
        "turn = threading.Event()\n"
        "def say():\n"
        "    turn.wait(60); print('mine'); display('seen')\n"
        "    threading.Thread(target=print, args=('of a child',)).start()\n"
        "talker = threading.Thread(target=say); talker.start()"
    )
    second = await notebook.run("turn.set(); talker.join(60); print('yours')")
    await first.until(lambda cell: "mine\nof a child\n" == cell.stdout and cell.of("display_data"))

    assert second.stdout == "yours\n"
    assert second.of("display_data") == []


async def test_what_a_task_says_later_comes_under_its_own_cell(notebook):
    cell = await notebook.run(
        "async def later():\n"
        "    await asyncio.sleep(0.3); print('task')\n"
        "task = asyncio.create_task(later())"
    )
    await cell.until(lambda cell: "task" in cell.stdout)

    assert cell.is_ok


# -- widgets --------------------------------------------------------------------------------------

WIDGETS = """
import ipywidgets
slider = ipywidgets.IntSlider(description="x")
out = ipywidgets.Output()
def moved(change):
    print("moved to", change["new"])
    with out:
        print("in the output")
slider.observe(moved, "value")
display(slider, out)
"""


@pytest_asyncio.fixture(loop_scope="module")
async def comm_id(notebook: Notebook) -> str:
    await notebook.run(WIDGETS)
    return str(ast.literal_eval((await notebook.run("slider.comm.comm_id")).result))


def update(comm_id: str, **state: object) -> dict[str, object]:
    data = {"method": "update", "state": state, "buffer_paths": []}
    return {"comm_id": comm_id, "data": data}


async def test_widgets_of_the_session_open_in_the_front_end_and_are_listed(notebook):
    cell = await notebook.run(WIDGETS)
    models = {c["data"]["state"]["_model_name"] for c in cell.of("comm_open")}
    listed = (await notebook.request("comm_info")).reply["comms"]

    assert {"IntSliderModel", "OutputModel"} <= models
    assert "application/vnd.jupyter.widget-view+json" in cell.of("display_data")[0]["data"]
    assert {c["comm_id"] for c in cell.of("comm_open")} <= set(listed)


async def test_a_moved_slider_calls_back_and_what_it_prints_belongs_to_the_move(notebook, comm_id):
    moved = await notebook.tell("comm_msg", update(comm_id, value=42))
    value = await notebook.run("slider.value")

    assert "moved to 42\n" in moved.stdout
    assert value.result == "42"


@pytest.mark.skipif(ipykernel.version_info[0] < 7, reason="ipykernel 6 has no subshells")
async def test_what_a_callback_says_is_out_before_its_subshell_is_idle(notebook, comm_id):
    subshell = await notebook.subshell()
    for n in range(60, 80):  # the two threads race, and each turn may show it
        moves = await asyncio.gather(
            *(
                notebook.tell("comm_msg", update(comm_id, value=v), subshell=subshell)
                for v in (n, 0)
            )
        )

        assert [cell.stdout.split("\n")[0] for cell in moves] == [f"moved to {n}", "moved to 0"]


@pytest.mark.skipif(ipykernel.version_info[0] < 7, reason="ipykernel 6 waits for the cell")
async def test_a_widget_of_this_process_answers_while_a_cell_runs_in_the_session(notebook):
    made = await notebook.run(
        "%%local\nfrom ipywidgets import IntSlider\nhere = IntSlider()\n"
        "here.observe(lambda change: print('here', change.new), 'value')\nhere.comm.comm_id"
    )
    cell = await notebook.started("time.sleep(60)")
    moved = await notebook.tell("comm_msg", update(ast.literal_eval(made.result), value=9))
    assert moved.stdout == "here 9\n"

    await notebook.interrupt()
    await cell.done()
    assert cell.error[0] == "KeyboardInterrupt"


async def test_a_callback_that_does_not_end_is_interrupted_and_so_is_a_cell_behind_it(notebook):
    made = await notebook.run(
        "import ipywidgets, pathlib\n"
        "endless, sign = ipywidgets.Button(), pathlib.Path('callback-begun')\n"
        "@endless.on_click\n"
        "def pressed(_):\n"
        "    sign.touch()\n"
        "    time.sleep(600)\n"
        "endless.comm.comm_id, str(sign.resolve())"
    )
    button, sign = ast.literal_eval(made.result)
    content = {"event": "click"}
    message = {"comm_id": button, "data": {"method": "custom", "content": content}}
    pressed = asyncio.create_task(notebook.tell("comm_msg", message))
    await eventually(Path(sign).exists, "the callback has begun")
    behind = notebook.send("'never'")
    if TAKES_CELLS_MEANWHILE:
        await behind.until(lambda cell: cell.is_busy)
    await notebook.interrupt()
    await pressed
    await behind.done()

    if TAKES_CELLS_MEANWHILE:
        assert behind.error[0] == "KeyboardInterrupt"
    else:
        assert behind.result == "'never'"
    assert (await notebook.run("1")).result == "1"


async def test_an_output_widget_is_told_the_front_ends_own_request(notebook, comm_id):
    moved = await notebook.tell("comm_msg", update(comm_id, value=43))
    states = [c["data"].get("state", {}) for c in moved.of("comm_msg")]

    assert [s["msg_id"] for s in states if "msg_id" in s] == [moved.id, ""]


async def test_binary_buffers_arrive_on_the_other_side(notebook):
    await notebook.run(
        "from comm import get_comm_manager\n"
        "def opened(comm, message):\n"
        "    comm.on_msg(lambda m: comm.send({'n': 1}, buffers=[bytes(m['buffers'][0])[::-1]]))\n"
        "get_comm_manager().register_target('echo', opened)"
    )
    await notebook.tell("comm_open", {"comm_id": "echo-1", "target_name": "echo", "data": {}})
    answer = await notebook.tell(
        "comm_msg", {"comm_id": "echo-1", "data": {}}, buffers=[b"\x00\x01\xff"]
    )

    assert [bytes(b) for b in answer.buffers] == [b"\xff\x01\x00"]


async def test_a_widgets_message_larger_than_a_request_arrives_whole(notebook):
    await notebook.run(
        "import hashlib\n"
        "def opened(comm, message):\n"
        "    def take(m): comm.send([hashlib.sha256(b).hexdigest() for b in m['buffers']])\n"
        "    comm.on_msg(take)\n"
        "get_ipython().kernel.comm_manager.register_target('digest', opened)"
    )
    await notebook.tell("comm_open", {"comm_id": "digest-1", "target_name": "digest", "data": {}})
    buffers = [os.urandom(3_000_000), b"", b"small"]
    answer = await notebook.tell("comm_msg", {"comm_id": "digest-1", "data": {}}, buffers=buffers)

    [content] = answer.of("comm_msg")
    assert content["data"] == [hashlib.sha256(b).hexdigest() for b in buffers]


async def test_widgets_of_this_process_and_of_the_session_live_side_by_side(notebook, comm_id):
    await notebook.run("%%local\nimport ipywidgets\nlocal_slider = ipywidgets.IntSlider()")
    local = ast.literal_eval((await notebook.run("%local local_slider.comm.comm_id")).result)
    await notebook.tell("comm_msg", update(local, value=7))
    here = await notebook.run("%local local_slider.value")
    listed = (await notebook.request("comm_info")).reply["comms"]

    assert here.result == "7"
    assert {local, comm_id} <= set(listed)


async def test_who_asks_for_all_widgets_of_both_sides_is_told_to_ask_for_each(notebook, comm_id):
    await notebook.run("%%local\nimport ipywidgets\none_here = ipywidgets.IntSlider()")
    target = {"comm_id": "all", "target_name": "jupyter.widget.control", "data": {}}
    opened = await notebook.tell("comm_open", target)
    asked = await notebook.tell(
        "comm_msg", {"comm_id": "all", "data": {"method": "request_states"}}
    )

    assert [c["comm_id"] for c in opened.of("comm_close")] == ["all"]
    assert asked.messages == []
