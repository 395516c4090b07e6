"""Cells of a notebook, from the front end's message to the session's interpreter and back.

One kernel for all of them: each leaves it as it found it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backendai_kernel.local.manager import LocalManager

from ..conftest import ROOMY
from .frontend import Notebook, environment_for, open_notebook, spent

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
    async with open_notebook(folder, environment_for(manager, folder)) as notebook:
        yield notebook


# -- output ---------------------------------------------------------------------------------------


async def test_a_bare_expression_is_a_result_with_the_cells_number(notebook):
    cell = await notebook.run("6 * 7")

    assert cell.kinds == ["execute_result"]
    assert cell.result == "42"
    [content] = cell.of("execute_result")
    assert content["execution_count"] == cell.reply["execution_count"]


async def test_cells_are_counted_and_share_their_names(notebook):
    first = await notebook.run("shared_name = 5")
    second = await notebook.run("shared_name + 1")

    assert second.reply["execution_count"] == first.reply["execution_count"] + 1
    assert second.result == "6"


async def test_what_is_printed_goes_to_its_stream(notebook):
    cell = await notebook.run("import sys; print('out'); print('err', file=sys.stderr)")

    assert (cell.stdout, cell.stderr) == ("out\n", "err\n")
    assert cell.is_ok


async def test_results_displays_and_text_keep_their_order(notebook):
    code = """
from IPython.display import HTML, display
print('one', flush=True)
display(HTML('<b>two</b>'))
print('three', flush=True)
4
"""
    cell = await notebook.run(code)

    assert cell.kinds == ["stdout", "display_data", "stdout", "execute_result"]


async def test_text_of_a_running_cell_is_shown_before_its_end(notebook):
    cell = notebook.send("print('early', flush=True)\ninput('now? ')")
    await cell.until(lambda cell: cell.questions and cell.stdout)

    assert cell.stdout == "early\n"
    assert not cell.reply
    notebook.answer("")
    await cell.done()


async def test_every_script_and_every_sign_comes_back(notebook):
    text = "한국어 日本語 🎈 \x1b[31mred\x1b[0m \t| <b> & \u2028 end"
    cell = await notebook.run(f"print({text!r})")

    assert cell.stdout == f"{text}\n"


async def test_many_lines_come_whole(notebook):
    cell = await notebook.run("for i in range(200_000): print(i)")

    assert cell.stdout == "".join(f"{i}\n" for i in range(200_000))


async def test_html_comes_with_its_text_twin_and_leaves_the_session_usable(notebook):
    code = """
class Table:
    def __repr__(self): return 'table'
    def _repr_html_(self): return '<table><tr><td>1 &lt; 2</td></tr></table>'
Table()
"""
    cell = await notebook.run(code)

    [content] = cell.of("execute_result")
    assert content["data"] == {
        "text/plain": "table",
        "text/html": "<table><tr><td>1 &lt; 2</td></tr></table>",
    }
    assert (await notebook.run("1")).result == "1"


async def test_a_display_of_the_kinds_that_the_server_drops_comes_whole(notebook):
    code = """
from IPython.display import publish_display_data
publish_display_data(
    {'text/plain': 't', 'text/markdown': '**m**', 'text/latex': '$x$',
     'application/json': {'a': [1, None]}, 'application/vnd.custom+json': {'v': 1}},
    metadata={'application/json': {'expanded': True}},
)
"""
    [content] = (await notebook.run(code)).of("display_data")

    assert content["data"] == {
        "text/plain": "t",
        "text/markdown": "**m**",
        "text/latex": "$x$",
        "application/json": {"a": [1, None]},
        "application/vnd.custom+json": {"v": 1},
    }
    assert content["metadata"] == {"application/json": {"expanded": True}}


async def test_a_display_can_be_updated(notebook):
    code = """
