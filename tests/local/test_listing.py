"""The languages of list queries, and the reader of GraphQL."""

from __future__ import annotations

import pytest

from backendai_kernel.local.gqltext import GraphQLSyntaxError, locate, parse
from backendai_kernel.local.listing import BadFilter, parse_filter, sort_rows
from backendai_kernel.local.suggest import did_you_mean

FIELDS = ("name", "status", "size")
ROWS = [
    {"name": "nb-1", "status": "RUNNING", "size": 3},
    {"name": "NB-2", "status": "PENDING", "size": None},
    {"name": "other", "status": "RUNNING", "size": 5},
]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('name == "nb-1"', ["nb-1"]),
        ('(status == "RUNNING") & (name ilike "nb-%")', ["nb-1"]),
        ('name ilike "nb-%"', ["nb-1", "NB-2"]),
        ('name like "nb-%"', ["nb-1"]),
        ('status == "PENDING" | size >= 5', ["NB-2", "other"]),
        ("!(size is null)", ["nb-1", "other"]),
        ('name in ["other", "nb-1"]', ["nb-1", "other"]),
        ('name contains "the"', ["other"]),
        ("size < 4", ["nb-1"]),
        ('status != "RUNNING"', ["NB-2"]),
    ],
)
def test_a_filter_lets_through(text: str, names: list[str]) -> None:
    test = parse_filter(text, FIELDS)

    assert [row["name"] for row in ROWS if test(row)] == names


@pytest.mark.parametrize(
    "text", ["name = 'single'", 'name == "x" &', "nope == 1", "(size > 1", "name", "name is is"]
)
def test_a_filter_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(BadFilter):
        parse_filter(text, FIELDS)


def test_an_order_goes_by_several_fields() -> None:
    rows = sort_rows(ROWS, "-status,+name", FIELDS)

    assert [row["name"] for row in rows] == ["nb-1", "other", "NB-2"]


def test_an_unknown_field_cannot_be_ordered_by() -> None:
    with pytest.raises(BadFilter):
        sort_rows(ROWS, "nope", FIELDS)


def test_variables_defaults_and_nested_fields_are_read() -> None:
    text = (
        'query q($a: Int!, $b: [String] = ["x"]) { list(a: $a, b: $b, c: "\\"é\\"") { i { n } t } }'
    )
    (root,) = parse(text, {"a": 3})

    assert root.name == "list"
    assert root.arguments == {"a": 3, "b": ["x"], "c": '"é"'}
    assert [field.name for field in root.fields] == ["i", "t"]
    assert root.fields[0].fields[0].name == "n"


@pytest.mark.parametrize(
    "text", ["not graphql", "{ a", "{ a } b", "mutation { a }", "{ }", "{ a(b:"]
)
def test_what_is_no_query_is_refused(text: str) -> None:
    with pytest.raises(GraphQLSyntaxError):
        parse(text, {})


def test_a_position_is_line_and_column_from_one() -> None:
    assert locate("{\n  nope }", 4) == {"line": 2, "column": 3}


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("nope", ["node", "groups"], " Did you mean 'node'?"),
        ("nope", ["type", "name", "status"], " Did you mean 'name' or 'type'?"),
        ("zzzzzz", ["name"], ""),
    ],
)
def test_near_names_are_suggested(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint
