"""How a session comes up and goes away: the queue, each step of its status, the events of it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from ..model import SessionStatus
from . import idle, problems
from .agent import AgentFailure, ContainerSpec
from .auth import KeyPair, KeyPairPolicy
from .events import Hub
from .release import Release
from .scheduler import SHARES, Capacity, usage, within_policy
from .sessions import Registry, SessionRecord, Wanted, utcnow

if TYPE_CHECKING:
    from .agent import Container

log = logging.getLogger(__name__)

_LAST_LOGS = 64 * 1024
_FORCED_ONLY = (
    SessionStatus.SCHEDULED,
    SessionStatus.PREPARING,
    SessionStatus.ERROR,
)

Starter = Callable[[ContainerSpec], Awaitable["Container"]]


@dataclass(frozen=True)
class Place:
    """Where sessions keep their files."""

    root: Path

    def of(self, record: SessionRecord) -> Path:
        return self.root / "sessions" / record.id

    def work(self, record: SessionRecord) -> Path:
        return self.of(record) / "work"


class Lifecycle:
    """Owns every session and every task that moves one on.

    Args:
        root: Folder under which each session gets its own.
        start: Starts a session's process tree.
        keeps_steps: Whether batch mode keeps the output between two requests.
    """

    def __init__(
        self,
        *,
        root: Path,
        release: Release,
        registry: Registry,
        capacity: Capacity,
        hub: Hub,
        start: Starter,
        keeps_steps: bool = True,
    ) -> None:
        self._place = Place(root)
        self._release = release
        self._registry = registry
        self._capacity = capacity
        self._hub = hub
        self._start = start
        self._keeps_steps = keeps_steps
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def enqueue(self, wanted: Wanted) -> SessionRecord:
        """Put a new session in the queue and return it, PENDING.

        Raises:
            Problem: The keypair has as many sessions as it may (recording 63).
        """
        self.check_concurrency(wanted.owner)
        now = utcnow()
        record = SessionRecord(wanted=wanted, created_at=now, status_changed=now)
        record.history["PENDING"] = now
        record.touched = asyncio.get_running_loop().time()
        self._registry.add(record)
        self._hub.tell("session_enqueued", record, "")
        asyncio.get_running_loop().call_soon(self.schedule)
        return record

    def check_concurrency(self, owner: KeyPair) -> None:
        """Refuse one more session of a keypair that has as many as it may.

        Raises:
            Problem: It has (recording 63).
        """
        limit = owner.policy.max_concurrent_sessions
        active = len([r for r in self._registry.alive() if r.owner.access_key == owner.access_key])
        if limit is not None and active >= limit:
            raise problems.quota_exceeded(
                self._release.quota_status,
                f"Keypair already has {active} active sessions, which exceeds the per-keypair "
                f"concurrent-session limit of {limit}.",
            )

    def schedule(self) -> None:
        """Start every waiting session that there is room for: by priority, then in their order.

        One that its keypair's policy or this computer has no room for now lets later ones pass.
        """
        if self._closing:
            return
        pending = [r for r in self._registry if r.status is SessionStatus.PENDING]
        for record in sorted(pending, key=lambda r: (-r.wanted.priority, r.created_at)):
            slots = record.wanted.slots
            if self._may_use(record.owner, slots) and self._capacity.fits(slots):
                self._capacity.take(record)
                self._move(record, SessionStatus.SCHEDULED, "triggered-by-scheduler")
                record.bringing_up = self._spawn(self._bring_up(record))

    def _may_use(self, owner: KeyPair, slots: Mapping[str, Decimal]) -> bool:
        theirs = [r for r in self._registry if r.owner.access_key == owner.access_key]
        return within_policy(owner.policy, slots, usage(theirs))

    async def _bring_up(self, record: SessionRecord) -> None:
        """Take a session from SCHEDULED to RUNNING; events in the order of recording 50."""
        self._move(record, SessionStatus.PREPARING, "passed-preconditions")
        if "PREPARED" in self._release.statuses:
            self._move(record, SessionStatus.PREPARED, "triggered-by-scheduler")
        self._hub.tell("kernel_preparing", record)
        self._hub.tell("kernel_creating", record)
        if SHARES in record.wanted.slots and not record.allocated[SHARES]:
            # Too small a share of a device: the real agent fails, the session stays (surprise 29).
            self._creating(record)
            return
        try:
            container = await self._start(self._spec(record))
        except (AgentFailure, OSError):
            log.exception("session %s could not be started", record.id)
            self._creating(record)
            return
        record.container = container
        self._hub.tell("kernel_started", record)
        self._creating(record)
        record.touched = asyncio.get_running_loop().time()
        record.accessed = record.began = record.touched
        record.starts_at = utcnow()
        self._move(record, SessionStatus.RUNNING, "triggered-by-scheduler")
        record.settled.set()
        self._spawn(self._watch(record, container))
        if record.wanted.startup_command is not None:
            self._spawn(self._run_batch(record, container, record.wanted.startup_command))

    def _creating(self, record: SessionRecord) -> None:
        if "CREATING" in self._release.statuses:
            self._move(record, SessionStatus.CREATING, "triggered-by-scheduler")

    def _spec(self, record: SessionRecord) -> ContainerSpec:
        wanted = record.wanted
        work = self._place.work(record)
        work.mkdir(mode=0o700, parents=True)
        return ContainerSpec(
            session_id=record.id,
            kernel_id=record.kernel_id,
            name=record.name,
            image=wanted.image.reference,
            access_key=record.owner.access_key,
            work=work,
            slots=record.allocated,
            environ=wanted.environ,
            bootstrap_script=wanted.bootstrap_script,
            python=wanted.image.python,
            preopen_ports=wanted.preopen_ports,
            exit_codes=self._release.exit_codes,
            keeps_steps=self._keeps_steps,
            mounts=wanted.mounts,
            read_only=wanted.read_only,
        )

    async def _run_batch(self, record: SessionRecord, container: Container, command: str) -> None:
        """Run a batch session's one command, say how it went, and end the session."""
        with self.use(record):
            try:
                record.result = "FAILURE" if await _batch(container, command) else "SUCCESS"
            except AgentFailure:
                record.result = "FAILURE"
        self._hub.tell(f"session_{record.result.lower()}", record, "task-finished")
        if record.ending is None:
            self.end(record, "task-finished")

    async def _watch(self, record: SessionRecord, container: Container) -> None:
        """End a session whose process tree is gone by itself (recording 37)."""
        await asyncio.shield(container.ended)
        if record.ending is None and record.container is container:
            record.ending = "self-terminated"
            self._hub.tell("kernel_terminated", record, "self-terminated")
            self._over(record, SessionStatus.TERMINATED)

    def end(self, record: SessionRecord, reason: str, *, forced: bool = False) -> str | None:
        """Begin to end a session; return what ``DELETE`` says of it, ``None`` when nothing is to do.

        A waiting session is cancelled at once; a running one is TERMINATING until its process tree
        is gone.

        Raises:
            Problem: It is between waiting and running, and *forced* is not given (API reference 4.6).

        Source: recordings 62 and 90.
        """
        if record.status is SessionStatus.PENDING:
            record.ending = reason
            record.status_info = reason
            self._over(record, SessionStatus.CANCELLED)
            return "cancelled"
        if record.status.is_ending and record.status is not SessionStatus.ERROR:
            return None
        if record.status in _FORCED_ONLY and not forced:
            raise problems.forbidden(
                f"Cannot destroy a session in the {record.status.value} status without 'forced'."
            )
        record.ending = reason
        record.status_info = reason
        self._move(record, SessionStatus.TERMINATING, reason)
        record.settled.set()
        self._spawn(self._take_down(record))
        return "terminated"

    async def _take_down(self, record: SessionRecord) -> None:
        if record.bringing_up is not None and not record.bringing_up.done():
            record.bringing_up.cancel()
            await asyncio.wait([record.bringing_up])
        if record.container is not None:
            await record.container.stop()
            self._hub.tell("kernel_terminated", record, "self-terminated")
        self._hub.tell("kernel_terminated", record, record.ending or "")
        self._over(record, SessionStatus.TERMINATED)

    def _over(self, record: SessionRecord, status: SessionStatus) -> None:
        record.terminated_at = utcnow()
        if record.container is not None:
            record.last_logs = record.container.logs()[-_LAST_LOGS:]
            record.container = None
        self._capacity.give_back(record)
        self._move(record, status, "triggered-by-scheduler")
        record.settled.set()
        record.over.set()
        folder = self._place.of(record)
        if folder.exists():
            self._spawn(_remove(folder))
        self.schedule()

    def _move(self, record: SessionRecord, status: SessionStatus, reason: str) -> None:
        record.status = status
        record.status_changed = record.history[status.value] = utcnow()
        word = "started" if status is SessionStatus.RUNNING else status.value.lower()
        self._hub.tell(f"session_{word}", record, reason)

    async def restart(self, record: SessionRecord, container: Container) -> None:
        """Give a session a fresh process tree in the same folder.

        Raises:
            AgentFailure: The new one did not start; the session ends.
        """
        self._move(record, SessionStatus.RESTARTING, "restarting")
        await container.restart()
        if record.ending is None:  # nobody has ended it meanwhile
            self._move(record, SessionStatus.RUNNING, "new-container-started")

    @contextmanager
    def use(self, record: SessionRecord, *, is_active: bool = True) -> Iterator[None]:
        """Keep a session from being taken for idle.

        Args:
            is_active: It is an execution or a connection to an app, which servers count.
        """
        record.busy += 1
        record.active += is_active
        try:
            yield
        finally:
            record.busy -= 1
            record.active -= is_active
            record.touched = asyncio.get_running_loop().time()
            if is_active:
                record.accessed = record.touched

    async def end_idle(self, limit: float) -> None:
        """End what nothing has held and what has executed nothing for *limit* seconds."""
        now = asyncio.get_running_loop().time()
        for record in self._registry:
            if record.status is not SessionStatus.RUNNING or record.container is None:
                continue
            if record.busy or await self.is_executing(record.container):
                record.touched = now
            elif now - record.touched >= limit:
                self.end(record, "idle-timeout")

    async def check_limits(self, policy: KeyPairPolicy) -> None:
        """End the sessions of a policy whose time is over."""
        for record in list(self._registry):
            if record.owner.policy == policy:
                await idle.check(self, record)

    @staticmethod
    async def is_executing(container: Container) -> bool:
        """Code runs, whether somebody polls it or not."""
        begun = asyncio.ensure_future(container.running())
        await asyncio.sleep(0)
        if begun.done():
            return True
        begun.cancel()
        return False

    async def close(self) -> None:
        """End every session and wait until their process trees are gone."""
        self._closing = True
        for record in self._registry.alive():
            self.end(record, "force-terminated", forced=True)
        await asyncio.gather(*(r.over.wait() for r in self._registry))
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("a session's task failed", exc_info=exc)


async def _batch(container: Container, command: str) -> int:
    """Run a shell command to its end and return its exit status.

    Raises:
        AgentFailure: The container is gone.
    """
    options = {"clean": "", "build": "", "exec": command}
    mode, run_id = "batch", secrets.token_hex(16)
    while True:
        answer = await container.execute(mode, "", run_id, options, flush=2.0)
        if answer["status"] == "finished":
            return int(answer["exitCode"] or 0)
        mode = "input" if answer["status"] == "waiting-input" else "continue"


async def _remove(folder: Path) -> None:
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
