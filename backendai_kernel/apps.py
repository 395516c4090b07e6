"""The apps of a session: which there are, and what it takes to open one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

from .client import Client
from .errors import APIError, BackendError, ConfigError, NotFound, ProtocolError, ServerError
from .model import ServicePort, Session
from .protocol import calls

Arguments = Mapping[str, str | Sequence[str] | None]
"""Option → value, several values, or ``None`` for an option without."""


@dataclass(frozen=True, slots=True)
class App:
    """An app, and with what it is started if it does not run yet."""

    port: ServicePort
    arguments: Arguments = field(default_factory=dict)
    envs: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a secret

    def open(self, session_id: str) -> calls.Call[None]:
        return calls.open_app(session_id, self.port.name, arguments=self.arguments, envs=self.envs)


def read_arguments(words: Sequence[str]) -> Arguments:
    """Return option → value of ``--option=value`` or ``--option value``; repeated ones as a list.

    Raises:
        ConfigError: A word is no option.
    """
    read: dict[str, str | list[str] | None] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if " " in name:
            name, equals, value = word.partition(" ")
        if not name.startswith("-"):
            raise ConfigError(
                f"{word!r} is no argument of an app.", hint="Write it as --arg=--option=value."
            )
        given = value.strip() if equals else None
        before = read.get(name)
        if given is None or name not in read or before is None:
            read[name] = given
        else:
            read[name] = [*([before] if isinstance(before, str) else before), given]
    return read


def read_envs(words: Sequence[str]) -> dict[str, str]:
    """Return the variables of ``NAME=VALUE``; a value may have ``=`` in it.

    Raises:
        ConfigError: There is no name, or no ``=``.
    """
    read = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(
                f"{name!r} is no environment variable.", hint="Write it as -e NAME=value."
            )
        read[name] = value
    return read


async def list_apps(client: Client, session: Session) -> tuple[ServicePort, ...]:
    """Return the apps that a running session offers.

    Raises:
        ConfigError: It does not run.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    if not session.status.is_running:
        raise ConfigError(
            f"The session {session.name} does not run: it is {session.status_name.lower()}.",
            hint="An app can be opened once its session runs.",
        )
    return await client.send(calls.list_apps(session.id))


async def find_app(client: Client, session: Session, name: str) -> ServicePort:
    """Return the app of that name.

    Raises:
        NotFound: The session has none; the hint lists what it has.
        ConfigError, ConnectError, APIError, ProtocolError: As `list_apps`.
    """
    apps = await list_apps(client, session)
    for app in apps:
        if app.name == name:
            return app
    there = ", ".join(f"{app.name} ({app.protocol})" for app in apps)
    close = difflib.get_close_matches(name, [app.name for app in apps], n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    raise NotFound(
        f"The session {session.name} has no app {name!r}.",
        status=404,
        hint=hint + (f"It has {there}." if apps else "It has none."),
    )


def explained(error: BackendError, app: App) -> BackendError:
    """Return the error with the server's reason why an app does not start, where it gives one.

    Source: API reference 5.3; the reason is in the problem's ``data``.
    """
    if not isinstance(error, ServerError) or not isinstance(error.data, str):
        return error
    allowed = ", ".join(app.port.allowed_arguments or ())
    return ServerError(
        f"The app {app.port.name} did not start: {error.data.strip().rstrip('.')}.",
        status=error.status,
        hint="It may need longer: try again in a moment."
        + (f" It may be started with {allowed}." if app.arguments and allowed else ""),
        data=error.data,
    )


REFUSALS = (400, 403, 404, 405, 426, 501, 502)
"""What is answered where websockets do not pass: by the server, or by a proxy before it."""


def is_closed_way(error: BackendError) -> bool:
    """Tell whether it is the way of websockets that is refused, and not the app."""
    if isinstance(error, ProtocolError):
        return True  # what answers in the place of a websocket is a proxy that knows none
    return isinstance(error, APIError) and error.status in REFUSALS and error.slug in _NO_REASONS


def _is_link(text: str) -> bool:
    is_plain = text.isascii() and text.isprintable() and " " not in text
    return is_plain and urlsplit(text).scheme in ("http", "https")


_NO_REASONS = ("", "url-not-found", "generic-forbidden", "not-implemented", "method-not-allowed")


async def proxied_link(client: Client, session: Session, app: App) -> str:
    """Return a link to an app through the cluster's own app proxy, for a browser.

    The link holds a token and is good for once, so one is made for each use.

    Raises:
        ServerError: The cluster has no app proxy.
        ConnectError, APIError, ProtocolError: As `Client.send`; the app proxy's answers, too.

    Source: API reference 6.4; the app proxy's ``/v2/proxy/auth``, and the older ``add``.
    """
    start = calls.start_service(session.id, app.port.name, arguments=app.arguments, envs=app.envs)
    proxy = await client.send(start)
    base = proxy.wsproxy_addr.rstrip("/")
    query = urlencode({"app": app.port.name, "protocol": app.port.protocol})
    ways = (
        (
            f"{base}/v2/proxy/auth?{query}&token={quote(proxy.token, safe='')}"
            f"&session_id={session.id}",
            "redirect_url",
        ),
        (f"{base}/v2/proxy/{quote(proxy.token, safe='')}/{session.id}/add?{query}", "url"),
    )
    for address, key in ways:
        told = await client.look(address)
        link = told.get(key) if told is not None else None
        if isinstance(link, str) and _is_link(link):
            return link
    raise ProtocolError(
        f"The cluster's app proxy at {base} gives no link to the app {app.port.name!r}.",
        hint="Tell the cluster's administrator.",
    )
