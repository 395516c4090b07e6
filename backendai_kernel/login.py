"""Log in and out: ask for what is missing, try it on the server, keep it for the owner alone.

A secret is typed without echo or comes on standard input; there is no option for it, because a
command line is read by every user of the computer and kept in the shell's history.
"""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .answers import wants_otp
from .client import Client
from .config import Config, profile_path, read_profile, write_profile
from .errors import BackendError, ConfigError, Unauthorized
from .model import KeyPair
from .protocol import calls

_QUESTIONS = {"api": ("Access key", "Secret key"), "session": ("User name", "Password")}


@dataclass(frozen=True, slots=True)
class Account:
    """Who the server says that we are, and what the server says of itself."""

    user: str
    is_admin: bool
    manager: str

    def __str__(self) -> str:
        role = " (administrator)" if self.is_admin else ""
        return f"{self.user}{role} on manager {self.manager}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the options of ``login`` said; ``None`` for what has to be asked.

    Attributes:
        kind: ``api`` for a keypair, ``session`` for a name and a password.
        user: Access key or user name.
        is_piped: The secret is the first line of standard input.
    """

    kind: str = "api"
    endpoint: str | None = None
    user: str | None = None
    domain: str | None = None
    group: str | None = None
    is_piped: bool = False


def login(wish: Wish, environ: Mapping[str, str]) -> tuple[Account, Path]:
    """Log in and write the profile file; return who we are and where it was written.

    Nothing is written unless the server has accepted what was given.

    Raises:
        ConfigError: Something makes no sense, cannot be asked for, or cannot be written.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    endpoint = wish.endpoint or _ask("Endpoint (such as https://manager.example.com)")
    ask_user, ask_secret = _QUESTIONS[wish.kind]
    user = wish.user or _ask(ask_user)
    secret = _read_piped() if wish.is_piped else _ask_hidden(ask_secret)
    wish = replace(wish, endpoint=endpoint, user=user)

    async def ask_otp() -> str:
        return _ask_hidden("One-time password")

    return asyncio.run(log_in(wish, secret, environ, ask_otp))


async def log_in(
    wish: Wish, secret: str, environ: Mapping[str, str], ask_otp: Callable[[], Awaitable[str]]
) -> tuple[Account, Path]:
    """Log in with what was asked for and write the profile file; see `login`.

    Args:
        wish: With endpoint and user.
        secret: Secret key or password.
        ask_otp: Asks for a one-time password, if the server wants one.

    Raises:
        ConfigError, ConnectError, APIError, ProtocolError: As `login`.
    """
    named: dict[str, Any] = {"endpoint": wish.endpoint, "endpoint_type": wish.kind}
    named |= {k: v for k, v in (("domain", wish.domain), ("group", wish.group)) if v is not None}
    if wish.kind == "api":
        config = _config(environ, named | {"access_key": wish.user, "secret_key": secret})
        async with Client(config) as client:
            account = await _who(client)
    else:
        config = _config(environ, named)
        account = await _log_in_to_web(config, str(wish.user), secret, ask_otp)
    path = profile_path(environ)
    written = {name: str(getattr(config, name)) for name in (*named, "access_key", "secret_key")}
    write_profile(path, written)
    if wish.kind == "api" and config.cookie_file is not None:
        config.cookie_file.unlink(missing_ok=True)  # of a login that this one replaces
    return account, path


def _config(environ: Mapping[str, str], named: Mapping[str, Any]) -> Config:
    """Return the settings to log in with; of the environment only what is not about identity."""
    identity = ("ENDPOINT", "ENDPOINT_TYPE", "ACCESS_KEY", "SECRET_KEY")
    others = {
        key: value
        for key, value in environ.items()
        if key.partition("_")[2] not in identity or not key.startswith(("BACKEND_", "SORNA_"))
    }
    return Config.from_env(others, with_profile=False, **named)


async def _log_in_to_web(
    config: Config, user: str, password: str, ask_otp: Callable[[], Awaitable[str]]
) -> Account:
    async def attempt(otp: str | None) -> Account:
        async with Client(config) as client:
            await client.login(user, password, otp)
            return await _who(client)

    try:
        return await attempt(None)
    except Unauthorized as exc:
        if not wants_otp(exc):
            raise
    return await attempt(await ask_otp())


async def _who(client: Client) -> Account:
    version = await client.version()
    try:
        keypair: KeyPair = await client.send(calls.get_keypair())
    except Unauthorized as exc:
        exc.hint = "Check what you typed; nothing was written."
        raise
    return Account(keypair.user_id, keypair.is_admin, version.manager)


@dataclass(frozen=True, slots=True)
class Goodbye:
    """What ``logout`` did: the files that it removed, and what the server said if it failed."""

    removed: tuple[Path, ...]
    complaint: str = ""


def logout(environ: Mapping[str, str]) -> Goodbye:
    """End a login on the server, and remove the profile file and the cookie.

    Raises:
        ConfigError: A file cannot be removed.
    """
    path = profile_path(environ)
    complaint = ""
    cookie = path.with_name("cookie.json")
    found = [file for file in (path, cookie) if file.exists()]
    if cookie.exists():
        try:
            asyncio.run(_log_out_of_web(environ, path))
        except BackendError as exc:
            complaint = exc.message
    try:
        for file in found:
            file.unlink(missing_ok=True)
    except OSError as exc:
        raise ConfigError(f"{exc.filename} cannot be removed: {exc.strerror}.") from exc
    return Goodbye(tuple(found), complaint)


async def _log_out_of_web(environ: Mapping[str, str], path: Path) -> None:
    endpoint = read_profile(path).get("endpoint", "")
    async with Client(_config(environ, {"endpoint": endpoint, "endpoint_type": "session"})) as web:
        await web.logout()


# -- asking -----------------------------------------------------------------------------------


def _ask(question: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{question.partition(' (')[0]} is missing, and there is nobody to ask.",
            hint="Give it as an option; `backendai-kernel login -h` lists them.",
        )
    return _given(question, input(f"{question}: "))


def _ask_hidden(question: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{question} is missing, and there is nobody to ask.",
            hint="Send it as the first line of standard input, with --secret-from-stdin.",
        )
    return _given(question, getpass.getpass(f"{question} (not shown): "))


def _read_piped() -> str:
    return _given("The first line of standard input", sys.stdin.readline())


def _given(question: str, text: str) -> str:
    if not text.strip():
        raise ConfigError(f"{question.partition(' (')[0]} is empty.")
    return text.strip()
