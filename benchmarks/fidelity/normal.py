"""Takes out of what a kernel said all that differs from run to run of one and the same kernel.

Everything else must be equal to the letter. `--control` proves that nothing is left to differ: it
compares a plain kernel with another plain kernel.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_NUMBER = r"\d{1,9}(?:\.\d{1,9})?(?:e[+-]?\d+)?"
_TIME = rf"{_NUMBER} ?(?:ns|us|µs|μs|ms|s|min|h)"

_RULES: tuple[tuple[str, str], ...] = (
    (r"0x[0-9a-f]{6,16}\b", "0xADDRESS"),
    (r"\bobject at [0-9a-f]{8,16}\b", "object at ADDRESS"),
    (r"ipykernel_\d+", "ipykernel_PID"),
    (rf"(Wall time: |total: |user |sys: )(?:{_TIME} ?)+", r"\1TIME "),
    (
        rf"(?<![\d.]){_TIME} ± {_TIME} per loop \(mean ± std\. dev\. of (\d+) runs?, [\d,]+ loops? each\)",
        r"TIME ± TIME per loop (\1 runs)",
    ),
    (rf"Compiler (?:time)?: {_TIME}", "Compiler time: TIME"),
    # tqdm: [00:00<00:00, 12345.67it/s, loss=1]; in a widget with figure spaces, as HTML
    (
        r"\[\d\d:\d\d(<|&lt;)(?:\d\d:\d\d|\?),[ \u2007]+(?:[\d.,]+[kM]?|\?) ?(?:it/s|s/it)",
        r"[TIME\1TIME, RATE",
    ),
    (r"\bT_[0-9a-f]{5}(?=_|\b)", "T_STYLER"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)?", "DATE"),
)
_PACKAGES = (r"/[\w./-]+/lib/python3[\w.]*/(?:site|dist)-packages", "<packages>")
_ID = re.compile(
    r"(?<![0-9a-f])(?:"
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # UUID
    r"|[0-9a-f]{8}-[0-9a-f]{24}_\d+_\d+"  # message of jupyter_client
    r"|[0-9a-f]{32}|[0-9a-f]{16}"
    r")(?![0-9a-f])"
)


class Normaliser:
    """Makes what one kernel said comparable; ids get numbers in the order of their appearance."""

    def __init__(self, work: str, *, is_elsewhere: bool = False) -> None:
        r"""Prepare.

        Args:
            work: Expression that matches the path of the folder in which the code runs.
            is_elsewhere: One of the kernels runs on another computer: its packages have another
                folder.
        """
        rules = ((work, "<work>"), *((_PACKAGES,) if is_elsewhere else ()), *_RULES)
        self._rules = [(re.compile(form), new) for form, new in rules]
        self._ids: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Return *text* without what differs from run to run."""
        for form, new in self._rules:
            text = form.sub(new, text)
        return _ID.sub(lambda match: self._id(match[0]), text)

    def _id(self, found: str) -> str:
        plain = found.replace("-", "")
        return self._ids.setdefault(plain, f"<id {len(self._ids) + 1}>")

    def value(self, value: Any) -> Any:
        """Return a value of JSON in which every text, keys included, is normalised."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(k)): self.value(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value


def merged(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a cell's outputs with neighbouring texts of one stream made one, as pages show them."""
    result: list[dict[str, Any]] = []
    for output in outputs:
        last = result[-1] if result else {}
        if output["output_type"] == "stream" == last.get("output_type"):
            if output["name"] == last["name"]:
                result[-1] = {**last, "text": last["text"] + output["text"]}
                continue
        result.append(dict(output))
    return result


def pattern_of(folder: Path) -> str:
    """Return an expression for the path of a folder, in whatever way it is spelt."""
    spelt = {str(folder), str(folder.resolve())}
    return "|".join(re.escape(path) for path in sorted(spelt, key=len, reverse=True))


def differences(plain: Any, ours: Any, where: str = "") -> list[str]:
    """Return where two values of JSON differ, a line or two for each place."""
    if isinstance(plain, dict) and isinstance(ours, dict):
        lines = []
        for key in dict.fromkeys([*plain, *ours]):
            place = f"{where}.{key}" if where else str(key)
            if key not in ours:
                lines.append(f"{place}: missing here, plain has {_short(plain[key])}")
            elif key not in plain:
                lines.append(f"{place}: only here: {_short(ours[key])}")
            else:
                lines += differences(plain[key], ours[key], place)
        return lines
    if isinstance(plain, list) and isinstance(ours, list):
        lines = []
        for index, (one, other) in enumerate(zip(plain, ours, strict=False)):
            lines += differences(one, other, f"{where}[{index}]")
        for index in range(len(ours), len(plain)):
            lines.append(f"{where}[{index}]: missing here, plain has {_short(plain[index])}")
        for index in range(len(plain), len(ours)):
            lines.append(f"{where}[{index}]: only here: {_short(ours[index])}")
        return lines
    if type(plain) is type(ours) and plain == ours:
        return []
    if isinstance(plain, str) and isinstance(ours, str):
        return [f"{where}: {_around(plain, ours)}"]
    return [f"{where}: {_short(plain)} became {_short(ours)}"]


_WIDTH = 160


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}… ({len(text)} characters)"


def _around(plain: str, ours: str) -> str:
    """Return the first place where two texts part, with what stands around it."""
    pairs = enumerate(zip(plain, ours, strict=False))
    at = next((i for i, (one, other) in pairs if one != other), min(len(plain), len(ours)))
    start, end = max(0, at - 30), at + _WIDTH // 2
    return (
        f"differs at character {at} of {len(plain)} and {len(ours)}:\n"
        f"    plain {plain[start:end]!r}\n    ours  {ours[start:end]!r}"
    )
