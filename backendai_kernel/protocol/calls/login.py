"""Login through a web server."""

from __future__ import annotations

from typing import Any

import msgspec

from .base import Call

LOGIN = "/server/login"


class LoginAnswer(msgspec.Struct, frozen=True):
    """Whether the login was accepted, and why not."""

    authenticated: bool
    data: dict[str, Any] | None = None


def login(username: str, password: str, otp: str | None = None) -> Call[LoginAnswer]:
    """Log in to a web server; the cookie comes as a header (API reference 2.11)."""
    body = {"username": username, "password": password} | ({"otp": otp} if otp else {})
    return Call("POST", LOGIN, LoginAnswer, body, what="Logging in", signed=False)


def check_login() -> Call[LoginAnswer]:
    """Ask whether the cookie is still good."""
    return Call(
        "POST",
        "/server/login-check",
        LoginAnswer,
        what="Checking the login",
        is_read=True,
        signed=False,
    )


def logout() -> Call[None]:
    """End the login that the cookie stands for."""
    return Call("POST", "/server/logout", type(None), what="Logging out", signed=False)
