"""A client of a dozen lines that signs: what tests of the manager talk to it with."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import yarl

from backendai_kernel.local.auth import KeyPair
from backendai_kernel.local.manager import LocalManager
from backendai_kernel.local.release import RELEASES, Release
from backendai_kernel.protocol.signing import authorization, signature, signing_date


@dataclass(frozen=True)
class Reply:
    """An answer: status, headers, and the body as JSON where it is JSON, else as bytes."""

    status: int
    headers: Any
    body: Any

    @property
    def slug(self) -> str:
        """The last part of a problem's type."""
        return str(self.body["type"]).rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Served:
    """A manager in another process, as far as `Signed` needs to know it."""

    url: str
    keypair: KeyPair
    release: Release = RELEASES["26.4"]


class Signed:
    """Sends signed requests to a manager, by default with the manager's own keypair."""

    def __init__(
        self, manager: Any, http: aiohttp.ClientSession, keypair: KeyPair | None = None
    ) -> None:
        self.manager = manager
        self.http = http
        self.keypair = keypair or manager.keypair

    async def __call__(
        self, method: str, path: str, body: Any = None, *, data: Any = None
    ) -> Reply:
        url = yarl.URL(self.manager.url + path, encoded=True)
        kind = "application/json" if body is not None else "text/plain"
        if data is not None:
            kind = data.content_type
            headers = self.headers(method, url, kind)
            payload = data
        else:
            headers = self.headers(method, url, kind)
            payload = None if body is None else io.BytesIO(json.dumps(body).encode())
        async with self.http.request(method, url, data=payload, headers=headers) as response:
            raw = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Reply(response.status, response.headers, json.loads(raw) if is_json else raw)

    def headers(self, method: str, url: yarl.URL, kind: str | None) -> dict[str, str]:
        """Return the headers of a signed request; *kind* ``None`` for a websocket or events."""
        date, version = signing_date(), self.manager.release.api_version
        signed = signature(
            self.keypair.secret_key,
            method,
            url.raw_path_qs,
            date,
            f"{url.host}:{url.port}",
            kind or "application/octet-stream",
            version,
        )
        headers = {
            "Date": date,
            "X-BackendAI-Version": version,
            "Authorization": authorization(self.keypair.access_key, signed),
        }
        return headers | ({"Content-Type": kind} if kind else {})

    async def start(self, name: str, **body: Any) -> str:
        """Create a session, wait until it runs, and return its id."""
        reply = await self("POST", "/session", {"name": name, "image": "python", **body})
        assert (reply.status, reply.body["status"]) == (201, "RUNNING"), reply.body
        return str(reply.body["sessionId"])

    async def run(self, session: str, code: str, run_id: str | None = None) -> Any:
        """Execute code and return the answer's result."""
        keys = {"run_id": run_id, "runId": run_id}
        reply = await self("POST", f"/session/{session}", {"mode": "query", "code": code} | keys)
        assert reply.status == 200, reply.body
        return reply.body["result"]

    async def query(self, text: str, **variables: Any) -> Any:
        """Send GraphQL and return its data."""
        body = {"query": text, "variables": variables}
        reply = await self("POST", "/admin/gql", body)
        assert reply.body.get("errors") is None, reply.body
        return reply.body["data"]


@asynccontextmanager
async def signed(manager: LocalManager, keypair: KeyPair | None = None) -> AsyncIterator[Signed]:
    async with aiohttp.ClientSession() as http:
        yield Signed(manager, http, keypair)


async def until(fact: Callable[[], object], *, within: float = 30.0) -> None:
    """Return once *fact* holds; for facts that nothing announces.

    Raises:
        TimeoutError: It does not within so many seconds.
    """
    async with asyncio.timeout(within):
        while not fact():  # noqa: ASYNC110 -- a file or a counter has no event to wait for
            await asyncio.sleep(0.01)
