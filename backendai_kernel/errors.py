"""Everything this package raises on purpose: one sentence, and what to do next.

```text
BackendError    ConfigError     nothing was sent
                ConnectError    sent, no answer
                APIError        refused: Unauthorized NotFound Conflict QuotaExceeded RateLimited ServerError
                ProtocolError   answered in a form we cannot read
                RunLost         the session went away under the code
                SessionFailed   a session was asked for and did not come up
                RunFailed       code ran to its end, and failed
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class BackendError(Exception):
    """What happened, and what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def message(self) -> str:
        """The sentence, without the hint."""
        return str(self.args[0])

    def __str__(self) -> str:
        return "\n".join(filter(None, [self.message, self.hint]))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(BackendError):
    """A setting is missing or makes no sense; nothing was sent."""


class ConnectError(BackendError):
    """The endpoint could not be reached, or the answer never came.

    ``sent`` tells whether the request may have reached the server.
    """

    def __init__(self, message: str, *, hint: str = "", sent: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.sent = sent


class ProtocolError(BackendError):
    """The server answered in a form that we cannot read."""


class RunLost(BackendError):
    """The session, or the interpreter in it, went away under the code.

    ``post_mortem`` is what was found out about it (`postmortem.PostMortem`), or ``None``.
    """

    def __init__(self, message: str, *, hint: str = "", post_mortem: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.post_mortem = post_mortem


class SessionFailed(BackendError):
    """A session was asked for and did not come up."""


class RunFailed(BackendError):
    """Code that was to be run in a session has failed.

    Attributes:
        exit_code: ``None`` where the server told none.
        traceback: The code's own traceback, in lines; shown in place of ours.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        exit_code: int | None = None,
        traceback: Sequence[str] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
        self.traceback = list(traceback)

    def _render_traceback_(self) -> list[str]:
        return [*self.traceback, *super()._render_traceback_()]


class APIError(BackendError):
    """The server refused a request.

    Attributes:
        status: HTTP status.
        slug: Last part of the problem's ``type`` URL, such as ``quota-exceeded``.
        title: The server's own title.
        msg: The server's own detail, ``""`` when it gave none.
        data: The problem's ``data``, any JSON.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        hint: str = "",
        slug: str = "",
        title: str = "",
        msg: str = "",
        data: Any = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.slug = slug
        self.title = title
        self.msg = msg
        self.data = data


class Unauthorized(APIError):
    """The keypair is unknown or its secret is wrong, or it may not do this."""


class NotFound(APIError):
    """There is no such session, image, folder or path."""


class Conflict(APIError):
    """The name is taken, or it means several sessions."""


class QuotaExceeded(APIError):
    """The resource policy forbids it."""


class RateLimited(APIError):
    """Too many requests; ``retry_after`` is in seconds, ``None`` when the server did not say."""

    retry_after: float | None = None


class ServerError(APIError):
    """The server failed; trying again later may help."""


_BY_SLUG: dict[str, type[APIError]] = {
    "quota-exceeded": QuotaExceeded,
    "too-many-sessions-matched": Conflict,
    "session-already-exists": Conflict,
    "vfolder-already-exists": Conflict,
    "rate-limit-exceeded": RateLimited,
}


def from_problem(status: int, problem: Mapping[str, Any], *, what: str = "The request") -> APIError:
    """Return the error that a ``application/problem+json`` answer means.

    Args:
        status: HTTP status, 400 or higher.
        problem: The decoded body; any key may be missing.
        what: What was tried, as the subject of a sentence.

    Source: API reference 3.1 and 3.2; recordings 60 to 68.
    """
    slug = clipped(problem.get("type", "")).rsplit("/", 1)[-1]
    title = clipped(problem.get("title") or f"HTTP {status}")
    details = problem.get("agent-details")
    told = problem.get("msg") or (details.get("title") if isinstance(details, dict) else details)
    msg = " ".join(clipped(told or "").split())
    kind = _BY_SLUG.get(slug) or (
        Unauthorized
        if status in (401, 403)
        else NotFound
        if status == 404
        else Conflict
        if status == 409
        else QuotaExceeded
        if status == 412
        else RateLimited
        if status == 429
        else ServerError
        if status >= 500
        else APIError
    )
    message, hint = _sentence(kind, slug, title, msg or _with_names(title, problem), what)
    return kind(
        message,
        status=status,
        hint=hint,
        slug=slug,
        title=title,
        msg=msg,
        data=problem.get("data"),
    )


def clipped(told: object, longest: int = 2000) -> str:
    """Return what a server said as text that fits into a sentence, whatever it is."""
    text = told if isinstance(told, str) else repr(told)
    return text if len(text) <= longest else f"{text[:longest]}…"


def _with_names(title: str, problem: Mapping[str, Any]) -> str:
    """Return the title with the names in ``data``, such as the folders that there are not."""
    names = problem.get("data")
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return clipped(f"{title.strip().rstrip('.')}: {', '.join(names)}")
    return title


def _sentence(kind: type[APIError], slug: str, title: str, msg: str, what: str) -> tuple[str, str]:
    doctor = "`backendai-kernel doctor` tells what is configured and from where."
    if slug == "auth-failed":
        return (
            f"The server does not accept this keypair ({msg}).",
            f"Check BACKEND_ACCESS_KEY and BACKEND_SECRET_KEY. {doctor}",
        )
    if slug == "invalid-auth-params" and "sync" in msg.lower():
        return (
            "The clocks of this computer and of the server differ by more than 15 minutes.",
            f"Set this computer's clock, then try again. {doctor}",
        )
    if kind is Unauthorized:
        return f"{what} is not allowed: {_dot(msg)}", "Ask the cluster's administrator."
    if kind is QuotaExceeded:
        return (
            f"The quota is used up: {_dot(msg)}",
            "End a session that you no longer need, or ask for less.",
        )
    if kind is RateLimited:
        return (
            "Too many requests were sent with this keypair in the last 15 minutes.",
            "Wait a moment, then try again.",
        )
    if slug == "not-implemented":
        return f"{what} is not possible on this server: {_dot(msg)}", ""
    if kind is ServerError:
        return (
            f"{what} failed on the server: {_dot(msg)}",
            "Try again in a moment; if it goes on, tell the cluster's administrator.",
        )
    hint = next((hint for words, hint in _NEXT_STEPS.items() if words in msg.lower()), "")
    return f"{what} was refused: {_dot(msg)}", hint


_NEXT_STEPS = {  # words in the server's own detail → what to do
    "invalid group": "Set BACKEND_GROUP to a project that you belong to.",
    "inactive domain": "Set BACKEND_DOMAIN to your own domain.",
    "image minimum": "Ask for at least that with -r, in `%bai run` or in `backendai-kernel install`.",
    "no such virtual folder": "`%bai vfolder list` lists yours; name them in `-m` or "
    "BACKEND_VFOLDER_MOUNTS.",
    "resource group": "`%bai resources` lists the scaling groups that you may use.",
    "project not found": "Name a project that you belong to.",
    "requested not to reuse": "Choose another name, or leave out `--no-reuse`.",
}


def _dot(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
