"""The page of the documentation about the verbs, made from their parsers."""

from __future__ import annotations

import argparse

from .tree import VERBS, Verb

BEGIN = "<!-- made by `make docs`: do not edit below -->"
END = "<!-- made by `make docs`: do not edit above -->"


def markdown() -> str:
    """Return all verbs and their options as Markdown."""
    rows = [
        f"| [`%bai {verb.name}`](#bai-{verb.name}) | {verb.summary} |" for verb in VERBS.values()
    ]
    table = "\n".join(["| verb | does |", "| --- | --- |", *rows])
    return "\n\n".join([table, *map(_section, VERBS.values())]) + "\n"


def filled(page: str) -> str:
    """Return a page with what stands between the two marks made anew.

    Raises:
        ValueError: A mark is missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page has lost its marks")
    return f"{before}{BEGIN}\n\n{markdown()}\n{END}{after}"


def _section(verb: Verb) -> str:
    parser = verb.parser()
    words = [str(action.metavar) for action in parser.actions if not action.option_strings]
    parts = [f"### %bai {verb.name}", verb.summary]
    if verb.others:
        parts.append(f"Also: {', '.join(f'`{other}`' for other in verb.others)}.")
    parts.append(f"```python\n{verb.example or ' '.join(['%bai', verb.name, *words])}\n```")
    rows = [
        f"| {_names(action)} | {_cell(action.help or '')} |"
        for action in parser.actions
        if action.dest != argparse.SUPPRESS
    ]
    if rows:
        parts.append("\n".join(["| argument | meaning |", "| --- | --- |", *rows]))
    return "\n\n".join(parts)


def _names(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {action.metavar or _choices(action)}"
    if not action.option_strings:
        return f"`{_cell(str(action.metavar))}`"
    return ", ".join(f"`{name}`" for name in action.option_strings) + (
        f" `{_cell(value.strip())}`" if value else ""
    )


def _choices(action: argparse.Action) -> str:
    return ", ".join(map(str, action.choices or ()))


def _cell(text: str) -> str:
    return text.replace("%%", "%").replace("|", "\\|")


if __name__ == "__main__":
    import sys
    from pathlib import Path

    page = Path(sys.argv[1])
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
