"""The login of a web server, so that clients in session mode have something to talk to.

A real manager has no such routes: a web server in front of it keeps the cookie and signs.

Source: API reference 2.11.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any

import msgspec
from aiohttp import web

from . import aes, problems
from .auth import KeyPair
from .core import Core, answer, json_body

_COOKIE = "AIOHTTP_SESSION"
_WEEK = 604800


async def login(core: Core, request: web.Request) -> web.Response:
    """Give a cookie for a name and a password; a wrong one is a 200 that says so."""
    asked = await _credentials(request)
    for keypair in core.gate.keypairs():
        right = keypair.password and secrets.compare_digest(
            keypair.password.encode(), str(asked.get("password", "")).encode()
        )
        if asked.get("username") == keypair.user_id and right:
            return _welcome(core, keypair)
    return answer(
        {
            "authenticated": False,
            "data": {
                "type": "https://api.backend.ai/probs/auth-failed",
                "title": "Credential/signature mismatch.",
                "details": "User credential mismatch.",
            },
        }
    )


def _welcome(core: Core, keypair: KeyPair) -> web.Response:
    token = secrets.token_urlsafe(24)
    core.gate.cookies[token] = keypair
    response = answer(
        {
            "authenticated": True,
            "data": {
                "access_key": keypair.access_key,
                "role": "superadmin" if keypair.is_admin else "user",
                "status": "active",
            },
        }
    )
    response.headers["X-BackendAI-SessionID"] = token
    response.set_cookie(_COOKIE, token, httponly=True, path="/", max_age=_WEEK)
    return response


async def login_check(core: Core, request: web.Request) -> web.Response:
    token = request.cookies.get(_COOKIE, "")
    keypair = core.gate.cookies.get(token)
    if keypair is None:
        return answer({"authenticated": False, "data": None, "session_id": None})
    data = {"access_key": keypair.access_key, "role": "user", "status": "active"}
    return answer({"authenticated": True, "data": data, "session_id": token})


async def logout(core: Core, request: web.Request) -> web.Response:
    core.gate.cookies.pop(request.cookies.get(_COOKIE, ""), None)
    response = web.Response(status=201)
    response.del_cookie(_COOKIE, path="/")
    return response


async def _credentials(request: web.Request) -> dict[str, Any]:
    """Return name and password from a plain or an encoded body."""
    if request.headers.get("X-BackendAI-Encoded", "").lower() != "true":
        return await json_body(request)
    endpoint = f"{request.scheme}://{request.host}"
    try:
        decoded = msgspec.json.decode(decode(await request.read(), endpoint))
    except (ValueError, binascii.Error) as exc:
        raise problems.invalid_params(f"Cannot decode the login body: {exc}") from exc
    if not isinstance(decoded, dict):
        raise problems.invalid_params("The login body is no object")
    return decoded


def decode(body: bytes, endpoint: str) -> bytes:
    """Return the plain text of an encoded login body.

    Args:
        body: ``IV:base64(ciphertext)``.
        endpoint: The server's URL without a slash at its end; the key is derived from it.

    Raises:
        ValueError: It is not of that form.
    """
    iv, colon, text = body.partition(b":")
    if not colon or len(iv) != 16:
        raise ValueError("no initialization vector")
    key = (base64.b64encode(endpoint.encode()) + iv + iv)[:32]
    return aes.decrypt(key, iv, base64.b64decode(text, validate=True))
