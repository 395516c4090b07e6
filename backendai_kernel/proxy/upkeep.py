"""What is done for a session while it is open and no cell asks for anything.

It gives signs of life in the session's lease, looks how much time the server gives the session,
tells when that runs out, and puts it off for as long as the user wants. It lives on the portal's
loop, as the lane does whose session it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ..client import Client
from ..errors import BackendError
from ..expiry import NETWORK, WARNING, Deadline, ask_deadlines
from ..leases import BEAT

_FIRST_LOOK = 20.0  # seconds: a server counts for the first time after 15
_LOOK = 300.0
_LOOK_SOON = 30.0  # … when the end is near
_AGAIN = 20.0  # seconds after which a number that is true has become smaller
_MOST_OFTEN = 30.0  # seconds between two touches that put the end off, at the least …
_LEAST_OFTEN = 300.0  # … and at the most


class Upkeep:
    """Care for one session at a time.

    Attributes:
        deadlines: When the session ends by itself, as last seen, the soonest first.
        on_time: Told each time that has been looked; on the portal's loop.
        on_warning: Told once of each end that comes near.
    """

    def __init__(
        self,
        beat: Callable[[], None],
        is_busy: Callable[[], bool],
        touch: Callable[[], Awaitable[object]],
    ) -> None:
        """Do nothing yet.

        Args:
            beat: Gives a sign of life in the session's lease.
            is_busy: Whether code runs in the session; its server then stops counting.
            touch: Runs something in the session that leaves no trace.
        """
        self.deadlines: tuple[Deadline, ...] = ()
        self.on_time: Callable[[tuple[Deadline, ...]], None] = lambda deadlines: None
        self.on_warning: Callable[[Deadline], None] = lambda deadline: None
        self.first_look, self.look_soon, self.again = _FIRST_LOOK, _LOOK_SOON, _AGAIN
        self._give_sign = beat
        self._is_busy = is_busy
        self._touch = touch
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._looked = 0.0
        self._warned: set[str] = set()
        self._grace = 0.0  # the longest time that was seen after a run
        self._client: Client | None = None
        self._session_id = ""

    def begin(self, client: Client, session_id: str) -> None:
        """Care for a session that has just been opened."""
        self.stop()
        self._client, self._session_id = client, session_id
        self._tasks = {asyncio.create_task(self._beat()), asyncio.create_task(self._watch())}

    def stop(self) -> None:
        """The session is left, or gone."""
        for task in (*self._tasks, *filter(None, [self._keeping])):
            task.cancel()
        self._tasks.clear()
        self._keeping, self._client = None, None
        self.deadlines = ()
        self._warned.clear()

    async def _beat(self) -> None:
        while True:
            self._give_sign()
            await asyncio.sleep(BEAT)

    # -- the time that is left ----------------------------------------------------------------

    async def time_left(self) -> tuple[Deadline, ...]:
        """Return when the session ends by itself, as of now, without asking anybody."""
        passed = asyncio.get_running_loop().time() - self._looked
        return tuple(replace(d, seconds=max(0.0, d.seconds - passed)) for d in self.deadlines)

    async def look(self) -> tuple[Deadline, ...]:
        """Ask how much time is left.

        Raises:
            ConnectError, APIError, ProtocolError: As `Client.send`.
        """
        if self._client is None:
            return ()
        found = await ask_deadlines(self._client, self._session_id)
        if self._is_busy():
            # Servers stop counting while something runs, and go on telling the last number.
            found = tuple(each for each in found if each.check != NETWORK)
        self.deadlines, self._looked = found, asyncio.get_running_loop().time()
        self._grace = max([self._grace, *(d.seconds for d in found if d.check == NETWORK)])
        self.on_time(found)
        return found

    async def _watch(self) -> None:
        pause = unknown = self.first_look
        while True:
            await asyncio.sleep(pause)
            try:
                found = await self.look()
                near = [each for each in found if each.seconds <= WARNING]
                self._warned &= {each.check for each in near}
                if any(each.check not in self._warned for each in near):
                    await self._warn(near)
            except BackendError:
                pause = _LOOK  # out of reach, or gone: others find that out
                continue
            if not found:  # no limit; or the server has not counted yet
                unknown = min(unknown * 2, _LOOK)
                pause = unknown
                continue
            soonest = found[0].seconds
            pause = self.look_soon if near else min(_LOOK, max(self.again, soonest - WARNING))

    async def _warn(self, near: list[Deadline]) -> None:
        """Tell of an end that comes near, if it does: of one that rests the number stays."""
        await asyncio.sleep(self.again)
        before = {each.check: each.seconds for each in near}
        for each in await self.look():
            is_true = each.seconds < before.get(each.check, 0.0) or each.seconds == 0.0
            if is_true and each.check not in self._warned:
                self._warned.add(each.check)
                self.on_warning(each)

    # -- more of it ---------------------------------------------------------------------------

    async def keep_alive(self, seconds: float) -> tuple[Deadline, ...]:
        """Put the end off, now and again and again for so many seconds; 0: only now.

        Returns:
            When the session would have ended, the soonest first.

        Raises:
            RunLost, ConnectError, APIError, ProtocolError: As `ComputeSession.run`.
        """
        await self.forget_keeping()
        before = await self.look()
        if not self._is_busy():
            await self._touch()
            self._touched()
        if seconds > 0:
            self._keeping = asyncio.create_task(self._keep(seconds))
        return before

    async def forget_keeping(self) -> bool:
        """Put the end off no longer; false: it was not."""
        keeping, self._keeping = self._keeping, None
        if keeping is None or keeping.done():
            return False
        keeping.cancel()
        return True

    async def _keep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            gap = self._grace / 3 if self._grace else _LEAST_OFTEN
            await asyncio.sleep(min(_LEAST_OFTEN, max(_MOST_OFTEN, gap)))
            if loop.time() >= end:
                return
            if not self._is_busy():
                try:
                    await self._touch()
                except BackendError:
                    continue  # the next cell is told, by its own request
                self._touched()

    def _touched(self) -> None:
        """Count anew, as the server does; it tells the new number only after its next check."""
        self.deadlines = tuple(
            replace(d, seconds=max(d.seconds, self._grace)) if d.can_be_put_off else d
            for d in self.deadlines
        )
        self._warned.discard(NETWORK)
