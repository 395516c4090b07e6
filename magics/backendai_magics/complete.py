"""What the Tab key offers behind ``%bai``: words of the parsers, and names that the server knows.

Names come from a cache. A look at the server takes place on the portal's loop, and is waited for
for a moment only: typing is never held up. What comes too late is there for the next key.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backendai_kernel.errors import BackendError

from .connection import Connection, here
from .tree import ALIASES, GROUPS, VERBS
from .words import Parser

if TYPE_CHECKING:
    from backendai_kernel.client import Client

BUDGET = 0.2  # seconds that a key may take
_FRESH = {
    "session": 5.0,
    "folder": 5.0,
    "remote": 5.0,
    "vfolder": 5.0,
}  # seconds for which names are good; others:
_FRESH_ELSE = 300.0
_MOST = 200  # paths that are offered
Question = Callable[[Any], Awaitable[list[str]]]
_WORD = re.compile(r"""(?:"[^"]*"?|'[^']*'?|[^\s"'])+""")


@dataclass(frozen=True, slots=True)
class Words:
    """What may stand in place of *fragment*, the beginning of a word that is there already."""

    fragment: str
    texts: tuple[str, ...] = ()


class Completion:
    """Completes the words behind ``%bai``."""

    def __init__(self, connection: Connection) -> None:
        self._names = Names(connection)

    def complete(self, text: str) -> Words:
        """Return what may follow *text*, all that stands behind ``%bai`` up to the cursor."""
        words = _WORD.findall(text)
        fragment = "" if not text or text[-1].isspace() else words.pop()
        if not words:
            return _fitting(fragment, [*VERBS, *GROUPS])
        if words[0] in GROUPS:
            if len(words) == 1:
                return _fitting(fragment, GROUPS[words[0]])
            words = [GROUPS[words[0]].get(words[1], ""), *words[2:]]
        verb = VERBS.get(ALIASES.get(words[0], words[0]))
        if verb is None:
            return Words(fragment)
        return self._argument(verb.parser(), words[1:], fragment)

    def _argument(self, parser: Parser, words: list[str], fragment: str) -> Words:
        options = {name: action for action in parser.actions for name in action.option_strings}
        if words and (waiting := options.get(words[-1])) is not None and _takes_value(waiting):
            return self._value(parser, waiting, fragment)
        name, equals, value = fragment.partition("=")
        if equals and name.startswith("--") and name in options:
            found = self._value(parser, options[name], value)
            return Words(fragment, tuple(f"{name}={text}" for text in found.texts))
        if fragment.startswith("-"):
            used = {word for word in words if word in options}
            free = [
                name
                for name, action in options.items()
                if name.startswith("--" if fragment != "-" else "-")
                and (name not in used or isinstance(action, argparse._AppendAction))  # noqa: SLF001
            ]
            return _fitting(fragment, free)
        positional = self._positional(parser, options, words)
        if positional is None:
            return _fitting(fragment, [name for name in options if name.startswith("--")])
        if parser.kinds.get(positional.dest) == "app":  # those of the session before it
            session = next(word for word in words if not word.startswith("-"))
            return _fitting(fragment, self._names.get("app", session))
        if parser.kinds.get(positional.dest) in ("remote", "vfolder"):
            given = [word.strip("'\"") for word in words if not word.startswith("-")]
            return self._remote(parser.kinds[positional.dest], given, fragment)
        return self._value(parser, positional, fragment)

    def _remote(self, kind: str, given: list[str], fragment: str) -> Words:
        """Complete a path in a session or in a virtual folder, or that folder's name."""
        if kind == "vfolder":
            action, *given = given
            if action in ("list", "create", "invitations", "accept", "decline", "restore"):
                return Words(fragment)
            if not given or action == "delete":
                return _fitting(fragment, self._names.get("folder"))
            if action == "upload":
                return _paths(fragment)
            if action not in ("ls", "download", "rm", "mkdir", "mv"):
                return Words(fragment)
        bare = fragment.lstrip("'\"")
        head, slash, last = bare.rpartition("/")
        texts = [
            f"{head}{slash}{name}"
            for name in self._names.get(f"{kind}:{head or '.'}", given[0])
            if name.startswith(last) and (last or not name.startswith("."))
        ]
        return Words(fragment, tuple(f"'{text}'" if " " in text else text for text in texts))

    @staticmethod
    def _positional(
        parser: Parser, options: dict[str, argparse.Action], words: list[str]
    ) -> argparse.Action | None:
        """Return the positional argument that comes next."""
        given, skip = 0, False
        for word in words:
            if skip:
                skip = False
            elif word.startswith("-"):
                action = options.get(word)
                skip = action is not None and _takes_value(action)
            else:
                given += 1
        positionals = [action for action in parser.actions if not action.option_strings]
        if "--session" in words and positionals and positionals[0].dest == "image":
            positionals.pop(0)
        if given < len(positionals):
            return positionals[given]
        last = positionals[-1] if positionals else None
        return last if last is not None and last.nargs in ("*", "+") else None

    def _value(self, parser: Parser, action: argparse.Action, fragment: str) -> Words:
        if action.choices is not None:
            return _fitting(fragment, map(str, action.choices))
        kind = parser.kinds.get(action.dest, "")
        if kind == "path":
            return _paths(fragment)
        if kind in ("column", "status"):
            return _listed(fragment, _constants(kind))
        if kind == "verb":
            return _fitting(fragment, VERBS)
        if kind == "slot" and "=" in fragment:
            return Words(fragment)
        if kind == "folder" and (":" in fragment or "=" in fragment):
            return Words(fragment)
        if not kind:
            return Words(fragment)
        return _fitting(fragment, self._names.get(kind))


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def _fitting(fragment: str, words: Iterable[str]) -> Words:
    found = [word for word in words if word.startswith(fragment)]
    return Words(fragment, tuple(dict.fromkeys(found)))


