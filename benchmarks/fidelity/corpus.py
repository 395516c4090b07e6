"""Plays each notebook of the corpus on two kernels and tells where they differ."""

from __future__ import annotations

import argparse
import asyncio
import copy
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from kernels import ROOMY, Kernel, our_kernel, plain_kernel, settings_of, settings_of_cluster
from normal import Normaliser, differences, merged, pattern_of
from player import Played, Player

from backendai_kernel.local.manager import LocalManager

NOTEBOOKS = Path(__file__).resolve().parent / "notebooks"
_COMPARED = ("outputs", "count", "reply", "traffic", "answers", "died")

Start = Callable[[Path], tuple[Kernel, str]]
"""Makes a kernel in a folder, and the expression for the path of the folder its code runs in."""


@dataclass
class Compared:
    """What two kernels made of one notebook.

    Attributes:
        cells: For each code cell, the lines that say where it differs; none: it is equal.
        widgets: The same for the widget state that is kept in the notebook.
    """

    name: str
    cells: list[list[str]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    widgets: list[str] = field(default_factory=list)
    outputs: int = 0
    seconds: float = 0.0
    skipped: str = ""

    @property
    def different(self) -> int:
        return sum(1 for lines in self.cells if lines)

    @property
    def is_equal(self) -> bool:
        return not self.different and not self.widgets


def notebooks(names: list[str], *, light: bool) -> list[Path]:
    """Return the notebooks that were asked for.

    Raises:
        SystemExit: There is none of that name.
    """
    there = {path.stem: path for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    if missing := [name for name in names if name not in there]:
        raise SystemExit(f"No notebook {missing[0]!r}. There are: {', '.join(there)}.")
    chosen = [there[name] for name in names] if names else list(there.values())
    return [path for path in chosen if not light or not _needs(path)]


def _needs(path: Path) -> list[str]:
    metadata = nbformat.read(path, as_version=4).metadata
    return list(metadata.get("fidelity", {}).get("needs", ()))


async def compare(
    path: Path, folder: Path, plain: Start, ours: Start, *, is_elsewhere: bool = False
) -> Compared:
    """Play a notebook on both kernels and return where they differ.

    Args:
        is_elsewhere: Our session runs on another computer.
    """
    result = Compared(path.stem)
    if missing := [name for name in _needs(path) if importlib.util.find_spec(name) is None]:
        result.skipped = f"needs {', '.join(missing)}"
        return result
    began = time.monotonic()
    notebook = nbformat.read(path, as_version=4)
    (one, one_form), (other, other_form) = plain(folder / "p"), ours(folder / "o")
    first, second = await asyncio.gather(
        Player(copy.deepcopy(notebook), one).play(), Player(copy.deepcopy(notebook), other).play()
    )
    told, told_ours = (
        comparable(played, Normaliser(form, is_elsewhere=is_elsewhere))
        for played, form in ((first, one_form), (second, other_form))
    )
    for mine, its in zip(told["cells"], told_ours["cells"], strict=True):
        result.sources.append(mine["source"])
        result.cells.append(_parted(mine, its))
        result.outputs += len(mine["outputs"])
    result.widgets = differences(told["widgets"], told_ours["widgets"], "widgets")
    result.seconds = time.monotonic() - began
    return result


def _parted(plain: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Return where a cell differs; the messages only when what they lead to does not tell it."""
    lines: list[str] = []
    for name in _COMPARED:
        if name != "traffic" or not lines:
            lines += differences(plain.get(name), ours.get(name), name)
    return lines


def comparable(played: Played, normaliser: Normaliser) -> dict[str, Any]:
    """Return what was played without what differs from run to run."""
    cells = []
    for cell in played.cells:
        outputs = merged(cell["outputs"])
        # The messages first: ids are numbered as they appear.
        traffic = normaliser.value(cell["traffic"])
        cells.append(
            {
                **normaliser.value({k: v for k, v in cell.items() if k != "source"}),
                "source": cell["source"],
                "traffic": traffic,
                "outputs": normaliser.value(outputs),
            }
        )
    return {"cells": cells, "widgets": normaliser.value(played.widgets)}


def table(results: list[Compared]) -> str:
    """Return the table of all notebooks, as Markdown."""
    lines = [
        "| notebook | cells | outputs | equal | different | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        if result.skipped:
            lines.append(f"| {result.name} | skipped: {result.skipped} | | | | |")
            continue
        count = len(result.cells)
        words = (
            result.name,
            count,
            result.outputs,
            count - result.different,
            f"{result.different}{' and widgets' if result.widgets else ''}",
            f"{result.seconds:.1f}",
        )
        lines.append(f"| {' | '.join(map(str, words))} |")
    played = [result for result in results if not result.skipped]
    cells, different = sum(len(r.cells) for r in played), sum(r.different for r in played)
    outputs, seconds = sum(r.outputs for r in played), sum(r.seconds for r in played)
    lines.append(
        f"| all | {cells} | {outputs} | {cells - different} | {different} | {seconds:.1f} |"
    )
    return "\n".join(lines)


def details(result: Compared) -> str:
    """Return each difference of a notebook in a readable form."""
    lines = []
    for index, (source, parted) in enumerate(zip(result.sources, result.cells, strict=True), 1):
        if parted:
            code = "\n".join(f"    | {line}" for line in source.splitlines()[:12])
            lines += [f"{result.name}, code cell {index}:", code, *(f"  {p}" for p in parted[:12])]
            if len(parted) > 12:
                lines.append(f"  … and {len(parted) - 12} more")
    if result.widgets:
        lines += [f"{result.name}, widget state:", *(f"  {line}" for line in result.widgets[:12])]
    return "\n".join(lines)


@asynccontextmanager
async def _starters(
    options: argparse.Namespace, folder: Path
) -> AsyncIterator[tuple[Start, Start]]:
    def plain(place: Path) -> tuple[Kernel, str]:
        return plain_kernel(place), pattern_of(place / "work")

    if options.control:
        yield plain, plain
    elif options.cluster:
        settings = settings_of_cluster()
        yield plain, lambda place: (our_kernel(place, settings, options.image), "/home/work")
    else:
        async with LocalManager(folder / "m", slots=ROOMY) as manager:
            settings = settings_of(manager)
            form = rf"(?:{pattern_of(folder)})/m/[^\s'\"]*?/work"
            yield plain, lambda place: (our_kernel(place, settings, options.image), form)


async def _compare_all(options: argparse.Namespace) -> list[Compared]:
    results = []
    with tempfile.TemporaryDirectory(prefix="fid", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        async with _starters(options, folder) as (plain, ours):
            for number, path in enumerate(notebooks(options.names, light=options.light)):
                place = folder / str(number)
                result = await compare(path, place, plain, ours, is_elsewhere=options.cluster)
                results.append(result)
                mark = result.skipped or ("equal" if result.is_equal else "DIFFERENT")
                print(f"{result.name}: {mark}", flush=True)
                if text := details(result):
                    print(text, flush=True)
    return results


def main(options: argparse.Namespace) -> int:
    """Compare what was asked for, print the table, write the report; 1 when something differs."""
    if options.cluster and not os.environ.get("BACKEND_ENDPOINT"):
        raise SystemExit("BACKEND_ENDPOINT and a keypair say which cluster; they are not set.")
    results = asyncio.run(_compare_all(options))
    print(f"\n{table(results)}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = [
        {
            "notebook": result.name,
            "skipped": result.skipped,
            "cells": len(result.cells),
            "outputs": result.outputs,
            "different": result.different,
            "seconds": round(result.seconds, 1),
            "differences": {
                str(number): lines for number, lines in enumerate(result.cells, 1) if lines
            },
            "widgets": result.widgets,
        }
        for result in results
    ]
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(not all(result.is_equal for result in results))
