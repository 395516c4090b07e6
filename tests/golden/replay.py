"""Sends recorded requests to an embedded manager, at the pace at which they were recorded.

Names, ids, run ids and the image's reference are put in place of the recorded ones. Idle time is
left out; while a run is open or a request is held, the recorded gaps are kept, because what a poll
gets depends on them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yarl

from backendai_kernel.local.auth import KeyPair, KeyPairPolicy
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.protocol.signing import authorization, signature, signing_date
from tests.golden.same import Answer

SAMPLES = Path(__file__).parents[1] / "samples" / "golden"
VERSION = "v9.20250722"
GIVE_UP = 1.0  # seconds until a request counts as one that hangs, where the recorded client waited
LONGEST_GAP = 3.0
ARRIVES_WITHIN = 10.0  # seconds until a listing must show the recorded status

ADMIN = KeyPair(
    access_key="AKIAIOSFODNN7EXAMPLE", secret_key="secret of admin", user_id="admin@example.com"
)
USER = KeyPair(
    access_key="AKIAUSERUSEREXAMPLE0",
    secret_key="secret of user",
    user_id="user@example.com",
    is_admin=False,
)
TIGHT = KeyPair(
    access_key="AKIATIGHTUSEREXAMPLE",
    secret_key="secret of tight",
    user_id="tight@example.com",
    is_admin=False,
    policy=KeyPairPolicy(
        name="tight", max_concurrent_sessions=1, total_resource_slots={"cpu": 1, "mem": 2**30}
    ),
)
KEYPAIRS = {"admin": ADMIN, "user": USER, "tight": TIGHT}


@dataclass
class Recording:
    """One scenario: its name (``21-interrupt``) and its exchanges."""

    name: str
    exchanges: list[dict[str, Any]]

    @classmethod
    def read(cls, number: str) -> Recording:
        (path,) = SAMPLES.glob(f"{number}-*.ndjson")
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return cls(path.stem, [line for line in lines if "method" in line])

    @property
    def length(self) -> float:
        """How long the recording is, in seconds; a replay leaves the idle time out."""
        return float(self.exchanges[-1]["t"])


@dataclass
class Replayed:
    """An exchange, what was recorded and what was answered now; ``None``: no answer in time."""

    exchange: dict[str, Any]
    answer: Answer | None
    early: bool = False  # not sent: the run that it continues had ended one poll sooner
    frames: list[dict[str, Any]] = field(default_factory=list)


class Replay:
    """Replays one recording.

    Args:
        extras: ``n`` of an exchange → what to do once it has been sent.
        give_up: ``n`` → seconds to wait for an answer that was never recorded.
        pauses: ``n`` → seconds to wait before it is sent.
        words: What was recorded → what stands for it now.
    """

    def __init__(
        self,
        manager: LocalManager,
        http: aiohttp.ClientSession,
        *,
        extras: Mapping[int, Callable[[LocalManager], Awaitable[None]]],
        give_up: Mapping[int, float],
        pauses: Mapping[int, float],
        words: Mapping[str, str],
    ) -> None:
        self._manager = manager
        self._http = http
        self._extras = extras
        self._give_up = give_up
        self._pauses = pauses
        self._words = dict(words)
        self._open_runs: set[str] = set()
        self._ended_early: set[str] = set()

    async def run(self, recording: Recording) -> list[Replayed]:
        """Send every request and return what came back, in the recorded order."""
        tasks: list[tuple[dict[str, Any], float, asyncio.Task[Replayed]]] = []
        loop = asyncio.get_running_loop()
        for exchange in recording.exchanges:
            ended = [task for before, _, task in tasks if _ended(before, exchange["t"])]
            if ended:
                await asyncio.wait(ended)
            held = [(before, at) for before, at, task in tasks if not task.done()]
            if tasks and (held or self._open_runs or tasks[-1][0]["answer"] is None):
                before, at, _ = tasks[-1]
                gap = min(exchange["t"] - before["t"], LONGEST_GAP)
                await asyncio.sleep(max(0.0, at + gap - loop.time()))
            await asyncio.sleep(self._pauses.get(exchange["n"], 0))
            sent = loop.time()
            tasks.append((exchange, sent, loop.create_task(self._exchange(exchange))))
            await asyncio.sleep(0)
            if (extra := self._extras.get(exchange["n"])) is not None:
                await extra(self._manager)
        return [await task for _, _, task in tasks]

    async def _exchange(self, exchange: dict[str, Any]) -> Replayed:
        if "ws" in exchange:
            return await self._websocket(exchange)
        if "sse" in exchange:
            return await self._events(exchange)
        recorded = exchange["answer"]
        body = exchange.get("json") or {}
        if body.get("mode") == "continue" and body.get("run_id") in self._ended_early:
            return Replayed(exchange, None, early=True)
        if recorded is None:
            limit = self._give_up.get(exchange["n"], GIVE_UP)
            try:
                async with asyncio.timeout(limit):
                    return Replayed(exchange, await self._send(exchange))
            except TimeoutError:
                return Replayed(exchange, None)
        answer = await self._send(exchange)
        deadline = asyncio.get_running_loop().time() + ARRIVES_WITHIN
        while not _arrived(recorded, answer) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
            answer = await self._send(exchange)
        self._learn(recorded, answer)
        return Replayed(exchange, await self._finish(exchange, answer))

    async def _finish(self, exchange: dict[str, Any], answer: Answer) -> Answer:
        """Poll on where the recorded run had ended by now, and put the consoles together."""
        was, now = result_of(exchange["answer"].get("json")), result_of(answer.body)
        if not was or not now or (was["status"], now["status"]) != ("finished", "continued"):
            return answer
        run_id = now["runId"] or was["runId"]  # 27: the server may have let go of its name
        again = {"mode": "continue", "code": "", "runId": run_id, "run_id": run_id}
        later = await self._send(exchange | {"json": again})
        if (result := result_of(later.body)) is not None:
            result["console"] = now["console"] + result["console"]
            self._open_runs.discard(run_id)
        return later

    async def _send(self, exchange: dict[str, Any]) -> Answer:
        url = self._url(exchange)
        body: bytes | None = None
        if "json" in exchange:
            body = self._put(json.dumps(exchange["json"])).encode()
        elif "text" in exchange:
            body = exchange["text"].encode()
        headers = self._headers(exchange, url)
        async with self._http.request(
            exchange["method"], url, data=body, headers=headers
        ) as response:
            raw = await response.read()
            return Answer.of(response, raw)

    def _url(self, exchange: dict[str, Any]) -> yarl.URL:
        return yarl.URL(self._manager.url + self._put(exchange["target"]), encoded=True)

    def _headers(self, exchange: dict[str, Any], url: yarl.URL) -> dict[str, str]:
        headers: dict[str, str] = {}
        if exchange["kind"]:
            headers["Content-Type"] = exchange["kind"]
        if (keypair := KEYPAIRS.get(exchange["as"])) is None and "case" not in exchange:
            return headers
        signed = _signed(keypair or ADMIN, exchange, url, exchange.get("case", ""))
        return headers | signed

    async def _websocket(self, exchange: dict[str, Any]) -> Replayed:
        url = self._url(exchange)
        frames: list[dict[str, Any]] = []
        async with self._http.ws_connect(url, headers=self._headers(exchange, url)) as ws:
            for frame in exchange["ws"]:
                if frame["from"] == "client" and "json" in frame:
                    await ws.send_str(self._put(json.dumps(frame["json"])))
            async for message in ws:
                frames.append(json.loads(message.data))
            code = ws.close_code
        answer = Answer(101, None, False, {"close": code})
        return Replayed(exchange, answer, frames=frames)

    async def _events(self, exchange: dict[str, Any]) -> Replayed:
        url = self._url(exchange)
        text = ""
        async with self._http.get(url, headers=self._headers(exchange, url)) as response:
            async for chunk in response.content.iter_any():
                text += chunk.decode()
                if "event: session_terminated" in text and text.endswith("\r\n\r\n"):
                    break
            answer = Answer(response.status, response.headers["Content-Type"], False, text)
        return Replayed(exchange, answer)

    def _put(self, text: str) -> str:
        for recorded, ours in self._words.items():
            text = text.replace(recorded, ours)
        return text

    def _learn(self, recorded: dict[str, Any], answer: Answer) -> None:
        """Remember what stands for a recorded session id or invented run id, and open runs."""
        told, ours = recorded.get("json"), answer.body
        if not (isinstance(told, dict) and isinstance(ours, dict)):
            return
        if "sessionId" in told and "sessionId" in ours:
            self._words[told["sessionId"]] = ours["sessionId"]
        result, our_result = told.get("result"), ours.get("result")
        if isinstance(result, dict) and "runId" in result and isinstance(our_result, dict):
            if our_result["runId"] is not None:  # 27: the server may have let go of its name
                self._words[result["runId"]] = our_result["runId"]
            if our_result["status"] == "finished":
                self._open_runs.discard(our_result["runId"])
                if result["status"] == "continued":
                    self._ended_early.add(our_result["runId"])
            else:
                self._open_runs.add(our_result["runId"])


def result_of(body: Any) -> dict[str, Any] | None:
    """Return the result in an answer to an execution, ``None`` for another answer."""
    result = body.get("result") if isinstance(body, dict) else None
    return result if isinstance(result, dict) and "runId" in result else None


def fold(replayed: list[Replayed]) -> list[Replayed]:
    """Put recorded answers together where the run has now ended a poll or two sooner.

    Where a poll ends depends on milliseconds; what all polls of a run told together does not.
    """
    folded: list[Replayed] = []
    for done in replayed:
        if not done.early:
            folded.append(done)
            continue
        run_id = done.exchange["json"]["run_id"]
        first = next(
            d
            for d in reversed(folded)
            if d.answer is not None
            and (result := result_of(d.answer.body)) is not None
            and result["runId"] == run_id
        )
        was = first.exchange["answer"]["json"]["result"]
        told = done.exchange["answer"]["json"]["result"]
        whole = told | {"console": was["console"] + told["console"]}
        answer = first.exchange["answer"] | {"json": {"result": whole}}
        first.exchange = first.exchange | {"answer": answer}
    return folded


def _ended(exchange: dict[str, Any], now: float) -> bool:
    """The recorded answer was there, or the recorded client had given up, at that time."""
    if "sse" in exchange:
        return False
    answer = exchange["answer"]
    if answer is None:
        return False
    return bool(exchange["t"] + (answer["took"] or 0) <= now + 0.005)


def _arrived(recorded: dict[str, Any], answer: Answer) -> bool:
    """A listing shows the status that was recorded; what comes before that is not compared."""
    wanted, now = _statuses(recorded.get("json")), _statuses(answer.body)
    return wanted is None or wanted == now


def _statuses(body: Any) -> list[str] | None:
    try:
        items = body["data"]["compute_session_list"]["items"]
        return [item["status"] for item in items]
    except (KeyError, TypeError):
        return None


def _signed(keypair: KeyPair, exchange: dict[str, Any], url: yarl.URL, case: str) -> dict[str, str]:
    """Return a request's signature, wrong in the way that the recorded case was."""
    date = signing_date()
    if case == "olddate":
        date = signing_date(datetime.now(UTC) - timedelta(hours=2))
    elif case == "baddate":
        date = "not a date"
    access_key, secret = keypair.access_key, keypair.secret_key
    if case == "badkey":
        access_key = "AKIADOESNOTEXIST0000"
    elif case == "badsecret":
        secret = "another secret"
    host = f"{url.host}:{url.port}"
    kind = exchange["kind"] or "application/octet-stream"
    signed = signature(secret, exchange["method"], url.raw_path_qs, date, host, kind, VERSION)
    headers = {
        "Date": date,
        "X-BackendAI-Version": VERSION,
        "Authorization": authorization(access_key, signed),
    }
    if case == "nosig":
        del headers["Authorization"]
    if case == "noversion":
        del headers["X-BackendAI-Version"]
    return headers