def _listed(fragment: str, words: Iterable[str]) -> Words:
    """Complete the last of words joined by commas."""
    head, comma, last = fragment.rpartition(",")
    found = [f"{head}{comma}{word}" for word in words if word.lower().startswith(last.lower())]
    return Words(fragment, tuple(found))


def _constants(kind: str) -> list[str]:
    from backendai_kernel.describe import COLUMNS
    from backendai_kernel.model import SessionStatus

    if kind == "column":
        return list(COLUMNS)
    return [status.value for status in SessionStatus if status.value not in ("UNKNOWN", "TIMEOUT")]


def _paths(fragment: str) -> Words:
    head, slash, last = fragment.rpartition("/")
    folder = Path(f"{head}{slash}" or ".").expanduser()
    if not folder.is_absolute():
        folder = (here() or Path()) / folder
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(last) and (last or not entry.name.startswith(".")):
                    end = "/" if entry.is_dir() else ""
                    text = f"{head}{slash}{entry.name}{end}"
                    found.append(f"'{text}'" if " " in text else text)
                if len(found) >= _MOST:
                    break
    except OSError:
        return Words(fragment)  # no such folder, or none that may be read: nothing to offer
    return Words(fragment, tuple(sorted(found)))


class Names:
    """Names that the server knows, by kind; each kept for a while."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._asking: dict[str, Future[tuple[str, ...]]] = {}
        self._opened = 0

    def get(self, kind: str, session: str = "") -> tuple[str, ...]:
        """Return the names of a kind; old ones where newer take too long to come.

        Args:
            session: Where they are, for apps and files; for these, too, a virtual folder.
        """
        if self._opened != self._connection.opened:  # another server, or another user
            self._opened = self._connection.opened
            self._known.clear()
        key = f"{kind} {session}"
        when, names = self._known.get(key, (float("-inf"), ()))
        if time.monotonic() - when < _FRESH.get(kind.partition(":")[0], _FRESH_ELSE):
            return names
        asking = self._asking.get(key)
        if asking is None or asking.done():
            asking = self._asking[key] = self._connection.portal.start(
                self._ask(key, _QUESTIONS.get(kind) or partial(_inside(kind), session))
            )
        try:
            return asking.result(BUDGET)
        except TooLate:
            return names

    async def _ask(self, key: str, question: Question) -> tuple[str, ...]:
        names: tuple[str, ...] = ()
        try:
            if await _may_ask():
                names = tuple(await self._connection.use(question))
        except BackendError:
            names = self._known.get(key, (0.0, ()))[1]  # Tab is no place for an error
        self._opened = self._connection.opened
        self._known[key] = (time.monotonic(), names)
        return names


async def _may_ask() -> bool:
    """Tell whether there is a server to ask: a key press must not start one on this computer."""
    from backendai_kernel.config import Config, state_dir
    from backendai_kernel.local import discovery

    config = Config.from_env(os.environ, cwd=here())
    if not config.is_local:
        return True
    import asyncio

    return await asyncio.to_thread(discovery.find, state_dir(os.environ) / "local") is not None


async def _sessions(client: Client) -> list[str]:
    from backendai_kernel.listing import PAGE, Query, list_sessions

    listed = await list_sessions(client, Query(limit=PAGE))
    return [session.name for session in listed.items] + [session.id for session in listed.items]


async def _apps(session: str, client: Client) -> list[str]:
    from backendai_kernel.apps import list_apps
    from backendai_kernel.listing import find_session

    return [app.name for app in await list_apps(client, await find_session(client, session))]


def _inside(kind: str) -> Callable[..., Awaitable[list[str]]]:
    """Return the question for what is in a session or folder; ``remote:PATH``, ``vfolder:PATH``."""
    what, _, path = kind.partition(":")
    if what == "app":
        return _apps
    return partial(_session_files if what == "remote" else _folder_files, path)


async def _session_files(path: str, session: str, client: Client) -> list[str]:
    from backendai_kernel.listing import find_session
    from backendai_kernel.sessionfiles import list_files

    found = await list_files(client, await find_session(client, session), path)
    return [f"{each.name}/" if each.is_folder else each.name for each in found]


async def _folder_files(path: str, folder: str, client: Client) -> list[str]:
    from backendai_kernel.vfolders import find_folder, list_entries

    found = await list_entries(client, await find_folder(client, folder), path)
    return [f"{each.name}/" if each.is_folder else each.name for each in found]


async def _images(client: Client) -> list[str]:
    from backendai_kernel.protocol import calls

    images = await client.send(calls.list_images())
    aliases = [alias for image in images for alias in image.aliases]
    return aliases + [image.reference for image in images]


async def _slots(client: Client) -> list[str]:
    from backendai_kernel.protocol import calls

    known = await client.send(calls.get_slot_types())
    slots = list(known)
    if any(slot.startswith("cuda.") for slot in slots):
        slots.append("gpu")
    return [f"{slot}=" for slot in slots]


async def _folders(client: Client) -> list[str]:
    from backendai_kernel.protocol import calls

    folders = await client.send(calls.list_folders())
    return [folder.name for folder in folders if folder.status != "delete-pending"]


async def _scaling_groups(client: Client) -> list[str]:
    from backendai_kernel.protocol import calls

    found = await client.send(calls.list_scaling_groups(client.config.group))
    return [group.name for group in found]


_QUESTIONS: dict[str, Question] = {
    "session": _sessions,
    "image": _images,
    "slot": _slots,
    "folder": _folders,
    "scaling_group": _scaling_groups,
}
