"""The nouns, immutable: sessions, images, service ports, one answer of a run.

Every struct takes what servers from 23.09 to 26.9 send: unknown keys are ignored, missing ones
have a default, and a status word that we do not know is kept as text in `Session.status_name`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from .errors import ProtocolError, clipped
from .slots import parse_slots

_NAME = re.compile(r"\w[\w.-]{2,62}\w", re.ASCII)


def session_name(text: str) -> str:
    """Return *text* as a name that servers take: 4 to 64 of ``A-Z a-z 0-9 _ . -`` (4.1)."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip(".-")[:64].rstrip(".-")
    return name if _NAME.fullmatch(name) else f"session-{name}".rstrip(".-")


class SessionStatus(enum.StrEnum):
    """Where a session is in its life; a newer server's word becomes `UNKNOWN`.

    Source: API reference 4.11.
    """

    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    PREPARING = "PREPARING"
    PULLING = "PULLING"
    PREPARED = "PREPARED"
    CREATING = "CREATING"
    RUNNING = "RUNNING"
    RUNNING_DEGRADED = "RUNNING_DEGRADED"
    RESTARTING = "RESTARTING"
    RESIZING = "RESIZING"
    SUSPENDED = "SUSPENDED"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"  # only in the answer to a creation: still queued
    UNKNOWN = "UNKNOWN"

    @classmethod
    def _missing_(cls, value: object) -> SessionStatus:
        return cls.UNKNOWN

    @property
    def is_running(self) -> bool:
        """Code can be executed."""
        return self in (SessionStatus.RUNNING, SessionStatus.RUNNING_DEGRADED)

    @property
    def is_over(self) -> bool:
        """It will never run again."""
        return self in (SessionStatus.TERMINATED, SessionStatus.CANCELLED, SessionStatus.ERROR)

    @property
    def is_ending(self) -> bool:
        """It is over, or about to be."""
        return self.is_over or self is SessionStatus.TERMINATING


class ServicePort(msgspec.Struct, frozen=True):
    """An app that a session offers.

    Attributes:
        url_template: Its address with ``{protocol}``, ``{host}`` and ``{port}``, where its image
            has one; may lead to a page that is not the first.
        allowed_arguments, allowed_envs: What it may be started with; others are refused.

    Source: API reference 5.4 and 6.2.
    """

    name: str
    protocol: str = "tcp"
    ports: tuple[int, ...] = ()
    url_template: str | None = None
    allowed_arguments: tuple[str, ...] | None = None
    allowed_envs: tuple[str, ...] | None = None

    @property
    def is_web(self) -> bool:
        """A browser can open it; what listens on a port that was opened by number is not told."""
        return self.protocol in ("http", "preopen")

    def address(self, host: str, port: int) -> str:
        """Return where it is found through a port: a link for a browser, else ``tcp://``."""
        scheme = "http" if self.is_web else "tcp"
        plain = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        if not self.url_template or scheme != "http":
            return plain
        _, found, path = self.url_template.partition("{port}")
        return plain + path if found and path.startswith(("/", "?")) else plain


class AppProxy(msgspec.Struct, frozen=True, kw_only=True):
    """Where a cluster's app proxy is, and the word that opens an app there (API reference 6.4)."""

    token: str = ""
    wsproxy_addr: str = ""


class ServerVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What ``GET /`` tells: the API version and the manager's release."""

    version: str
    manager: str = ""


