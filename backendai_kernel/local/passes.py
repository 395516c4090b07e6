"""Tokens of the storage proxy: each is good for one file, for a day.

Source: API reference 7.3. The real ones say so themselves (JWT); these are looked up.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

from aiohttp import web

from .problems import Problem
from .vfolders import FolderRecord

_LIFE = 24 * 3600.0  # seconds that a token is good


@dataclass(frozen=True, slots=True)
class Pass:
    """What a token is good for."""

    is_upload: bool
    folder: FolderRecord
    path: str
    size: int = 0
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    until: float = field(default_factory=lambda: time.time() + _LIFE)


class Passes:
    """Tokens that were given out, and the uploads that are whole."""

    def __init__(self) -> None:
        self._passes: dict[str, Pass] = {}
        self.finished: set[str] = set()

    def give(self, new: Pass) -> str:
        """Return a token for *new*."""
        now = time.time()
        self._passes = {token: each for token, each in self._passes.items() if each.until > now}
        token = secrets.token_urlsafe(32)
        self._passes[token] = new
        return token

    def look(self, request: web.Request, *, is_upload: bool) -> Pass:
        """Return what the request's token is good for.

        Raises:
            Problem: It is none of ours (400).
        """
        found = self._passes.get(request.query.get("token", ""))
        if found is None or found.is_upload != is_upload or found.until < time.time():
            raise invalid("cannot decode the given value as JWT")
        return found


def invalid(msg: str) -> Problem:
    return Problem(
        400,
        "storage/invalid-api-params",
        "Invalid API parameters",
        "storage-proxy_request_invalid-parameters",
        msg,
    )
