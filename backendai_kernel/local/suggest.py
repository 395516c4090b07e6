"""The "Did you mean" of GraphQL errors, as the reference implementation words it."""

from __future__ import annotations

from collections.abc import Iterable

_MOST = 5


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'name' or 'type'?`` with the nearest known words, else nothing.

    Source: recording 65.
    """
    threshold = int(len(word) * 0.4) + 1
    distances = {name: _distance(word.lower(), name.lower()) for name in known}
    near = sorted((far, name) for name, far in distances.items() if far <= threshold)[:_MOST]
    names = [f"'{name}'" for _, name in near]
    if not names:
        return ""
    if len(names) > 2:
        return f" Did you mean {', '.join(names[:-1])}, or {names[-1]}?"
    return f" Did you mean {' or '.join(names)}?"


def _distance(one: str, other: str) -> int:
    """Return how many letters must be put in, left out, changed or swapped."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, start=1):
        row = [i]
        for j, b in enumerate(other, start=1):
            best = min(rows[-1][j] + 1, row[j - 1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]
