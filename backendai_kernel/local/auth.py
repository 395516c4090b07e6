"""Who sends a request: keypairs, their policies, the check of a signature, the rate limit."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import formatdate

from aiohttp import hdrs, web

from ..protocol.signing import parse_authorization, signing_key, string_to_sign
from . import problems
from .release import Release

MAX_SKEW = 15 * 60
"""How far a request's ``Date`` may be from this clock, in seconds (API reference 2.6)."""

WINDOW = 15 * 60
"""Length of a rate limit window, in seconds (API reference 3.3)."""

_ANONYMOUS_LIMIT = 1000
_MOST_KEYS = 4096


@dataclass(frozen=True, kw_only=True)
class KeyPairPolicy:
    """What a keypair may use.

    Attributes:
        name: The policy's own name.
        max_concurrent_sessions: ``None`` for no limit; one more is refused at once.
        total_resource_slots: Slot name → amount; ``None`` for no limit. A slot that the policy
            does not name is not allowed at all (recording 68); what is over stays PENDING.
        rate_limit: Requests in 15 minutes.
        idle_timeout: Seconds of idleness after which a session is ended; 0: never.
        max_session_lifetime: Seconds after which it is ended, whatever it does; 0: never.
    """

    name: str = "default"
    max_concurrent_sessions: int | None = None
    total_resource_slots: Mapping[str, Decimal] | None = None
    rate_limit: int = 30000
    idle_timeout: float = 0.0
    max_session_lifetime: float = 0.0


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """Someone who may send requests."""

    access_key: str
    secret_key: str = field(repr=False)
    user_id: str = "local@localhost"
    is_admin: bool = True
    policy: KeyPairPolicy = KeyPairPolicy()
    password: str = field(default="", repr=False)  # for the login of a web server

    @property
    def full_name(self) -> str:
        return self.user_id.partition("@")[0]

    @property
    def user_uuid(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"user:{self.user_id}"))


def new_keypair(
    *,
    user_id: str = "local@localhost",
    is_admin: bool = True,
    policy: KeyPairPolicy | None = None,
    password: str = "",
) -> KeyPair:
    """Return a keypair that nobody else has, of the lengths that servers give out."""
    return KeyPair(
        access_key="AKIA" + secrets.token_hex(8).upper(),
        secret_key=secrets.token_urlsafe(30),
        user_id=user_id,
        is_admin=is_admin,
        policy=policy or KeyPairPolicy(),
        password=password,
    )


@dataclass
class _Window:
    started: float
    used: int = 0


class Gate:
    """Checks signatures and counts requests.

    ``skew`` is added to this computer's clock, in seconds: tests make clocks differ with it.
    ``tells_skew``: so is it in the ``Date`` of answers.
    """

    def __init__(self, release: Release) -> None:
        self._release = release
        self._keypairs: dict[str, KeyPair] = {}
        self._signing_keys: dict[tuple[str, str, str], bytes] = {}
        self._windows: dict[str, _Window] = {}
        self.cookies: dict[str, KeyPair] = {}
        self.skew = 0.0
        self.tells_skew = True

    def date(self) -> dict[str, str]:
        """Return the ``Date`` header of an answer, where it is not this computer's own."""
        if not (self.skew and self.tells_skew):
            return {}
        return {hdrs.DATE: formatdate(time.time() + self.skew, usegmt=True)}

    def add(self, keypair: KeyPair) -> None:
        self._keypairs[keypair.access_key] = keypair

    def keypair(self, access_key: str) -> KeyPair | None:
        return self._keypairs.get(access_key)

    def keypairs(self) -> list[KeyPair]:
        return list(self._keypairs.values())

    def identify(self, request: web.Request) -> KeyPair | None:
        """Return who signed a request; ``None`` when nobody did.

        Raises:
            Problem: It is signed, and wrongly.

        Source: API reference 2.6 for the order of the checks; recording 60 for the answers.
        """
        if request.path.startswith("/func/"):
            return self._by_cookie(request)
        header = request.headers.get(hdrs.AUTHORIZATION)
        if header is None:
            return None
        date = self._date(request)
        version = self._version(request)
        try:
            access_key, signed = parse_authorization(header)
        except ValueError as exc:
            raise problems.invalid_auth(f"Malformed Authorization header: {exc}") from exc
        keypair = self._keypairs.get(access_key)
        if keypair is None:
            raise problems.auth_failed("Access key not found in HMAC")
        host = request.headers.get(hdrs.HOST, "")
        text = string_to_sign(
            request.method, request.raw_path, date, host, request.content_type, version
        )
        expected = hmac.new(self._signing_key(keypair, date, host), text, hashlib.sha256)
        if not hmac.compare_digest(expected.hexdigest(), signed):
            raise problems.auth_failed("HMAC signature mismatch")
        return keypair

    def _by_cookie(self, request: web.Request) -> KeyPair | None:
        token = request.cookies.get("AIOHTTP_SESSION")
        return self.cookies.get(token or request.headers.get("X-BackendAI-SessionID") or "")

    def _date(self, request: web.Request) -> str:
        headers = request.headers
        text = (
            headers.get(hdrs.DATE)
            or headers.get("X-BackendAI-Date")
            or headers.get("X-Sorna-Date")
            or ""
        )
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise problems.invalid_auth("Date/time sync error") from None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        if abs(when.timestamp() - time.time() - self.skew) > MAX_SKEW:
            raise problems.invalid_auth("Date/time sync error")
        return text

    def _version(self, request: web.Request) -> str:
        headers = request.headers
        version = headers.get("X-BackendAI-Version") or headers.get("X-Sorna-Version")
        if version is None:
            raise problems.invalid_auth("API version missing in request headers")
        if version not in self._release.accepts:
            raise problems.Problem(
                400,
                "generic-bad-request",
                f"Unsupported API version: {version}",
                "api_generic_bad-request",
                f"Unsupported API version: {version}",
            )
        return version

    def _signing_key(self, keypair: KeyPair, date: str, host: str) -> bytes:
        of_day = (keypair.access_key, date[:10], host)
        key = self._signing_keys.get(of_day)
        if key is None:
            if len(self._signing_keys) >= _MOST_KEYS:
                self._signing_keys.clear()
            key = self._signing_keys[of_day] = signing_key(keypair.secret_key, date, host)
        return key

    def count(self, keypair: KeyPair | None) -> dict[str, str]:
        """Count a request and return the ``X-RateLimit-*`` headers of its answer.

        A window is fixed and a user's; requests of nobody are not counted.

        Raises:
            Problem: The window is used up.

        Source: API reference 3.3; the headers of recording 00.
        """
        if keypair is None:
            return _rate_headers(_ANONYMOUS_LIMIT, _ANONYMOUS_LIMIT)
        now = time.monotonic()
        window = self._windows.get(keypair.user_id)
        if window is None or now - window.started >= WINDOW:
            window = self._windows[keypair.user_id] = _Window(now)
        limit = keypair.policy.rate_limit
        if window.used >= limit:
            raise problems.rate_limited()
        window.used += 1
        return _rate_headers(limit, limit - window.used)


def _rate_headers(limit: int, remaining: int) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Window": str(WINDOW),
    }
