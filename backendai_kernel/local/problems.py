"""Refusals: what is raised in the manager and becomes a ``application/problem+json`` answer.

Source: API reference 3.1 and 3.2; recordings 60 to 68 and 80.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from .release import Release

_TYPES = "https://api.backend.ai/probs/"


class Problem(Exception):
    """A request is refused; the attributes are the answer's own keys."""

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        code: str,
        msg: str | None = None,
        *,
        data: Any = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(msg or title)
        self.status = status
        self.slug = slug
        self.title = title
        self.code = code
        self.msg = msg
        self.data = data
        self.details = details

    def body(self, release: Release) -> dict[str, Any]:
        """Return the answer's keys in the order in which the server has them."""
        body: dict[str, Any] = {"type": _TYPES + self.slug, "title": self.title}
        if release.error_codes:
            body["error_code"] = self.code
        if self.msg is not None:
            body["msg"] = self.msg
        if self.data is not None:
            body["data"] = self.data
        if self.details is not None:
            body["agent-details"] = self.details
        return body

    def response(self, release: Release) -> web.Response:
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(self.body(release)),
            content_type="application/problem+json",
            charset="utf-8",
        )


def auth_failed(msg: str) -> Problem:
    return Problem(
        401, "auth-failed", "Credential/signature mismatch.", "user_auth_unauthorized", msg
    )


def invalid_auth(msg: str) -> Problem:
    return Problem(
        400,
        "invalid-auth-params",
        "Missing or invalid authorization parameters.",
        "user_auth_invalid-parameters",
        msg,
    )


def rate_limited() -> Problem:
    return Problem(
        429,
        "rate-limit-exceeded",
        "You have reached your API query rate limit.",
        "api_access_rate-limited",
    )


def forbidden(msg: str) -> Problem:
    return Problem(403, "generic-forbidden", "Forbidden operation.", "api_generic_forbidden", msg)


def no_such_project(name: str, release: Release) -> Problem:
    """A project that is not the user's, as ``check-presets`` tells it (seen with 26.4.16)."""
    if not release.error_codes:
        return invalid_params("Unknown project")
    msg = f"Project not found (name: {name})"
    return Problem(404, "project-not-found", "Project not found.", "group_read_not-found", msg)


def no_such_scaling_group(name: str, release: Release) -> Problem:
    """A scaling group of no project, as ``check-presets`` tells it (seen with 26.4.16)."""
    if not release.error_codes:
        return invalid_params("Unknown scaling group")
    msg = f"Scaling group not found or not allowed (name: {name})"
    return not_found("No such scaling group.", "scaling-group_read_not-found", msg)


def no_such_session(ref: str | None) -> Problem:
    msg = None if ref is None else f"Session (id={ref}) does not exist."
    return Problem(404, "object-not-found", "No such session.", "session_read_not-found", msg)


def no_such_session_of_user(name: str) -> Problem:
    """The same in the words of ``start-service`` (recording 61)."""
    problem = no_such_session(name)
    problem.msg = f"Session (name={name}) does not exist for the user."
    return problem


def no_such_image(reference: str, architecture: str) -> Problem:
    msg = (
        f"Unknown image references: identifier:ImageIdentifier(canonical={reference!r}, "
        f"architecture={architecture!r}), alias:{reference!r}"
    )
    return Problem(
        404, "object-not-found", "No such environment image.", "image_read_not-found", msg
    )


def too_many_sessions(matches: list[dict[str, Any]]) -> Problem:
    return Problem(
        404,
        "too-many-sessions-matched",
        "Too many sessions matched.",
        "session_read_conflict",
        data={"matches": matches},
    )


def name_taken(name: str) -> Problem:
    """A session cannot be renamed to a live one's name (seen on a server of 26.4.16)."""
    problem = session_exists("")
    problem.msg, problem.data = f"Session with name {name!r} already exists", None
    return problem


def session_exists(session_id: str) -> Problem:
    return Problem(
        400,
        "session-already-exists",
        "The session already exists but you requested not to reuse existing one.",
        "session_create_already-exists",
        data={"existingSessionId": session_id},
    )


