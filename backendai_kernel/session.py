"""A compute session: run code in it, restart its interpreter, end it."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from .client import Client
from .errors import APIError, BackendError, ConnectError, NotFound, RunLost, ServerError
from .model import RunStatus, Session
from .pace import Pace
from .protocol import calls, envelope
from .protocol.envelope import Decoder, Message
from .protocol.run import Event, RunState, Text
from .run import INTERRUPT_FIRST, SETTLE, Run, collect, exit_code

_NO_INTERPRETER = 127  # exit code of every run where no interpreter came up (surprise 11)
_HELD = 10.0  # seconds without an answer that mean that another run holds the session
_PERHAPS_ASKS = 2  # silent answers after an interrupt that may mean that the run waits for input
_RESTART_PAUSE = 1.0  # seconds in which nothing is sent to an interpreter that is being replaced
_RESTART_LIMIT = 60.0  # seconds for an interpreter to come back

# As `remote.requests.Requests.again`, for an interpreter that could not be taught.
_EXECUTE_ANEW = """
def _again():
    import os, sys, time
    asked = time.monotonic()
    time.sleep(0.15)
    with open("/proc/self/cmdline", "rb") as file:
        argv = file.read().split(b"\\0")[:-1]
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    if time.monotonic() - asked < 0.6:
        os.execv(sys.executable, argv)
