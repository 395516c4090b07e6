"""Where a cell runs: here, in the session, or one part after the other."""

from __future__ import annotations

import pytest

from backendai_kernel.proxy.routing import Misplaced, Route, route


@pytest.mark.parametrize(
    "code",
    [
        "",
        "\n\n",
        "# only a comment\n",
        "1 + 1",
        "!ls",
        "%pip install attrs",
        "%timeit 1",
        "%%bash\necho hello",
        "%%time\n%bai ps",
        "obj?",
        "print('%bai ps')",
        "text = '''\n%bai ps\n'''",
        'text = """\n%local 1\n%%local\n"""\nprint(text)',
        "x = [\n%bai\n]",
        "def f():\n    %bai ps",
        "%baited line",
        "%locale",
        "%%localhost\nx",
        "x = %bait ps",
        "π = 3.14\nprint('…')",
        "x %bai\n",
    ],
)
def test_everything_that_is_not_ours_goes_to_the_session_unchanged(code):
    assert route(code) == Route("", code)


@pytest.mark.parametrize(
    "code",
    [
        "%bai ps",
        "\n# first\n\n%bai ps\n",
        "x = %bai ps",
        "a, b = %bai status",
        "names << %bai ps",
        "%bai ps\n# done\n\n%bai usage",
    ],
)
def test_bai_lines_run_here(code):
    taken = route(code)

    assert taken.remote == ""
    assert taken.local.strip() == code.strip().removeprefix("# first\n\n")


def test_a_local_line_runs_the_rest_of_the_line_here():
    assert route("%local import os; os.getpid()") == Route("import os; os.getpid()", "")


def test_a_local_cell_runs_here_without_its_first_line():
    assert route("# note\n%%local\nx = 1\n%bai ps\nx") == Route("x = 1\n%bai ps\nx", "")


def test_a_bai_cell_runs_here_whole_since_its_body_is_its_input():
    code = "%%bai run train -r gpu=1\nprint(1)\n"

    assert route("\n" + code) == Route(code, "")


def test_local_lines_may_be_followed_by_code_for_the_session():
    assert route("%bai ps\nx = 1\nprint(x)\n") == Route("%bai ps\n", "x = 1\nprint(x)\n")


def test_blank_lines_and_comments_between_local_lines_belong_to_them():
    taken = route("%local a = 1\n\n# then\n%bai ps\n\n# and there\nprint(2)")

    assert taken == Route("a = 1\n\n# then\n%bai ps\n", "\n# and there\nprint(2)")


def test_windows_line_ends_change_nothing():
    assert route("%bai ps\r\nprint(1)\r\n") == Route("%bai ps\r\n", "print(1)\r\n")
    assert route("%%local\r\nx = 1\r\n") == Route("x = 1\r\n", "")


def test_characters_of_every_script_pass():
    assert route("%local s = '日本語 🎈'\nprint('한국어')") == Route(
        "s = '日本語 🎈'\n", "print('한국어')"
    )


@pytest.mark.parametrize(
    "separator", ["\u2028", "\x0b", "\x0c", "\x1c", "\x85"], ids=lambda c: f"{ord(c):x}"
)
def test_only_line_ends_of_python_end_a_line(separator):
    code = f"text = 'a{separator}%bai ps'"

    assert route(code) == Route("", code)


def test_a_bai_line_behind_code_is_refused_and_the_message_shows_the_cell_as_it_could_be():
    with pytest.raises(Misplaced) as caught:
        route("x = 1\n%bai ps\nprint(x)")

    assert caught.value.fixed == "%bai ps\nx = 1\nprint(x)"
    assert "%bai must stand before the code" in str(caught.value)
    assert str(caught.value).endswith(caught.value.fixed)
    assert route(caught.value.fixed) == Route("%bai ps\n", "x = 1\nprint(x)")


def test_an_assignment_from_a_bai_line_behind_code_is_refused_by_its_magic_word():
    with pytest.raises(Misplaced, match=r"^%bai must stand before") as caught:
        route("import os\nx = %bai ps")

    assert caught.value.fixed == "x = %bai ps\nimport os\n"


def test_a_local_line_behind_code_that_local_lines_precede_is_refused():
    with pytest.raises(Misplaced):
        route("%bai ps\nx = 1\n%local 2")


def test_local_with_nothing_behind_it_is_refused_and_points_to_the_cell_magic():
    with pytest.raises(Misplaced, match="%%local") as caught:
        route("%local\nimport os\nos.getpid()")

    assert caught.value.fixed == "%%local\nimport os\nos.getpid()"
    assert route(caught.value.fixed) == Route("import os\nos.getpid()", "")


def test_a_bai_line_in_a_string_is_no_reason_to_refuse_one_that_follows_none():
    code = "a = '''\n%bai ps\n'''\nprint(a)"

    assert route(code) == Route("", code)


def test_code_with_a_syntax_error_is_for_the_session_to_complain_about():
    assert route("def f(:\n") == Route("", "def f(:\n")
