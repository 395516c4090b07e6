"""A line of the table, and how figures are told in it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table; a target of ``None`` is a figure that has none."""

    what: str
    direct: str
    ours: str
    ratio: float
    target: float | None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        met = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return "met" if met else "missed"

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        target = "" if self.target is None else f"{sign} {self.target:g}"
        cells = (self.what, self.direct, self.ours, f"{self.ratio:.2f}", target, self.verdict)
        return f"| {' | '.join(cells)} |"


def in_turn(
    what: str,
    pairs: Sequence[Sequence[float]],
    scale: float,
    unit: str,
    target: float | None,
    *,
    at_least: bool = False,
) -> Row:
    """Return a row from pairs of (direct, ours); the ratio is the median of the pairs' ratios."""
    direct, ours = zip(*pairs, strict=True)
    ratio = statistics.median(mine / theirs for theirs, mine in pairs)
    return Row(
        what, told(direct, scale, unit), told(ours, scale, unit), ratio, target, at_least=at_least
    )


def told(values: Sequence[float], scale: float, unit: str) -> str:
    """Return median and range, or for many values median and 95th percentile."""
    ordered = sorted(value * scale for value in values)
    middle = f"{statistics.median(ordered):.4g} {unit}"
    if len(ordered) >= 40:
        return f"{middle} (p95 {ordered[int(len(ordered) * 0.95)]:.3g})"
    return f"{middle} [{ordered[0]:.3g}..{ordered[-1]:.3g}]"
