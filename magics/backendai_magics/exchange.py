"""``push``, ``pull``: variables between this computer's namespace and a session's."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from backendai_kernel import values
from backendai_kernel.errors import ConfigError, NotFound
from backendai_kernel.filework import bytes_text
from backendai_kernel.listing import find_session
from backendai_kernel.perform import open_session
from backendai_kernel.tables import Facts

from .asked import Asked
from .files import Bar

if TYPE_CHECKING:
    from backendai_kernel.client import Client

    from .stage import Stage

T = TypeVar("T")


def push(asked: Asked) -> Facts:
    """Set variables in a session; in the kernel Backend.AI they are those of ``%local``."""
    names, word = _names(asked, "push")
    space = asked.shell.user_ns
    for name in names:
        if name not in space:
            raise NotFound(
                f"There is no variable {name!r} here.",
                status=404,
                hint="In the kernel Backend.AI, `here` is where %local runs.",
            )

    stage = asked.stage()
    bar = Bar(stage)

    async def work(client: Client) -> Facts:
        session = await open_session(client, await find_session(client, word))
        sent = await values.push(
            session,
            {name: space[name] for name in names},
            pickled=asked.options.pickle,
            on_progress=lambda done, total: bar.progress("Setting", done, total),
        )
        rows = tuple((name, type(space[name]).__name__) for name in names)
        return Facts(
            f"✓ Set in the session {session.name} ({bytes_text(sent)}).", rows, data=dict(rows)
        )

    return _shown(asked, stage, bar, work)


def pull(asked: Asked) -> Facts:
    """Set variables here; all of them, or none when one cannot be had."""
    names, word = _names(asked, "pull")
    stage = asked.stage()
    bar = Bar(stage)

    async def work(client: Client) -> tuple[str, dict[str, Any]]:
        session = await open_session(client, await find_session(client, word))
        return session.name, await values.pull(
            session,
            names,
            pickled=asked.options.pickle,
            on_progress=lambda done, total: bar.progress("Coming", done, total),
        )

    session, found = _shown(asked, stage, bar, work)
    asked.shell.user_ns.update(found)
    rows = tuple((name, type(value).__name__) for name, value in found.items())
    return Facts(f"✓ Came from the session {session}.", rows, data=dict(rows))


def _shown(
    asked: Asked, stage: Stage, bar: Bar, work: Callable[[Client], Coroutine[Any, Any, T]]
) -> T:
    async def done() -> T:
        try:
            return await asked.connection.use(work)
        finally:
            bar.close()

    return stage.perform(done())


def _names(asked: Asked, verb: str) -> tuple[list[str], str]:
    names = list(dict.fromkeys(asked.options.names))
    for name in names:
        if not name.isidentifier():
            raise ConfigError(f"%bai {verb}: {name!r} is no name of a variable.")
    word = asked.options.session
    if word is None:
        find = getattr(asked.kernel, "session_id", None)
        word = find() if find is not None else None
    if word is None:
        raise ConfigError(
            f"%bai {verb}: there is no session to take.", hint="Name one with --session NAME."
        )
    return names, word
