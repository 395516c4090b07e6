"""Which session the cells of a kernel run in: the notebook's own, or one that is attached."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from traitlets import Dict, List, Unicode

from ..errors import BackendError, ConfigError
from ..leases import name_of
from ..portal import Portal
from ..variables import read_mounts
from .life import LivingKernel

if TYPE_CHECKING:
    from ..journal import Entry
    from ..session import ComputeSession
    from .lanes import QueryLane
    from .left import LeftCell
    from .wish import Wish

AnyLane = TypeVar("AnyLane", bound="QueryLane")


class SessionsKernel(LivingKernel):
    """A kernel that has a session, from the first cell on."""

    image = Unicode("python", help="Image of the session: full reference or alias.").tag(
        config=True
    )
    resources = List(
        Unicode(), help="Resources of the session, such as ['cpu=2', 'mem=4g', 'gpu=0.5']."
    ).tag(config=True)
    mounts = List(
        Unicode(), help="Virtual folders of the session, such as ['data', 'weights:/mnt']."
    ).tag(config=True)
    environ = Dict(help="Environment variables of the session: name to value.").tag(config=True)
    project = Unicode(help="Project of the session; empty for that of the settings.").tag(
        config=True
    )
    scaling_group = Unicode(help="Where the session runs; empty for the server's choice.").tag(
        config=True
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._portal = Portal()
        self._lane: QueryLane | None = None
        self._own_lane: QueryLane | None = None  # while the cells run in another session
        self._is_attached = False
        self._lane_lock = threading.Lock()

    @property
    def portal(self) -> Portal:
        """The thread of all our requests; what runs in this kernel may use it as well."""
        return self._portal

    def attach_session(self, word: str) -> ComputeSession:
        """Have the cells run in a session that runs already, until `detach_session`.

        The notebook's own session, if there is one, waits meanwhile.

        Args:
            word: Name or id.

        Raises:
            NotFound, Conflict, ConfigError: There is no such session, or it does not run.
            RunLost, ConnectError, APIError, ProtocolError: As `ComputeSession.prepare`.
        """
        from .attached import AttachedLane
        from .wish import Wish

        lane = self._make_lane(AttachedLane, Wish(word, self.image))
        try:
            self._portal.call(lane.open(lambda progress: None))
        except BaseException:
            self._portal.call(lane.close(restart=False))
            raise
        if self._is_attached:
            self.detach_session()
        self._relay.close_all()  # widgets belong to the session that is left
        with self._lane_lock:
            self._own_lane, self._lane, self._is_attached = self._lane, lane, True
        assert lane.session is not None
        return lane.session

    def detach_session(self) -> str:
        """Go back to the notebook's own session; return the name of the one that was left.

        Raises:
            ConfigError: No other session is attached.
        """
        with self._lane_lock:
            if not self._is_attached or self._lane is None:
                raise ConfigError(
                    "This notebook's cells run in its own session already.",
                    hint="`%bai attach SESSION` has them run in another.",
                )
            left, self._lane = self._lane, self._own_lane
            self._own_lane, self._is_attached = None, False
        name = left.session.name if left.session is not None else left.wish.name
        self._portal.call(left.close(restart=False))
        self._relay.close_all()
        return name

    def _make_lane(self, kind: type[AnyLane], wish: Wish, **more: Any) -> AnyLane:
        return kind(
            wish,
            os.environ,
            cwd=Path.cwd(),
            on_late=partial(self._from_portal, self._relay.deliver),
            on_end=partial(self._from_portal, self._relay.close_all),
            on_left=self._show_left,
            **more,
        )

    def _take_up(self) -> None:
        """Go on, in the background, with what a kernel process that was killed has left."""
        from .kept import KeptNote

        left = KeptNote(os.environ, self._session_name()).read()
        if left.run_id and not left.is_planned:
            self._portal.start(self._take_up_run(self._the_lane()))

    async def _take_up_run(self, lane: QueryLane) -> None:
        try:
            await lane.take_up()
        except (BackendError, OSError) as exc:  # the first cell tries again, and says so
            self.log.warning("What ran before cannot be gone on with yet: %s", exc)

    def _show_left(self, entry: Entry) -> LeftCell:
        """Return what shows the rest of a cell that outlived the kernel before this one."""
        from .left import LeftCell
        from .limit import output_limit

        parent = {"header": dict(entry.head.parent)}
        loop: asyncio.AbstractEventLoop = self.io_loop.asyncio_loop  # type: ignore[attr-defined]
        send = self._sender_for(parent)
        loop.call_soon_threadsafe(self._relay.remember, parent)
        relay, limit = self._relay.deliver, output_limit(os.environ)
        return LeftCell(entry, loop, send, relay, limit)

    def _the_lane(self) -> QueryLane:
        from .lanes import QueryLane
        from .wish import Wish

        with self._lane_lock:
            if self._lane is None:
                wish = Wish(
                    self._session_name(),
                    self.image,
                    tuple(self.resources),
                    mounts=read_mounts(self.mounts),
                    environ=self.environ,
                    project=self.project,
                    scaling_group=self.scaling_group,
                )
                self._hold_lease(wish.name, is_new=True)
                self._lane = self._make_lane(QueryLane, wish, lease=self._lease)
            return self._lane

    def describe_session(self) -> list[tuple[str, str]]:
        """Return what there is to say about the session: pairs of a label and a value."""
        lane = self._lane
        session = lane.session if lane is not None else None
        facts = [("Image", self.image), ("Resources", " ".join(self.resources) or "the image's")]
        if self.mounts:
            facts.append(("Folders", ", ".join(self.mounts)))
        if self.environ:
            facts.append(("Environment", ", ".join(self.environ)))  # values may be secrets
        if session is None:
            return [("Session", "none yet: the first cell starts it"), *facts]
        if self._is_attached:
            return [("Session", f"{session.name} ({session.id}), attached: not started here")]
        times = [("Time", str(deadline)) for deadline in self.time_left()]
        return [("Session", f"{session.name} ({session.id})"), *facts, *times]

    def session_id(self) -> str | None:
        """Return the id of the session that the cells run in; ``None`` before the first one."""
        session = self._lane.session if self._lane is not None else None
        return session.id if session is not None else None

    def _session_name(self) -> str:
        return name_of(str(getattr(self.parent, "connection_file", "") or ""))

    def _was_left_a_session(self) -> bool:
        from .kept import KeptNote

        name = self._session_name()
        return bool(KeptNote(os.environ, name).read().session_id) or self._the_lease(name).is_there
