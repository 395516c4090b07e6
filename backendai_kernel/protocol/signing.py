"""The signature that a manager wants on every request (HMAC-SHA256).

Source: API reference 2.1 to 2.8; the body is never part of what is signed.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

_EMPTY = hashlib.sha256(b"").hexdigest()


def signing_date(now: datetime | None = None) -> str:
    """Return a ``Date`` header: ISO 8601 with offset, not RFC 1123."""
    return (now or datetime.now(UTC)).isoformat()


def string_to_sign(
    method: str, path_qs: str, date: str, host: str, content_type: str, version: str
) -> bytes:
    """Return the seven lines that are signed.

    Args:
        method: HTTP method, any case.
        path_qs: Path and query exactly as sent, percent-encoded, with the endpoint's path prefix.
        date: The ``Date`` header.
        host: The ``Host`` header.
        content_type: The ``Content-Type`` header; ``application/octet-stream`` when none is sent.
        version: The ``X-BackendAI-Version`` header.
    """
    media = content_type.split(";", 1)[0].strip().lower()
    lines = (
        method.upper(),
        path_qs,
        date,
        f"host:{host}",
        f"content-type:{media}",
        f"x-backendai-version:{version}",
        _EMPTY,
    )
    return "\n".join(lines).encode()


def signing_key(secret_key: str, date: str, host: str) -> bytes:
    """Derive the key: the secret, then the date's own calendar day, then the host."""
    day = date[0:4] + date[5:7] + date[8:10]
    of_day = hmac.new(secret_key.encode(), day.encode(), hashlib.sha256).digest()
    return hmac.new(of_day, host.encode(), hashlib.sha256).digest()


def signature(
    secret_key: str,
    method: str,
    path_qs: str,
    date: str,
    host: str,
    content_type: str,
    version: str,
) -> str:
    """Return the hexadecimal signature of a request; arguments as for `string_to_sign`."""
    key = signing_key(secret_key, date, host)
    return signature_with(key, method, path_qs, date, host, content_type, version)


def signature_with(
    key: bytes, method: str, path_qs: str, date: str, host: str, content_type: str, version: str
) -> str:
    """Return the signature made with a key from `signing_key`, which is good for one day."""
    text = string_to_sign(method, path_qs, date, host, content_type, version)
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def authorization(access_key: str, signed: str) -> str:
    """Return the ``Authorization`` header."""
    return f"BackendAI signMethod=HMAC-SHA256, credential={access_key}:{signed}"


def parse_authorization(header: str) -> tuple[str, str]:
    """Return access key and signature of an ``Authorization`` header.

    Raises:
        ValueError: The header is not of this scheme.
    """
    scheme, _, rest = header.partition(" ")
    fields = dict(pair.strip().split("=", 1) for pair in rest.split(",") if "=" in pair)
    access_key, colon, signed = fields.get("credential", "").partition(":")
    if scheme not in ("BackendAI", "Sorna") or fields.get("signMethod") != "HMAC-SHA256":
        raise ValueError("unknown authorization scheme")
    if not (access_key and colon and signed):
        raise ValueError("credential is not ACCESS_KEY:SIGNATURE")
    return access_key, signed
