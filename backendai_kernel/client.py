"""The only HTTP client: sends calls and reads the answers; what goes wrong becomes our errors.

It lives on the portal's loop. aiohttp is imported when a client is opened and not before: that
import takes longer than a kernel may take to answer its first ``kernel_info``.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from . import answers, outgoing
from .clock import Clock
from .config import Config, write_private
from .errors import (
    APIError,
    BackendError,
    ConfigError,
    ConnectError,
    NotFound,
    ProtocolError,
    RateLimited,
    ServerError,
    clipped,
)
from .events import SessionEvent, read_events
from .model import ServerVersion
from .outgoing import BUFFER, COOKIE, Body, Credentials, Handshake, body_of
from .protocol import calls
from .protocol.calls import Call
from .ratelimit import RateLimit

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

T = TypeVar("T")

API_VERSION = (9, "20250722")
"""The newest API version that we speak; an older server's own is used with it (2.9)."""

_ATTEMPTS = 5
_FIRST_PAUSE = 0.2  # seconds; doubled each time, with jitter
_PASSING = (500, 502, 503, 504)
_KEEPALIVE = 30.0
_LONGEST_VERSION = 40  # characters


class Client:
    """Sends calls to one endpoint, as one user. Use it as a context manager.

    Attributes:
        server: What the server said of itself; ``None`` until the first request.
        rate: What is left of the rate limit.
        clock: How far the server's clock is from ours. A request that is refused for its time is
            signed with the server's and sent once more.
    """

    def __init__(
        self,
        config: Config,
        *,
        state: Path | None = None,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            config: Where and as whom.
            state: Folder to share a refusal with other processes; ``None``: not shared.
            on_wait: Told the seconds whenever the rate limit makes a request wait.
        """
        self.config = config
        self.server: ServerVersion | None = None
        self.clock = Clock()
        self.requests = 0
        self.rate = RateLimit(state / "rate" / config.identity if state else None)
        self._on_wait = on_wait
        self._http: aiohttp.ClientSession | None = None
        self._negotiating = asyncio.Lock()
        self._version = ""
        self._tls: Any = None
        self._own_key = ""
        self._credentials = Credentials(config, self.clock)

    async def __aenter__(self) -> Client:
        import aiohttp

        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self.config.verify_tls, limit=32, keepalive_timeout=_KEEPALIVE
            ),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=self.config.connect_timeout or None,
                sock_read=self.config.read_timeout or None,
            ),
            headers={"User-Agent": "Backend.AI for Jupyter"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            read_bufsize=BUFFER,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def send(self, call: Call[T]) -> T:
        """Send a call and return its answer.

        A read is sent again when its answer is lost or the server is busy, with growing pauses. A
        call that was refused for the rate limit did nothing, so any call waits and is sent again.

        Cancelling closes the connection; whether the server acted is then unknown.

        Raises:
            ConnectError: No answer; ``sent`` tells whether the server may have acted.
            APIError: Refused; see its subclasses.
            ProtocolError: The answer is not what the API describes.
        """
        if call.signed and not self._version:
            await self._negotiate()

        def may_repeat(exc: ConnectError | ServerError) -> bool:
            if isinstance(exc, ConnectError):
                return call.is_read or not exc.sent
            return call.is_read and exc.status in _PASSING

        return await self.insist(lambda: self._once(call), may_repeat)

    async def insist(
        self,
        act: Callable[[], Awaitable[T]],
        may_repeat: Callable[[ConnectError | ServerError], bool],
    ) -> T:
        """Do something that may fail for a moment: again after growing pauses, five times in all.

        Args:
            may_repeat: Tells whether a failure may pass, and doing it again does no harm.
        """
        attempt = 0
        while True:
            await self._wait_for_rate()
            try:
                answer = await act()
            except RateLimited as exc:
                self._told_to_wait(self.rate.refused(exc.retry_after))
            except (ConnectError, ServerError) as exc:
                attempt += 1
                if attempt >= _ATTEMPTS or not may_repeat(exc):
                    raise
                pause = _FIRST_PAUSE * 2 ** (attempt - 1)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            else:
                self.rate.accepted()
                return answer

    async def _wait_for_rate(self) -> None:
        # Other processes move the moment through a file, so there is no event to wait for.
        while (pause := self.rate.blocked_for()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(pause)

    def _told_to_wait(self, pause: float) -> None:
        if self._on_wait is not None:
            self._on_wait(pause)

    # -- the wire -----------------------------------------------------------------------------

    async def _once(self, call: Call[T]) -> T:
        async with self._request(call, body_of(call)) as response:
            if response.status == 204 or call.answer is type(None):
                await answers.beginning(response)
                return None  # type: ignore[return-value]  # T is None by the call's own type
            return answers.read(await answers.whole(response, call.what), call)

    @asynccontextmanager
    async def _request(
        self, call: Call[Any], body: Body | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send once; yield an answer below 300, raise for the others.

        What is refused for its time alone is sent a second time, with the server's.
        """
        import aiohttp
        from yarl import URL

        if self._http is None:
            raise RuntimeError("the client is not open: use it as a context manager")
        prefix = self._credentials.prefix(call)
        url = URL(self.config.endpoint + prefix + call.path, encoded=True)
        try:
            for is_last in (False, True):
                signed = self.clock.correction
                self.requests += 1
                async with self._http.request(
                    call.method,
                    url,
                    data=None if body is None else body.payload,
                    headers=self._headers(call, url, body),
                    allow_redirects=False,
                    skip_auto_headers=("Content-Type",),
                ) as response:
                    self.rate.observe(response.headers)
                    self.clock.observe(response.headers)
                    if response.status < 300:
                        yield response
                        return
                    refused = await self._refusal(response, call.what)
                    if is_last or not self.clock.corrects(refused, signed):
                        raise self.clock.explain(refused)
        except BackendError:
            raise
        except aiohttp.ClientConnectorError as exc:
            raise answers.unreachable(self.config, exc) from exc
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            text = " ".join(clipped(str(exc), 300).split()) or type(exc).__name__
            raise ConnectError(
                f"The answer of {self.config.endpoint} was lost ({text}).",
                hint="Check the network, then try again.",
                sent=True,
            ) from exc

    def _headers(self, call: Call[Any], url: URL, body: Body | None) -> dict[str, str]:
        version = self._version or _version_text(API_VERSION)
        return self._credentials.headers(call, url, body, version)

    async def _refusal(self, response: aiohttp.ClientResponse, what: str) -> BackendError:
        said = await answers.beginning(response)
        return answers.refusal(
            self.config, response.status, response.reason, response.headers, said, what
        )

    @asynccontextmanager
    async def events(
        self, session_id: str, name: str, *, owner: str | None = None
    ) -> AsyncIterator[AsyncIterator[SessionEvent]]:
        """Follow what happens to a session; nothing from before is told again.

        With ``""`` and ``*`` it is what happens to all own sessions.

        Raises:
            ConnectError, APIError: As `send`; the stream may also just end.
        """
        if not self._version:
            await self._negotiate()
        call = calls.follow_events(session_id, name, owner=owner)
        async with self._request(call, None) as response:
            yield read_events(response.content)

    async def fetch(self, call: Call[None]) -> tuple[str, bytes]:
        """Send a call whose answer is no JSON; return its content type and its bytes.

        Raises:
            ConnectError, APIError: As `send`. An internal error is not tried again: newer servers
                answer so for a file that is not there, or is too large (recordings 30, 31).
        """
        if not self._version:
            await self._negotiate()

        async def once() -> tuple[str, bytes]:
            async with self._request(call, body_of(call)) as response:
                kind = response.headers.get("Content-Type", "")
                return kind, await answers.whole(response, call.what)

        return await self.insist(
            once, lambda exc: isinstance(exc, ConnectError) or exc.status in _PASSING[1:]
        )

    async def look(self, address: str) -> dict[str, Any] | None:
        """Return the JSON object at an address that the server has named, such as its app proxy's.

        Nothing of ours is sent there, no credentials either. ``None``: there is no such object.

        Raises:
            ConnectError: No answer.
        """
        import aiohttp

        assert self._http is not None
        headers = {"Accept": "application/json"}
        try:
            async with self._http.get(address, headers=headers, allow_redirects=False) as response:
                said = await answers.beginning(response)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            raise ConnectError(
                f"Nothing answers at {address.partition('?')[0]} ({type(exc).__name__}).",
                hint="The server has named this address; is it to be reached from this computer?",
            ) from exc
        try:
            found = json.loads(said) if response.status == 200 else None
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @asynccontextmanager
    async def at(
        self, method: str, ticket: calls.Ticket, headers: Mapping[str, str], data: Any, what: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send once to the place that a ticket names; yield an answer below 300.

        The ticket is all that opens it: no credentials of ours go there. It is never told.

        Raises:
            ConnectError: No answer, or it was lost; also while its content is read.
            APIError: Refused.
        """
        import aiohttp
        from yarl import URL

        assert self._http is not None
        try:
            url = URL(ticket.url).update_query(token=ticket.token)
        except (ValueError, TypeError):
            raise ProtocolError(f"{what}: the server names no address of its storage.") from None
        try:
            async with self._http.request(
                method, url, headers=headers, data=data, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    raise await self._refusal(response, what)
                yield response
        except BackendError:
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            kind, text = type(exc).__name__, " ".join(clipped(str(exc), 300).split())
            text = kind if "token" in str(exc) else text or kind
            raise ConnectError(
                f"{what}: the connection to the storage at {url.host} was lost ({text}).",
                hint="Is its address one that this computer can reach? Then try again.",
                sent=not isinstance(exc, aiohttp.ClientConnectorError),
            ) from exc

    async def handshake(self, call: Call[None]) -> Handshake:
        """Return what opens a websocket for *call*, signed now; nothing but the version is asked for.

        Raises:
            As `send`.
        """
        from yarl import URL

        if not self._version:
            await self._negotiate()
        url = URL(self.config.endpoint + self._credentials.prefix(call) + call.path, encoded=True)
        assert url.host is not None and url.port is not None
        host_header = outgoing.host_header(url)
        headers = self._headers(call, url, None)
        return Handshake(
            url.host, url.port, url.scheme == "https", url.raw_path_qs, host_header, headers
        )

    def tls(self) -> Any:
        """Return the TLS context of a connection; made once, because it takes tens of milliseconds."""
        if self._tls is None:
            import ssl

            self._tls = ssl.create_default_context()
            if not self.config.verify_tls:
                self._tls.check_hostname = False
                self._tls.verify_mode = ssl.CERT_NONE
        return self._tls

    # -- version ------------------------------------------------------------------------------

    async def _negotiate(self) -> None:
        async with self._negotiating:
            if not self._version:
                try:
                    self.server = await self.send(calls.get_version())
                except NotFound as exc:
                    raise self._no_manager() from exc
                self._version = _version_text(min(API_VERSION, _version(self.server.version)))

    def _no_manager(self) -> ProtocolError:
        web = self.config.endpoint_type == "session"
        kind, other = ("web server", "api") if web else ("manager", "session")
        return ProtocolError(
            f"What answers at {self.config.endpoint} is no {kind} of Backend.AI.",
            hint=f"Check BACKEND_ENDPOINT; or is it one for BACKEND_ENDPOINT_TYPE={other}?",
        )

    async def version(self) -> ServerVersion:
        """Return what the server says of itself, asking it the first time.

        Raises:
            As `send`.
        """
        await self._negotiate()
        assert self.server is not None
        return self.server

    async def access_key(self) -> str:
        """Return the access key that requests are sent with, asking for it after a web login.

        Raises:
            As `send`.
        """
        if self.config.endpoint_type != "session":
            return self.config.access_key
        if not self._own_key:
            self._own_key = (await self.send(calls.get_keypair())).access_key
        return self._own_key

    # -- login --------------------------------------------------------------------------------

    async def login(self, username: str, password: str, otp: str | None = None) -> None:
        """Log in to a web server and keep its cookie, in a file that only the user can read.

        Raises:
            Unauthorized: The password is wrong, or a one-time password is wanted: see `wants_otp`.
            ConfigError: The cookie cannot be kept.
            ConnectError, APIError, ProtocolError: As `send`.
        """
        call = calls.login(username, password, otp)
        assert call.body is not None
        try:
            async with self._request(call, body_of(call)) as response:
                answer = answers.read(await answers.whole(response, call.what), call)
                cookie = response.cookies.get(COOKIE)
        except APIError as exc:  # newer web servers hand on the manager's own refusal (2.11)
            if exc.status not in (400, 401, 403):
                raise
            raise answers.login_refused(exc.slug, exc.msg or exc.title) from exc
        if not answer.authenticated or cookie is None:
            data = answer.data or {}
            slug = str(data.get("type", "")).rsplit("/", 1)[-1]
            raise answers.login_refused(slug, str(data.get("details") or data.get("title") or ""))
        if self.config.cookie_file is None:
            raise ConfigError("There is no place to keep the login in.")
        kept = {"endpoint": self.config.endpoint, "cookie": cookie.value}
        write_private(self.config.cookie_file, json.dumps(kept).encode())

    async def logout(self) -> None:
        """End the login on the server and forget its cookie.

        The cookie is forgotten even when the server cannot be reached.

        Raises:
            ConnectError, APIError, ProtocolError: As `send`.
        """
        try:
            await self.send(calls.logout())
        finally:
            if self.config.cookie_file is not None:
                self.config.cookie_file.unlink(missing_ok=True)


def _version(text: str) -> tuple[int, str]:
    major, dot, date = text.removeprefix("v").partition(".")
    is_version = text.startswith("v") and dot and text.isascii() and len(text) < _LONGEST_VERSION
    if not (is_version and major.isdigit() and date.isdigit()):
        raise ProtocolError(
            f"The endpoint gives its API version as {clipped(text)!r}, so it is no Backend.AI manager.",
            hint="Check BACKEND_ENDPOINT.",
        )
    return int(major), date


def _version_text(version: tuple[int, str]) -> str:
    return f"v{version[0]}.{version[1]}"