from IPython.display import display
handle = display('first', display_id=True)
handle.update('second')
"""
    cell = await notebook.run(code)

    assert cell.kinds == ["display_data", "update_display_data"]
    one, two = (content["transient"]["display_id"] for _, content in cell.shown)
    assert one == two


async def test_a_png_comes_as_bare_base64(notebook):
    png = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
        "rkJggg=="
    )
    cell = await notebook.run(
        f"import base64\nfrom IPython.display import Image\nImage(base64.b64decode('{png}'))"
    )

    [content] = cell.of("execute_result")
    assert content["data"]["image/png"].replace("\n", "") == png


async def test_a_semicolon_keeps_a_result_to_itself(notebook):
    cell = await notebook.run("42;")

    assert cell.shown == []
    assert cell.is_ok


async def test_an_empty_cell_is_fine_and_not_sent(notebook, manager):
    await notebook.run("0")
    before = len(manager.requests)
    cell = await notebook.run("\n  \n")

    assert cell.is_ok
    assert spent(manager, before) == []


# -- errors ---------------------------------------------------------------------------------------


async def test_an_exception_is_an_error_with_name_value_and_traceback(notebook):
    cell = await notebook.run("print('before')\n1/0")

    assert cell.kinds == ["stdout", "error"]
    assert cell.error == ("ZeroDivisionError", "division by zero")
    assert any("1/0" in line or "1" in line for line in cell.reply["traceback"])
    assert "ZeroDivisionError" in cell.reply["traceback"][-1]


async def test_a_syntax_error_is_an_error(notebook):
    name, value = (await notebook.run("def f(:")).error

    assert name == "SyntaxError"
    assert value


async def test_an_error_of_ones_own_keeps_all_of_its_value(notebook):
    code = "class Mine(Exception): pass\nraise Mine('two\\nlines <b>')"

    assert (await notebook.run(code)).error == ("Mine", "two\nlines <b>")


async def test_run_all_stops_at_an_error(notebook):
    cells = [notebook.send(code) for code in ("print(1)", "1/0", "print(2)", "print(3)")]
    for cell in cells:
        await cell.done()

    assert [cell.reply["status"] for cell in cells] == ["ok", "error", "aborted", "aborted"]
    assert cells[2].stdout == cells[3].stdout == ""
    assert (await notebook.run("print(4)")).stdout == "4\n"


async def test_a_cell_may_ask_that_an_error_stops_nothing(notebook):
    cells = [notebook.send(code, stop_on_error=False) for code in ("1/0", "print(2)")]
    for cell in cells:
        await cell.done()

    assert [cell.reply["status"] for cell in cells] == ["error", "ok"]


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "raise SystemExit(3)"])
async def test_an_exit_is_an_error_and_not_the_end_of_the_interpreter(notebook, code):
    await notebook.run("kept = 1")
    cell = await notebook.run(code)

    assert cell.error == ("SystemExit", "3")
    assert (await notebook.run("kept")).result == "1"


async def test_a_traceback_that_was_printed_is_no_error(notebook):
    cell = await notebook.run("import traceback\ntry: 1/0\nexcept Exception: traceback.print_exc()")

    assert cell.is_ok
    assert cell.stderr.endswith("ZeroDivisionError: division by zero\n")


# -- input ----------------------------------------------------------------------------------------


async def test_a_question_is_asked_at_the_prompt_and_answered(notebook):
    cell = notebook.send("name = input('name? '); print('hello', name)")
    await cell.until(lambda cell: cell.questions)
    notebook.answer("Ada")
    await cell.done()

    assert cell.questions == [{"prompt": "name? ", "password": False}]
    assert cell.stdout == "hello Ada\n"


async def test_a_password_is_asked_for_hidden_and_not_shown(notebook):
    cell = notebook.send("import getpass; n = len(getpass.getpass('pw: ')); n")
    await cell.until(lambda cell: cell.questions)
    notebook.answer("secret")
    await cell.done()

    assert cell.questions == [{"prompt": "pw: ", "password": True}]
    assert cell.result == "6"
    assert "secret" not in str(cell.messages)


async def test_questions_may_follow_each_other(notebook):
    cell = notebook.send("[input(str(i)) for i in range(3)]")
    for count in (1, 2, 3):
        await cell.until(lambda cell, count=count: len(cell.questions) == count)
        notebook.answer(f"a{count}")
    await cell.done()

    assert [question["prompt"] for question in cell.questions] == ["0", "1", "2"]
    assert cell.result == "['a1', 'a2', 'a3']"


async def test_a_question_may_stand_on_a_line_that_was_begun(notebook):
    cell = notebook.send("print('line'); print('begun: ', end='', flush=True); input()")
    await cell.until(lambda cell: cell.questions)
    notebook.answer("x")
    await cell.done()

    assert cell.stdout + cell.questions[0]["prompt"] == "line\nbegun: "
    assert cell.result == "'x'"


async def test_a_front_end_that_cannot_be_asked_fails_the_cell_and_not_the_session(notebook):
    await notebook.run("kept = 2")
    cell = await notebook.run("print('before'); input('name? '); print('never')", allow_stdin=False)

    assert cell.error[0] == "StdinNotImplementedError"
    assert "input" in cell.error[1]
    assert cell.questions == []
    assert "never" not in cell.stdout
    assert (await notebook.run("kept")).result == "2"


async def test_an_interrupted_question_ends_the_cell(notebook):
    cell = notebook.send("input('name? ')")
    await cell.until(lambda cell: cell.questions)
    await notebook.interrupt()
    await cell.done()

    assert cell.error[0] == "KeyboardInterrupt"
    assert (await notebook.run("1")).result == "1"


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(notebook):
    cell = notebook.send("input('first? ')")
    await cell.until(lambda cell: cell.questions)
    await notebook.interrupt()
    await cell.done()
    notebook.answer("stale")
    cell = notebook.send("input('second? ')")
    await cell.until(lambda cell: cell.questions)
    notebook.answer("fresh")
    await cell.done()

    assert cell.result == "'fresh'"


# -- what runs where ------------------------------------------------------------------------------


async def test_local_lines_and_cells_run_in_the_kernels_own_process(notebook):
    await notebook.run("here = 'session'; import os; pid = os.getpid()")
    line = await notebook.run("%local import os; print(os.getpid())")
    cell = await notebook.run("%%local\nhere = 'kernel'\nos.getpid()")
    remote = await notebook.run("here, pid == os.getpid()")

    assert line.stdout.strip() == cell.result == str(notebook.process.pid)
    assert remote.result == "('session', True)"


async def test_a_local_line_may_be_followed_by_code_for_the_session(notebook):
    cell = await notebook.run("%local print('here')\nprint('there')\n3")

    assert cell.stdout == "here\nthere\n"
    assert cell.result == "3"


async def test_a_local_line_that_fails_keeps_the_rest_from_running(notebook):
    cell = await notebook.run("%local 1/0\nprint('there')")

    assert cell.error[0] == "ZeroDivisionError"
    assert cell.stdout == ""


async def test_a_local_line_in_the_wrong_place_is_refused_with_the_cell_as_it_could_be(notebook):
    cell = await notebook.run("print('there')\n%local 1")

    name, value = cell.error
    assert name == "UsageError"
    assert value.endswith("Write:\n%local 1\nprint('there')\n")
    assert cell.stdout == ""


async def test_other_magics_and_commands_run_in_the_session(notebook):
    cell = await notebook.run("marker = 'm'\n!echo command {marker}\n%who_ls str")

    assert "command m" in cell.stdout
    assert "'marker'" in cell.result


async def test_one_count_for_local_and_remote_cells(notebook):
    counts = [
        (await notebook.run(code)).reply["execution_count"]
        for code in ("1", "%local 1", "%local 1\n2", "print(3)\n%local 4", "5")
    ]

    assert counts == list(range(counts[0], counts[0] + 5))


# -- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["1 + 1", "1/0", "print('a')", "%local pass\n1"])
async def test_a_cell_of_one_step_is_one_request(notebook, manager, code):
    await notebook.run("0")
    needed = []
    for _ in range(20):  # one that takes long, on a busy computer, shows what it has printed
        before = len(manager.requests)
        await notebook.run(code)
        needed.append(spent(manager, before))
        if needed[-1] == ["POST /session/{id}"]:
            break

    assert needed[-1] == ["POST /session/{id}"], needed


async def test_a_silent_cell_shows_no_result_and_counts_nothing(notebook):
    before = (await notebook.run("0")).reply["execution_count"]
    cell = await notebook.run("print('said'); 5", silent=True)

    assert cell.kinds == ["stdout"]
    assert (await notebook.run("0")).reply["execution_count"] == before + 1


async def test_a_cell_that_is_not_stored_is_not_counted(notebook):
    before = (await notebook.run("0")).reply["execution_count"]
    cell = await notebook.run("5", store_history=False)

    assert cell.result == "5"
    assert (await notebook.run("0")).reply["execution_count"] == before + 1


async def test_the_session_is_never_seen_to_have_our_own_names(notebook):
    cell = await notebook.run("[n for n in dir() if 'bai' in n.lower() or 'backend' in n.lower()]")

    assert cell.result == "[]"
