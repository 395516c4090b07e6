"""Sessions whose interpreter can send no envelopes: output as the server's own filter leaves it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backendai_kernel.local.agent import Container, ContainerSpec, start_container
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES

from ..conftest import ROOMY
from .frontend import Notebook, environment_for, open_notebook

_STARTUP = ".ipython/profile_default/startup"


async def without_ipython(spec: ContainerSpec) -> Container:
    """Start a container whose own start-up file hides IPython from the code that runs in it."""
    folder = spec.work / _STARTUP
    folder.mkdir(parents=True)
    (folder / "00-hide.py").write_text("def get_ipython():\n    return None\n")
    return await start_container(spec)


@pytest.fixture(params=["26.4", "23.09"])
async def notebook(request, tmp_path, folder) -> AsyncIterator[Notebook]:
    """A kernel on a server that tells of a failed cell by its exit code, and one that does not."""
    release = RELEASES[request.param]
    async with (
        LocalManager(tmp_path, release=release, slots=ROOMY, start=without_ipython) as manager,
        open_notebook(folder, environment_for(manager, folder)) as notebook,
    ):
        yield notebook


async def test_text_and_results_are_shown_as_text(notebook):
    cell = await notebook.run("import sys; print('out'); print('err', file=sys.stderr); 6 * 7")

    assert cell.is_ok
    assert cell.stdout == "out\n42"
    assert cell.stderr == "err\n"
    assert "execute_result" not in cell.kinds


async def test_an_exception_is_an_error_and_stops_run_all(notebook):
    cells = [notebook.send("print('before')\n{}['key']"), notebook.send("print('next')")]
    for cell in cells:
        await cell.done()

    assert cells[0].kinds == ["stdout", "error"]
    assert cells[0].error == ("KeyError", "'key'")
    assert cells[1].reply["status"] == "aborted"


async def test_a_syntax_error_is_an_error(notebook):
    assert (await notebook.run("def f(:")).error[0] == "SyntaxError"


async def test_a_traceback_that_is_only_printed_is_no_error(notebook):
    cell = await notebook.run(
        "import traceback\ntry: 1/0\nexcept Exception: traceback.print_exc()\nprint('went on')"
    )

    assert cell.is_ok
    assert "ZeroDivisionError" in cell.stderr
    assert cell.stdout == "went on\n"


async def test_an_image_is_a_display(notebook):
    cell = await notebook.run(
        "from IPython.display import display, SVG\ndisplay(SVG('<svg xmlns=\"a\"></svg>'))"
    )

    [content] = cell.of("display_data")[-1:]
    assert list(content["data"]) == ["image/svg+xml"]


async def test_a_question_is_asked_and_an_interrupt_is_an_error(notebook):
    cell = notebook.send("name = input('name? '); print('hello', name)")
    await cell.until(lambda cell: cell.questions)
    notebook.answer("Ada")
    assert (await cell.done()).stdout == "hello Ada\n"
    asleep = await notebook.started("import time; time.sleep(600)")
    await notebook.interrupt()
    await asleep.done()

    assert asleep.error[0] == "KeyboardInterrupt"


async def test_html_costs_the_output_of_its_cell_and_never_the_session(notebook):
    cell = await notebook.run("from IPython.display import HTML, display\ndisplay(HTML('<b>'))")

    assert "may be missing" in cell.stderr
    assert (await notebook.run("'alive'")).stdout == "'alive'"
