"""A lane to a session that somebody else started, and that goes on when we leave it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..connect import open_client
from ..errors import BackendError, RunLost
from ..listing import find_session
from ..perform import open_session
from ..session import ComputeSession
from ..start import Progress
from .lanes import QueryLane

_BACK = "`%bai detach` takes the notebook back to its own session."


class AttachedLane(QueryLane):
    """Cells in a session that is neither started nor restarted nor ended here.

    The name in the wish is that of the session.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._way_on = _BACK

    async def open(self, on_progress: Callable[[Progress], None]) -> None:
        """Find the session and teach its interpreter to send envelopes; its variables stay.

        Raises:
            NotFound, Conflict, ConfigError: There is no such session, or it does not run.
            RunLost, ConnectError, APIError, ProtocolError: As `ComputeSession.prepare`.
        """
        async with self._opening:
            if self.session is not None:
                return
            on_progress(Progress("CONNECTING"))
            if self.client is None:
                self.client = await open_client(self._environ, cwd=self._cwd, on_wait=self._on_wait)
            try:
                found = await find_session(self.client, self.wish.name)
                session = await open_session(self.client, found)
            except BackendError as exc:
                if self._begun_id:  # it was there before
                    raise RunLost(exc.message, hint=_BACK) from exc
                raise
            self.session, self._ended, self._begun_id = session, None, session.id
            self._watching = asyncio.create_task(self._watch(self.client, session))
            self.upkeep.begin(self.client, session.id)

    async def close(self, *, restart: bool) -> None:
        """Leave the session as it is."""
        for task in (self._watching, self._following):
            if task is not None:
                task.cancel()
        self.upkeep.stop()
        self._lease.release()
        if self.client is not None:
            await self.client.__aexit__(None, None, None)
            self.client = None

    def _beat(self) -> None:
        # One that another kernel left behind is not collected while somebody uses it.
        if self._lease.is_there and self._lease.hold():
            self._lease.beat()

    async def _destroy(self, session: ComputeSession) -> None:
        """Leave it alone: it is not ours to end."""
