"""How much text of one cell a front end is sent: a page with more of it cannot be used any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

VARIABLE = "BACKENDAI_KERNEL_OUTPUT"
_DEFAULT = "128m"
_TAIL = 4000  # characters of the end that are shown all the same


class TextLimit:
    """Lets text of one cell pass up to a limit, and its very end."""

    def __init__(self, limit: int, kept: Path | None) -> None:
        """Begin a cell.

        Args:
            limit: Characters; 0: none.
            kept: Where all of it is; ``None``: nowhere.
        """
        self._limit = limit
        self._kept = kept
        self._shown = 0
        self._left_out = 0
        self._tail: deque[tuple[str, str]] = deque()
        self._tail_size = 0

    def take(self, stream: str, text: str) -> Iterator[tuple[str, str]]:
        """Yield what is to be shown for a text: pairs of a stream and a text."""
        room = len(text) if not self._limit else max(0, self._limit - self._shown)
        self._shown += min(room, len(text))
        if room:
            yield stream, text[:room]
        rest = text[room:]
        if rest and not self._left_out:
            where = f" All of it is in {self._kept}." if self._kept is not None else ""
            yield (
                "stderr",
                f"\n[This cell has printed more than {self._limit} characters; from here on only "
                f"its end is shown.{where} {VARIABLE}=100m in the kernel's environment, or 0 for "
                "no limit, shows more.]\n",
            )
        if rest:
            self._left_out += len(rest)
            self._tail.append((stream, rest[-_TAIL:]))
            self._tail_size += len(self._tail[-1][1])
            while self._tail_size - len(self._tail[0][1]) >= _TAIL:
                self._tail_size -= len(self._tail.popleft()[1])

    def finish(self) -> Iterator[tuple[str, str]]:
        """Yield the end of what was left out."""
        if self._left_out:
            hidden = self._left_out - self._tail_size
            yield "stderr", f"[{hidden} characters are not shown. The end:]\n"
            yield from self._tail
            self._left_out = 0
            self._tail.clear()


def output_limit(environ: Mapping[str, str]) -> int:
    """Return how many characters of text a cell may show; 0: any number.

    Raises:
        ConfigError: The setting is no size.
    """
    from ..slots import size_setting

    return size_setting(environ, VARIABLE, _DEFAULT, "10m or 1g")
