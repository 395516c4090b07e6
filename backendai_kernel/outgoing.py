"""What goes out with a call: its body, and the headers with the credentials."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from .clock import Clock
from .config import Config
from .protocol import calls, signing
from .protocol.calls import Call

if TYPE_CHECKING:
    from yarl import URL

COOKIE = "AIOHTTP_SESSION"
"""The cookie of a web server's login."""

BUFFER = 2**20
"""Bytes that are handed on at once; more of them would hold up the loop."""


class Credentials:
    """Signs the requests of one user, or gives them the cookie of a web server's login."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        """Prepare; *clock* tells the time to sign with."""
        self._config = config
        self._clock = clock or Clock()
        self._signing_keys: dict[tuple[str, str], bytes] = {}

    def prefix(self, call: Call[Any]) -> str:
        """Return what stands before a call's path."""
        # A web server passes on what stands behind /func; its own paths begin with /server (2.11).
        if self._config.endpoint_type == "session" and not call.path.startswith("/server"):
            return "/func"
        return ""

    def headers(self, call: Call[Any], url: URL, body: Body | None, version: str) -> dict[str, str]:
        """Return what a request carries in its headers but ``Host``; they are the credentials.

        Args:
            call: What is asked.
            url: Where it goes; over its path, its query and its host the request is signed.
            body: What goes with it.
            version: Of the API, as ``v9.20250722``.
        """
        content_type = body.content_type if body is not None else "text/plain"
        headers = {"Content-Type": content_type}
        if call.is_stream:  # signed as application/octet-stream, sent without the header (2.3)
            content_type, headers = "application/octet-stream", {}
        if self._config.endpoint_type == "session":
            headers["X-BackendAI-Version"] = version
            # A login is refused as long as a cookie from before comes with it (2.11).
            if call.path != calls.LOGIN and (cookie := read_cookie(self._config)):
                headers["Cookie"] = f"{COOKIE}={cookie}"
        elif call.signed:
            headers |= self._signed(call.method, url, content_type, version)
        return headers

    def _signed(self, method: str, url: URL, content_type: str, version: str) -> dict[str, str]:
        host = host_header(url)
        date = signing.signing_date(self._clock.now())
        day = (date[:10], host)
        if day not in self._signing_keys:
            self._signing_keys = {day: signing.signing_key(self._config.secret_key, date, host)}
        signed = signing.signature_with(
            self._signing_keys[day], method, url.raw_path_qs, date, host, content_type, version
        )
        return {
            "Date": date,
            "Authorization": signing.authorization(self._config.access_key, signed),
            "X-BackendAI-Version": version,
            "X-BackendAI-Domain": self._config.domain,
        }


class Body(NamedTuple):
    """What a request carries, and its type."""

    content_type: str
    data: bytes

    @property
    def payload(self) -> bytes | io.BytesIO:
        """What aiohttp is to send: more than a piece of it at once would hold up the loop."""
        return self.data if len(self.data) < BUFFER else io.BytesIO(self.data)


def body_of(call: Call[Any]) -> Body | None:
    """Return what a call carries, ``None``: nothing."""
    if call.parts:
        boundary = secrets.token_hex(16)
        data = calls.encode_parts(call.parts, boundary)
        return Body(f"multipart/form-data; boundary={boundary}", data)
    return None if call.body is None else Body("application/json", msgspec.json.encode(call.body))


@dataclass(frozen=True, slots=True)
class Handshake:
    """Where and with which headers a websocket is opened.

    Attributes:
        host: To connect to, with ``port``.
        path: Path and query.
        host_header: The ``Host`` header, over which the request is signed.
        headers: The others; they are the credentials.
    """

    host: str
    port: int
    is_tls: bool
    path: str
    host_header: str
    headers: Mapping[str, str] = field(repr=False)


def read_cookie(config: Config) -> str | None:
    """Return the cookie kept by `Client.login` for this endpoint, if there is one."""
    if config.cookie_file is None:
        return None
    try:
        kept = json.loads(config.cookie_file.read_text())
        is_ours = kept["endpoint"] == config.endpoint and isinstance(kept["cookie"], str)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not logged in, or not our file: the server will say that a login is due
    return kept["cookie"] if is_ours else None


def host_header(url: URL) -> str:
    """Return the ``Host`` header of a request to this address."""
    return str(url.raw_host if url.is_default_port() else url.raw_authority.rpartition("@")[2])