def invalid_params(msg: str) -> Problem:
    return Problem(
        400,
        "invalid-api-params",
        "Missing or invalid API parameters.",
        "api_generic_invalid-parameters",
        msg,
    )


def unreadable_field(msg: str) -> Problem:
    """A field of the body has the wrong type."""
    return Problem(
        400,
        "generic-bad-request",
        "Invalid or Missing API Parameters.",
        "api_parsing_invalid-parameters",
        msg,
    )


def bad_request() -> Problem:
    """What no other problem fits, such as a body that is too large."""
    return Problem(400, "generic-bad-request", "Bad request.", "backendai_generic_bad-request")


def malformed_body(url: str, method: str) -> Problem:
    return Problem(
        400,
        "generic-bad-request",
        "Malformed request body.",
        "api_parsing_bad-request",
        f"Malformed body - URL: {url}, Method: {method}",
    )


def unknown_slot(name: str) -> Problem:
    return Problem(
        400,
        "unknown-resource-slot-type",
        "Unknown resource slot type.",
        "backendai_parsing_not-found",
        f"Unknown slot type: {name!r}",
    )


def negative_slot(name: str, amount: str) -> Problem:
    return Problem(
        400,
        "invalid-resource-slot-quantity",
        "Invalid resource slot quantity.",
        "backendai_parsing_invalid-parameters",
        f"Resource slot {name!r} cannot be negative: {amount}",
    )


def quota_exceeded(status: int, msg: str) -> Problem:
    return Problem(
        status,
        "quota-exceeded",
        "You have reached your resource limit.",
        "session_create_unavailable",
        msg,
    )


def invalid_session_data(msg: str) -> Problem:
    return Problem(
        500,
        "invalid-session-data",
        "Session data has an invalid type or format.",
        "session_read_invalid-data-format",
        msg,
    )


def no_agent(session_id: str) -> Problem:
    """The session waits in the queue, so nothing can be done in it (seen on a server of 26.4.16)."""
    return Problem(
        500,
        "agent-not-allocated",
        "Agent ID has not been allocated for the session.",
        "agent_access_internal-error",
        f"Session {session_id} main kernel has no agent allocated",
    )


def internal_error() -> Problem:
    return Problem(
        500, "internal-server-error", "Internal server error.", "backendai_generic_internal-error"
    )


def agent_failed(release: Release, reason: str, *, what: str = "execution") -> Problem:
    """What a failure of the session's own side looks like: older servers tell the reason."""
    if not release.agent_details:
        return internal_error()
    return Problem(
        500,
        f"kernel-{what}-failed",
        f"Kernel {what} has failed.",
        "kernel_generic_failed",
        details={
            "type": _TYPES + "agent-failure",
            "title": "Agent-side exception occurred.",
            "exception": reason,
        },
    )


def not_implemented(msg: str) -> Problem:
    return Problem(
        501, "not-implemented", "This API is not implemented.", "api_generic_not-implemented", msg
    )


def unavailable(msg: str) -> Problem:
    # The server's own spelling of the title.
    return Problem(
        503, "service-unavailable", "Serivce unavailable.", "backendai_generic_unavailable", msg
    )


def deprecated(msg: str) -> Problem:
    return Problem(400, "deprecated", "This API is deprecated.", "api_generic_deprecated", msg)


def url_not_found(path: str) -> Problem:
    return Problem(404, "url-not-found", "Unknown URL path.", "api_read_not-found", data=path)


def method_not_allowed() -> Problem:
    return Problem(
        405,
        "method-not-allowed",
        "HTTP Method Not Allowed.",
        "api_access_forbidden",
    )


def not_found(title: str, code: str, msg: str | None = None, *, data: Any = None) -> Problem:
    return Problem(404, "object-not-found", title, code, msg, data=data)


def no_such_app(msg: str) -> Problem:
    """No app of that name, told as ``session:app`` (recording 44)."""
    return not_found("No such app service.", "backendai_read_not-found", msg)


def app_failed(reason: str) -> Problem:
    """The app could not be started (API reference 5.3)."""
    return Problem(
        500,
        "internal-server-error",
        "Internal server error.",
        "backendai_generic_internal-error",
        msg="Failed to launch the app service",
        data=reason,
    )
