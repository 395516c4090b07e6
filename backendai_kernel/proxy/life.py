"""A kernel that answers for its session: on disk, to its user, and beyond its own end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..leases import Lease, hand_over, terms_here
from .requests import RequestsKernel

if TYPE_CHECKING:
    from ..expiry import Deadline
    from ..portal import Portal
    from ..postmortem import PostMortem
    from .lanes import QueryLane

SHUTDOWN_LIMIT = 1.7
"""Seconds for the end of a session: a server sends SIGTERM after 2.5 and SIGKILL after 5."""


_SOON = 3.0  # seconds: what has ended is brought to its end in less
_GOES_ON = (
    "[A cell that ran when the kernel was started again goes on; this one waits for its end. "
    "Interrupt ends the wait.]\n"
)


def shutdown_limit() -> float:
    """Return how many seconds a shutdown may take; a provisioner of ours grants more."""
    try:
        return max(SHUTDOWN_LIMIT, float(os.environ.get("BACKENDAI_KERNEL_SHUTDOWN", "")))
    except ValueError:
        return SHUTDOWN_LIMIT


async def _opened(lane: QueryLane, send: Callable[[str, dict[str, Any]], None]) -> None:
    """Have the session; say so where a cell of before keeps it."""
    opening = asyncio.ensure_future(lane.open(lambda progress: None))
    try:
        await asyncio.wait([opening], timeout=_SOON)
        if not opening.done():
            send("stream", {"name": "stderr", "text": _GOES_ON})
        await opening
    finally:
        opening.cancel()


class LivingKernel(RequestsKernel):
    """What the kernel does for its session beside running cells."""

    _lane: QueryLane | None
    _portal: Portal
    _is_attached: bool
    _the_lane: Callable[[], QueryLane]
    _sender: Callable[[], Callable[[str, dict[str, Any]], None]]
    _sender_for: Callable[[Any], Callable[[str, dict[str, Any]], None]]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._lease: Lease | None = None
        self._lost: tuple[str, PostMortem] | None = None  # the cell, and how its session ended
        self._next_code = ""

    # -- on disk ------------------------------------------------------------------------------

    def _the_lease(self, name: str) -> Lease:
        if self._lease is None:
            self._lease = Lease(os.environ, name)
        return self._lease

    def _hold_lease(self, name: str, *, is_new: bool) -> None:
        """Answer for the session of that name; without *is_new* only for one that was left."""
        lease = self._the_lease(name)
        try:
            if (is_new or lease.is_there) and lease.hold():
                terms = terms_here(name, os.environ, lease.read())
                file = str(getattr(self.parent, "connection_file", "") or "")
                lease.write(replace(terms, connection_file=file))
        except OSError as exc:  # the first cell says so, too
            self.log.warning("What this kernel starts cannot be written down: %s", exc)

    def _hand_over(self) -> None:
        """Have the session ended by a process of its own: its server is too slow for this one."""
        if self._lease is not None and self._lease.is_held:
            try:
                self._finisher = hand_over(self._lease.name, os.environ)
            except OSError as exc:
                self.log.warning(
                    "The session %s may still be there (%s); `backendai-kernel gc` ends it.",
                    self._lease.name,
                    exc,
                )

    # -- time ---------------------------------------------------------------------------------

    def time_left(self) -> tuple[Deadline, ...]:
        """Return when the session ends by itself, the soonest first; nobody is asked for it.

        Nothing is known in the first seconds of a session, nor where no limit is set.
        """
        lane = self._lane
        return () if lane is None else self._portal.call(lane.upkeep.time_left())

    def keep_alive(self, seconds: float) -> tuple[Deadline, ...]:
        """Give the session more time, now, and again and again for so many seconds.

        Returns:
            When it would have ended.

        Raises:
            ConfigError: There is no session yet.
            RunLost, ConnectError, APIError, ProtocolError: As `ComputeSession.run`.
        """
        lane = self._lane
        if lane is None or not lane.is_open:
            raise ConfigError(
                "This notebook has no session yet.", hint="The first cell starts one."
            )
        return self._portal.call(lane.upkeep.keep_alive(seconds))

    def let_expire(self) -> bool:
        """Give the session no more time than it has; false: nobody had asked for more."""
        lane = self._lane
        return lane is not None and self._portal.call(lane.upkeep.forget_keeping())

    def replay(self, count: int | None = None) -> None:
        """Show what a cell has shown once more, as output of the one that runs now.

        When a cell has outlived the kernel before this one, its end is waited for.

        Args:
            count: The cell's number; ``None``: the last one.

        Raises:
            ConfigError: There is no such cell in the journal.
            RunLost, ConnectError, APIError, ProtocolError: As `Run`.
        """
        from .limit import output_limit
        from .replaying import replay

        lane = self._the_lane()
        if not lane.is_open and lane.left_run():
            self._portal.call(_opened(lane, self._sender()))
        entries = lane.journal.entries()
        found = [e for e in entries if count is None or e.head.count == count]
        if not found:
            numbers = ", ".join(map(str, sorted({e.head.count for e in entries})))
            raise ConfigError(
                "There is no such cell in this notebook's journal."
                if entries
                else "No cell of this notebook is in its journal.",
                hint=f"There is {numbers}." if entries else "Run one first.",
            )
        replay(found[0], self._sender(), output_limit(os.environ))

    # -- after its end ------------------------------------------------------------------------

    def retry(self, words: Iterable[str] = (), *, is_run: bool = True) -> tuple[str, ...]:
        """Have the next session asked for with other resources, and the lost cell run again.

        Args:
            words: Resources such as ``mem=4g``; none: what the post-mortem proposes.
            is_run: Whether the cell is run again, after the one that asks for it.

        Returns:
            The resources that the session is asked for with.

        Raises:
            ConfigError: No cell has lost its session, or a word makes no sense.
        """
        from ..postmortem import merged
        from ..slots import parse_words

        words = tuple(words)
        parse_words(words)
        if self._lost is None or self._is_attached:
            raise ConfigError(
                "No cell of this notebook has lost its session.",
                hint="Run the cell itself; `%bai start IMAGE -r mem=4g` starts another session.",
            )
        code, found = self._lost
        lane = self._the_lane()
        resources = merged(lane.wish.resources, words or found.wanted)
        lane.wish = replace(lane.wish, resources=resources)
        self.resources = list(resources)
        self._lost = None
        self._next_code = code if is_run else ""
        return resources

    def _take_next_code(self) -> str:
        code, self._next_code = self._next_code, ""
        return code
