"""What comes back: an answer as a value, a refusal as an error of ours."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .config import Config
from .errors import (
    APIError,
    BackendError,
    ConnectError,
    ProtocolError,
    RateLimited,
    Unauthorized,
    clipped,
    from_problem,
)
from .protocol.calls import Call

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")


LARGEST = 512 * 2**20
"""Bytes of an answer, beyond which nobody can want it: a run's are some megabytes a second."""
_LARGEST_REFUSAL = 2**20

_UNREADABLE = (
    msgspec.MsgspecError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What reading JSON of a hostile server can end in."""


async def whole(response: aiohttp.ClientResponse, what: str = "The request") -> bytes:
    """Return all that an answer carries.

    Raises:
        ProtocolError: It has no end.
    """
    # `response.read` keeps what it returns for as long as there is a response: megabytes at times.
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > LARGEST:
            response.close()
            raise ProtocolError(
                f"{what}: the server's answer is larger than {LARGEST // 2**20} MiB.",
                hint="Check that BACKEND_ENDPOINT is a Backend.AI manager.",
            )
        pieces.append(piece)
    return b"".join(pieces)


async def beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return what a refusal carries, of which no more than a mebibyte is read."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > _LARGEST_REFUSAL:
            response.close()
            break
    return b"".join(pieces)[:_LARGEST_REFUSAL]


def read(body: bytes, call: Call[T]) -> T:
    """Return what an answer says, as the call wants it read.

    Raises:
        APIError: It is a refusal, in the way of GraphQL.
        ProtocolError: It is not what the API describes.
    """
    try:
        value = msgspec.json.decode(body)
        if isinstance(value, dict) and value.get("errors"):
            raise _graphql_error(value["errors"], call)
        for key in call.inside:
            value = value[key]
        return msgspec.convert(value, call.answer, strict=False)
    except _UNREADABLE as exc:
        raise ProtocolError(
            f"{call.what}: the server's answer is not in the form that we know ({clipped(str(exc))}).",
            hint="Check that BACKEND_ENDPOINT is a Backend.AI manager; upgrade backendai-kernel.",
        ) from exc


def _graphql_error(errors: Any, call: Call[Any]) -> APIError:
    first = errors[0] if isinstance(errors, list) and errors else {}
    message = clipped(first.get("message", errors) if isinstance(first, dict) else first)
    return APIError(
        f"{call.what} was refused: {message}", status=400, slug="graphql-error", msg=message
    )


def refusal(
    config: Config,
    status: int,
    reason: str | None,
    headers: Mapping[str, str],
    body: bytes,
    what: str,
) -> BackendError:
    """Return the error that an answer with a status of 300 or more means."""
    if status < 400:
        location = clipped(headers.get("Location") or headers.get("location") or "elsewhere")
        return ProtocolError(
            f"{config.endpoint} is not the API: it sends us to {location}.",
            hint="Check BACKEND_ENDPOINT.",
        )
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        problem = None
    if not isinstance(problem, dict):
        problem = {"title": f"HTTP {status} {reason or ''}".strip()}
    error = from_problem(status, problem, what=what)
    if isinstance(error, RateLimited):
        error.retry_after = _seconds(headers.get("Retry-After"))
    if error.status == 401 and config.endpoint_type == "session":
        return Unauthorized(
            f"You are not logged in at {config.endpoint}, or no longer.",
            status=401,
            hint="Log in again: backendai-kernel login --type session",
            slug=error.slug,
            title=error.title,
            msg=error.msg,
        )
    return error


def unreachable(config: Config, exc: OSError) -> ConnectError:
    """Return the error that a connection which did not come about means."""
    if config.is_local:
        return ConnectError(
            "The embedded manager of this computer has gone, and its sessions with it.",
            hint="Restart the kernel: its first cell starts another one.",
        )
    if "certificate" in str(exc).lower():
        return ConnectError(
            f"The certificate of {config.endpoint} is not trusted.",
            hint="Check the address; BACKEND_SKIP_SSLCERT_VALIDATION=yes trusts any.",
        )
    cause = getattr(exc, "os_error", exc)  # aiohttp's own says less
    return ConnectError(
        f"Nothing answers at {config.endpoint} ({cause.strerror or str(exc) or 'timed out'}).",
        hint="Check the address and the network; `backendai-kernel doctor` looks closer.",
    )


def login_refused(slug: str, details: str) -> Unauthorized:
    """Return the error that a refused login means."""
    details = clipped(details).strip().rstrip(".") or "wrong name or password"
    return Unauthorized(
        f"The login was refused: {details}.", status=401, slug=slug, title=details, msg=details
    )


def wants_otp(refusal: Unauthorized) -> bool:
    """Tell whether a refused login lacked a one-time password (API reference 2.11)."""
    return (
        refusal.slug == "require-totp-authentication" or refusal.msg.lower() == "otp not provided"
    )


def _seconds(text: str | None) -> float | None:
    try:
        seconds = None if text is None else float(text)
    except ValueError:
        return None  # a date: the limiter's own pauses will do
    return seconds if seconds is not None and math.isfinite(seconds) else None