__import__("threading").Thread(target=_again).start()
"""


class ComputeSession:
    """A session that runs.

    Attributes:
        id: Its UUID, by which it is addressed: a name may mean a dead session too.
        is_new: It was made by us; false for a live session of the same name that was taken.
        is_fresh: Its interpreter had run nothing when it was prepared.
        hello: What the session's interpreter told of itself; empty where it cannot send envelopes.
        turn: Held by the run that goes on: a session runs one thing at a time.
        running: That run.
        on_run: Told the id of each run before its first request, with true when it waits for input,
            with false when that has arrived, and at its end ``""``.
        endings: Runs that were left and are being brought to their end.
        may_send: Runs poll on; unset for the moments in which the interpreter is replaced.
    """

    def __init__(self, client: Client, session_id: str, name: str, *, is_new: bool = True) -> None:
        self.client = client
        self.id = session_id
        self.name = name
        self.is_new = is_new
        self.is_fresh = True
        self.hello: dict[str, Any] = {}
        self.decoder = Decoder()
        self.pace = Pace(client.rate)
        self._live_mark = ""
        self.turn = asyncio.Lock()
        self.running: Run | None = None
        self.on_run: Callable[[str, bool], None] = lambda run_id, asks: None
        self.endings: set[asyncio.Task[None]] = set()
        self.may_send = asyncio.Event()
        self.may_send.set()

    def __repr__(self) -> str:
        return f"<ComputeSession {self.name} {self.id}>"

    # -- running code -------------------------------------------------------------------------

    def run(
        self,
        code: str,
        *,
        mode: str = "query",
        options: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        patience: float | None = None,
        key: str = "",
    ) -> Run:
        """Return a run of *code*, to be entered with ``async with``.

        Args:
            mode: ``query`` for the persistent interpreter, ``batch`` for uploaded programs.
            options: For ``batch``: ``clean``, ``build`` and ``exec`` commands, ``*`` for default.
            run_id: Name of the run; ``None`` draws one.
            patience: Seconds for the first answer. It is held back for 2 s, and for ever while a
                run goes on that somebody else began and polls no more (recording 39).
            key: What the request in *code* is called in its head; see `recovery`.
        """
        state = RunState(self.id, run_id or secrets.token_hex(8), mode, code, options)
        state.live_mark = self._live_mark
        return Run(self, state, patience, key=key)

    @asynccontextmanager
    async def cell(self, code: str, head: Mapping[str, Any]) -> AsyncIterator[Run]:
        """Enter a run of a notebook's cell.

        Args:
            head: What the query API has no field for; see `envelope.request`. Where the session
                sends no envelopes it is left out.
        """
        if not self.hello:
            async with self.run(code) as run:
                yield run
            return
        self.pace.begin()
        head = {"gap": self.pace.first_gap(), **head}
        async with self._request(head, code) as run:
            yield run

    @asynccontextmanager
    async def call(
        self, name: str, *, origin: str | None = None, **arguments: Any
    ) -> AsyncIterator[Run]:
        """Enter a run that calls a function of the bootstrap; no code of the user runs.

        What it returns comes as a `Message` of the kind ``result``.
        """
        head: dict[str, Any] = {"call": name, "with": arguments}
        if origin is not None:
            head["origin"] = origin
        async with self._request(head) as run:
            yield run

    @asynccontextmanager
    async def _request(self, head: Mapping[str, Any], code: str = "") -> AsyncIterator[Run]:
        key = secrets.token_hex(8)
        *parts, last = envelope.requests(self.decoder.nonce, {"key": key, **head}, code)
        for part in parts:
            await collect(self.run(part))
        async with self.run(last, key=key) as run:
            yield run

    def resume(self, run_id: str, key: str, nonce: str, have: Mapping[str, int]) -> Run:
        """Return a run that another process began and left, to be entered like one of ours.

        It yields what has not come yet. No other run may be entered before `prepare`.

        Args:
            key: What the request is called in the session's interpreter, …
            nonce: … which was given this one.
            have: What has come of it; see `RunState.have`.
        """
        self.decoder, self._live_mark = Decoder(nonce), envelope.live_mark(nonce)
        state = RunState(self.id, run_id, "continue", "", is_sent=True, is_resumed=True)
        state.live_mark = self._live_mark
        state.have.update(have)
        return Run(self, state, key=key)

    async def take_over(self, run_id: str, *, asks: bool = False) -> bool:
        """Bring a run to its end that another process began and left, if it still goes on.

        It is interrupted. Of a run whose key is known `resume` brings the output, too.

        An empty ``query`` under its id is answered with the rest of it, or frees the queue of a run
        that has ended (recordings 19, 23, 27). A poll that the other process had sent may still be
        held and take the end for itself, so it is asked anew, and not by ``continue`` (26).

        Args:
            asks: It waits for input; the server says so only once, and an interrupt does not end
                it (API reference 10.6).

        Returns:
            False: it takes no notice of an interrupt for 10 s.

        Raises:
            ConnectError, APIError, ProtocolError: As `Client.send`.
        """
        mode = "input" if asks else "query"
        try:
            async with self.turn, asyncio.timeout(_HELD):
                await self.interrupt()
                if asks:
                    await asyncio.sleep(INTERRUPT_FIRST)
                for attempt in itertools.count(1):
                    answer = await self.client.send(calls.execute(self.id, run_id, mode))
                    if answer.status is RunStatus.FINISHED:
                        await asyncio.sleep(SETTLE)  # for queries of ours that came too late
                        return True
                    # The answer that said that it waits may have been lost with its client: then it
                    # is said no more, and an empty line is what such a run lacks (10.6).
                    waits = answer.status is RunStatus.WAITING_INPUT or attempt == _PERHAPS_ASKS
                    mode = "input" if waits else "query"
        except TimeoutError:
            pass
        return False

    async def interrupt(self) -> None:
        """Interrupt whatever runs in the session; harmless when nothing does (recording 22)."""
        await self.client.send(calls.interrupt(self.id))

    async def prepare(self) -> bool:
        """Teach the interpreter to send envelopes; return whether it has run nothing yet.

        Where there is no IPython the session stays usable: output then comes as the server gives
        it, and ``hello`` stays empty.

        Raises:
            RunLost: No interpreter ever came up in this session, or a run that nobody can end
                holds it; it is good for nothing.
            ConnectError, APIError, ProtocolError: As `Client.send`.
        """
        nonce = envelope.draw_nonce()
        self.decoder, self._live_mark = Decoder(nonce), envelope.live_mark(nonce)
        code, was_lost = envelope.bootstrap(nonce), False
        try:
            events = await collect(self.run(code, patience=_HELD))
        except ConnectError as exc:
            if not exc.sent:
                raise
            was_lost = True  # it may be sent twice
            events = await collect(self.run(code, patience=_HELD))
        hellos = [e for e in events if isinstance(e, Message) and e.kind == "hello"]
        if hellos:
            self.hello = hellos[-1].content
            # The one that was lost may have been there first.
            self.is_fresh = bool(self.hello.get("is_fresh")) or (was_lost and self.is_new)
            return self.is_fresh
        self.hello, self.decoder, self._live_mark = {}, Decoder(), ""
        if exit_code(events) == _NO_INTERPRETER and not _texts(events):
            raise RunLost("No interpreter came up in the session.")
        self.is_fresh = self.is_new  # there is no way to tell
        return self.is_fresh

    async def restart(self) -> None:
        """Give the session a fresh interpreter; container, files and resources are kept.

        Servers up to 26.4.9 restart the container in place; later ones answer 501, and the
        interpreter is executed anew by itself (recordings 29, 80).

        Raises:
            RunLost: No fresh interpreter came up.
            ConnectError, APIError, ProtocolError: As `Client.send`.
        """
        try:
            await self.client.send(calls.restart_session(self.id))
            is_in_place = False
        except ServerError as exc:
            if exc.status not in (501, 503) or exc.slug != "not-implemented":
                raise
            is_in_place = True
        try:
            async with asyncio.timeout(_RESTART_LIMIT):
                while True:
                    if is_in_place:
                        await self.execute_anew()
                        # What is sent to the old interpreter now is lost with it, and wedges the
                        # session. It is gone after 0.6 s, or stays (`remote.requests`).
                        await asyncio.sleep(_RESTART_PAUSE)
                    if await self.prepare():
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise RunLost(
                "The session's interpreter did not come back after its restart.",
                hint="End the session and start a new one.",
            ) from None

    async def execute_anew(self) -> None:
        """Ask the interpreter to replace itself; nothing may be sent to it for a while after."""
        await collect(self.call("restart") if self.hello else self.run(_EXECUTE_ANEW))

    # -- its life -----------------------------------------------------------------------------

    async def look(self) -> Session | None:
        """Return what the manager knows of the session, even when it is over."""
        return await self.client.send(calls.get_session(self.id))

    async def check_alive(self) -> None:
        """Return if the session still runs, and as far as can be told the interpreter in it.

        A server polls a run whose interpreter was killed for ever (recording 28). What it can tell
        is what an interpreter left behind as its mark lists: its open files, none once it is dead.

        Raises:
            RunLost: It has ended, with the reason that the manager gives; or its interpreter has.
        """
        is_dead = await self._is_dead()
        if is_dead is False:
            return  # one request is enough
        seen = await self.look()
        if seen is None or seen.status.is_ending:
            raise _gone(seen)
        if is_dead:
            raise RunLost(
                "The session's interpreter has died: out of memory, or a crash in compiled code.",
                hint="Its variables are lost. Run the cell again for a new session.",
            )

    async def _is_dead(self) -> bool | None:
        """Tell whether the interpreter is dead; ``None``: nobody can tell."""
        mark = self.hello.get("mark")
        if not mark:
            return None  # it could leave none
        try:
            open_files = await self.client.send(calls.list_files(self.id, str(mark)))
        except APIError:
            return None
        if open_files.is_empty:
            return True
        return False if open_files.files.strip("[] \n") else None

    async def lost(self, cause: APIError) -> RunLost:
        """Return the error that tells why the session is not there any more."""
        try:
            return _gone(await self.look())
        except BackendError:
            return RunLost(f"The session is gone: {cause.message}")

    async def destroy(self) -> None:
        """End the session; one that has ended already is fine.

        Raises:
            ConnectError, APIError: As `Client.send`.
        """
        await destroy(self.client, self.id)


async def destroy(client: Client, session_id: str, *, owner: str | None = None) -> None:
    """End a session, whatever its status; see `ComputeSession.destroy`.

    Args:
        owner: Access key of its owner when that is somebody else.
    """
    try:
        await client.send(calls.destroy_session(session_id, owner=owner))
    except NotFound:
        return
    except APIError as exc:
        if exc.status != 403:
            raise
        # Not every status can be ended without force (API reference 4.6).
        await client.send(calls.destroy_session(session_id, forced=True, owner=owner))


def _gone(seen: Session | None) -> RunLost:
    if seen is None:
        return RunLost("The session is gone.", hint="Run the cell again for a new one.")
    reason = f" ({seen.status_info})" if seen.status_info else ""
    return RunLost(
        f"The session has ended while the code ran: {seen.status_name.lower()}{reason}.",
        hint="Its variables are lost. Run the cell again for a new session.",
    )


def _texts(events: list[Event | Message]) -> list[str]:
    return [event.text for event in events if isinstance(event, Text)]