class Created(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to a creation.

    ``created`` is false when a live session of that name was taken instead.
    """

    session_id: str
    session_name: str = ""
    status_name: str = msgspec.field(default="RUNNING", name="status")
    created: bool = True

    @property
    def status(self) -> SessionStatus:
        return SessionStatus(self.status_name)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A compute session as the manager last described it (GraphQL ``compute_session_list``)."""

    id: str
    name: str = ""
    status_name: str = msgspec.field(default="", name="status")
    status_info: str | None = None
    status_data: str | None = None
    status_changed: datetime | None = None
    created_at: datetime | None = None
    terminated_at: datetime | None = None
    image: str | None = None
    type: str = ""
    access_key: str = ""
    group_name: str | None = None
    occupying_slots: str | None = None
    requested_slots: str | None = None
    result: str = ""
    tag: str | None = None

    @property
    def status(self) -> SessionStatus:
        """The status; `SessionStatus.UNKNOWN` for a word that only ``status_name`` keeps."""
        return SessionStatus(self.status_name)

    @property
    def slots(self) -> Mapping[str, Decimal]:
        """What it takes, or asks for while it waits: slot → amount; empty when nobody said."""
        return _slots(self.occupying_slots)

    @property
    def requested(self) -> Mapping[str, Decimal]:
        """What was asked for: slot → amount; empty when nobody said."""
        return _slots(self.requested_slots)


def _slots(text: str | None) -> Mapping[str, Decimal]:
    try:
        return parse_slots(msgspec.json.decode(text or "{}", type=dict[str, str | None]))
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise ProtocolError(
            f"The server tells a session's resources in a form that we do not know: {clipped(text)}"
        ) from exc


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """One container of a session; a plain session has one, of the role ``main``."""

    id: str
    cluster_role: str = ""
    cluster_idx: int = 0
    status: str = ""
    agent: str | None = None
    occupied_slots: str | None = None
    status_data: str | None = None


class SessionDetail(Session, frozen=True, kw_only=True):
    """A session with all that ``%bai info`` tells of it (GraphQL ``compute_session``).

    What is JSON at the server is JSON text here: ``service_ports`` and ``idle_checks``.
    """

    domain_name: str | None = None
    user_email: str | None = None
    scaling_group: str | None = None
    cluster_size: int = 1
    cluster_mode: str | None = None
    startup_command: str | None = None
    service_ports: str | None = None
    mounts: tuple[str, ...] | None = ()
    idle_checks: str | None = None
    resource_opts: str | None = None
    containers: tuple[Container, ...] | None = ()

    @property
    def apps(self) -> tuple[str, ...]:
        """Names of the apps that it offers."""
        try:
            told = msgspec.json.decode(self.service_ports or "[]")
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise ProtocolError(
                "The server tells a session's apps in a form that we do not know: "
                f"{clipped(self.service_ports)}"
            ) from exc
        ports = told if isinstance(told, list) else ()
        return tuple(clipped(p["name"]) for p in ports if isinstance(p, dict) and "name" in p)


class KeyValue(msgspec.Struct, frozen=True):
    """A label of an image."""

    key: str
    value: str | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that sessions can be made from (GraphQL ``images``)."""

    name: str = ""
    registry: str = ""
    tag: str | None = ""
    architecture: str = ""
    aliases: tuple[str, ...] = ()
    labels: tuple[KeyValue, ...] = ()
    size_bytes: int | None = None

    def label(self, key: str) -> str:
        """Return the value of ``ai.backend.KEY``, ``""`` where there is none."""
        return next(
            (each.value or "" for each in self.labels if each.key == f"ai.backend.{key}"), ""
        )

    @property
    def reference(self) -> str:
        """The full reference, ``registry/name:tag``."""
        return f"{self.registry}/{self.name}:{self.tag}"


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """Whose keypair this is (GraphQL ``keypair``); the secret is not asked for."""

    user_id: str = ""
    access_key: str = ""
    is_active: bool = True
    is_admin: bool = False
    resource_policy: str | None = None


class RunStatus(enum.StrEnum):
    """What an answer of a run says; a word that we do not know becomes `UNKNOWN`.

    Source: API reference 4.8.2.
    """

    CONTINUED = "continued"
    WAITING_INPUT = "waiting-input"
    CLEAN_FINISHED = "clean-finished"
    BUILD_FINISHED = "build-finished"
    FINISHED = "finished"
    EXEC_TIMEOUT = "exec-timeout"
    UNKNOWN = ""

    @classmethod
    def _missing_(cls, value: object) -> RunStatus:
        return cls.UNKNOWN


class Listing(msgspec.Struct, frozen=True):
    """What is in a folder of a session: ``files`` is JSON as text, ``errors`` what went wrong.

    Source: API reference 4.10; recording 31.
    """

    files: str = ""
    errors: str = ""

    @property
    def is_empty(self) -> bool:
        """The folder could be read, and there is nothing in it."""
        return not self.errors.strip() and self.files.strip() == "[]"


class InputOptions(msgspec.Struct, frozen=True):
    """What a program that waits for input said about it."""

    is_password: bool = False


class RunAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One answer of a run: its status and the output since the answer before.

    ``console`` holds pairs of a kind (``stdout``, ``stderr``, ``media``, ``html``, ``log``) and a
    payload: text, or for media a pair of MIME type and data.
    """

    status_name: str = msgspec.field(name="status")
    run_id: str | None = None
    exit_code: int | None = None
    options: InputOptions | None = None
    console: tuple[tuple[str, Any], ...] | None = ()

    @property
    def status(self) -> RunStatus:
        return RunStatus(self.status_name)
