"""What ``%bai`` adds to how cells are written: ``x << %bai``, ``%bai run?``, and the Tab key."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .complete import Completion
    from .connection import Connection

_ASSIGNED = re.compile(r"^(\s*[^\W\d][\w., ]*?)\s*<<\s*(%bai(?:\s.*)?)$", re.DOTALL)
_ASKED = re.compile(r"^(\s*)(%%?bai)\b(?!\s*=)(?P<words>[\w\s-]*?)\s*\?{1,2}\s*$")
_LINE = re.compile(r"^\s*(?:[^\W\d][\w., ]*?\s*(?:=|<<)\s*)?%{1,2}bai\s+(?P<words>.*)$", re.DOTALL)


class Notation:
    """What is added to a shell, and can be taken away again."""

    def __init__(self, shell: Any, connection: Callable[[], Connection]) -> None:
        self._shell = shell
        self._connection = connection
        self._completion: Completion | None = None
        self._matcher: Any = None

    def install(self) -> None:
        """Add it."""
        from IPython.core.completer import context_matcher

        @context_matcher(identifier="backendai_magics")  # type: ignore[untyped-decorator]
        def matcher(context: Any) -> Any:
            return self._match(context)

        self._matcher = matcher
        self._shell.input_transformers_cleanup.append(rewrite)
        if getattr(self._shell, "Completer", None) is not None:
            self._shell.Completer.custom_matchers.append(matcher)

    def remove(self) -> None:
        """Take it away."""
        transformers = self._shell.input_transformers_cleanup
        if rewrite in transformers:
            transformers.remove(rewrite)
        completer = getattr(self._shell, "Completer", None)
        if completer is not None and self._matcher in completer.custom_matchers:
            completer.custom_matchers.remove(self._matcher)

    def _match(self, context: Any) -> Any:
        found = _LINE.match(context.text_until_cursor)
        if found is None:
            return {"completions": []}
        from IPython.core.completer import SimpleCompletion

        if self._completion is None:
            from .complete import Completion

            self._completion = Completion(self._connection())
        words = self._completion.complete(found["words"])
        offered = words.texts or (words.fragment,)  # itself, rather than what others would offer
        token = len(context.token)
        fragment = len(words.fragment)
        # IPython replaces the last token, which may begin elsewhere than the word.
        texts = [
            context.token[: token - fragment] + text
            if fragment <= token
            else text[fragment - token :]
            for text in filter(None, offered)
        ]
        return {
            "completions": [SimpleCompletion(text=text, type="bai") for text in texts],
            "suppress": True,
            "ordered": True,
        }


def rewrite(lines: list[str]) -> list[str]:
    """Rewrite the lines that IPython has no notation for; see the module."""
    rewritten = list(lines)
    for number, line in enumerate(lines):
        if "%bai" not in line:
            continue
        body = line.rstrip("\r\n")
        end = line[len(body) :]
        if found := _ASSIGNED.match(body):
            text = f"{found[1]} = {found[2]}{end}"
        elif found := _ASKED.match(body):
            text = f"{found[1]}%bai {' '.join([*found['words'].split(), '-h'])}{end}"
        else:
            continue
        if _is_inside(rewritten[:number]):
            continue
        rewritten[number] = text
        if body.lstrip().startswith("%%"):
            return rewritten[: number + 1]  # a cell's body is no matter of a question
    return rewritten


def _is_inside(before: list[str]) -> bool:
    """Tell whether what follows these lines stands in a string or in brackets."""
    try:
        for _ in tokenize.generate_tokens(iter([*before, ""]).__next__):
            pass
    except tokenize.TokenError as exc:
        return "multi-line" in str(exc.args[0]) or "triple-quoted" in str(exc.args[0])
    except (SyntaxError, StopIteration):
        return False  # other magics, and what else is no Python: IPython will see to it
    return False
