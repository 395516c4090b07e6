"""What a server told, as values that a notebook shows: sessions, images, resources, settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from .config import Config
from .errors import ConfigError
from .expiry import read_deadlines
from .listing import Listed, Query
from .model import Image, Session, SessionDetail
from .resources import Resources, SlotUse
from .slots import format_slots
from .tables import Column, Facts, Table, ago, amount_of

_MARKS = {
    "RUNNING": "●",
    "RUNNING_DEGRADED": "●",
    "TERMINATED": "○",
    "CANCELLED": "○",
    "ERROR": "✗",
    "TERMINATING": "◌",
}


def _slots(session: Session) -> str:
    return format_slots(session.slots)


def short_image(reference: str | None) -> str | None:
    """Return an image without its registry, which is the same for all."""
    if not reference:
        return reference
    first, slash, rest = reference.partition("/")
    return rest if slash and ("." in first or ":" in first or first == "localhost") else reference


COLUMNS: dict[str, Column[Session]] = {
    column.key: column
    for column in (
        Column[Session]("name", "Name", lambda s: s.name),
        Column[Session](
            "status",
            "Status",
            lambda s: s.status_name,
            lambda word: f"{_MARKS.get(word, '◐')} {word}",
            tip=lambda s: s.status_info or "",
        ),
        Column[Session]("image", "Image", lambda s: s.image, lambda text: short_image(text) or ""),
        Column[Session]("occupying_slots", "Resources", _slots),
        Column[Session]("status_changed", "Changed", lambda s: s.status_changed, ago),
        Column[Session](
            "session_id", "Id", lambda s: s.id, lambda text: text[:8], tip=lambda s: s.id
        ),
        Column[Session]("access_key", "Owner", lambda s: s.access_key),
        Column[Session]("project", "Project", lambda s: s.group_name),
        Column[Session]("type", "Type", lambda s: s.type),
        Column[Session]("status_info", "Reason", lambda s: s.status_info),
        Column[Session]("created_at", "Created", lambda s: s.created_at, ago),
        Column[Session]("terminated_at", "Ended", lambda s: s.terminated_at, ago),
        Column[Session]("result", "Result", lambda s: s.result),
        Column[Session]("tag", "Tag", lambda s: s.tag),
    )
}
"""What may be shown of a session in a list, by the names that ``--format`` takes."""

_DEFAULT = ("name", "status", "image", "occupying_slots", "status_changed", "session_id")
_DETAIL = ("project", "type", "status_info", "created_at", "tag", "result")
_ALIASES = {"id": "session_id", "group": "project", "group_name": "project", "slots": _DEFAULT[3]}


def pick_columns(words: str) -> tuple[str, ...]:
    """Return the keys in a comma-joined list of columns.

    Raises:
        ConfigError: A word is none of `COLUMNS`.
    """
    keys = tuple(_ALIASES.get(w, w) for w in (p.strip().lower() for p in words.split(",")) if w)
    for key in keys:
        if key not in COLUMNS:
            raise ConfigError(
                f"There is no column {key!r}.", hint=f"There is {', '.join(COLUMNS)}."
            )
    return keys


def session_table(
    listed: Listed,
    query: Query,
    *,
    own_key: str,
    keys: Sequence[str] = (),
    is_detailed: bool = False,
) -> Table[Session]:
    """Return a list of sessions as a table; ``df`` and ``to_dict`` have all columns.

    Args:
        own_key: Whose sessions need no owner beside them.
        keys: Columns to show, of `COLUMNS`.
    """
    shown = list(keys or _DEFAULT + (_DETAIL if is_detailed else ()))
    if not keys and any(session.access_key not in ("", own_key) for session in listed.items):
        shown.insert(1, "access_key")
    if is_detailed:  # there is room for whole ids
        whole = {"session_id": Column[Session]("session_id", "Id", lambda s: s.id)}
    else:
        whole = {}
    return Table(
        "Sessions",
        listed.items,
        tuple(whole.get(key, COLUMNS[key]) for key in shown),
        note=_more(listed, query),
        empty=f"No {_WORDS[query.which.value]}sessions." if not query.statuses else "No sessions.",
        total=listed.total,
        details=tuple(COLUMNS.values()),
    )


_WORDS = {"live": "live ", "running": "running ", "dead": "dead ", "all": ""}


def _more(listed: Listed, query: Query) -> str:
    seen = query.offset + len(listed.items)
    if not listed.items or seen >= listed.total:
        return ""
    begin = f"{query.offset + 1} to {seen}" if query.offset else f"The first {seen}"
    return f"{begin} of {listed.total}; --limit {listed.total} shows all of them."


def session_facts(session: SessionDetail) -> Facts:
    """Return all there is to say of one session."""
    rows = [
        ("Id", session.id),
        ("Status", COLUMNS["status"].show(session)),
        ("Reason", session.status_info or ""),
        ("Image", session.image or ""),
        ("Resources", _slots(session)),
        ("Owner", " ".join(filter(None, [session.user_email, f"({session.access_key})"]))),
        ("Project", f"{session.group_name or ''} of the domain {session.domain_name or ''}"),
        ("Scaling group", session.scaling_group or ""),
        ("Type", session.type.lower()),
        ("Tag", session.tag or ""),
        ("Command", session.startup_command or ""),
        ("Folders", ", ".join(session.mounts or ())),
        ("Apps", ", ".join(session.apps)),
        ("Created", _when(session.created_at)),
        ("Changed", _when(session.status_changed)),
        ("Ended", _when(session.terminated_at)),
        ("Result", session.result if session.result != "UNDEFINED" else ""),
        ("Idle", _idle(session.idle_checks)),
    ]
    for container in session.containers or ():
        if (session.cluster_size or 1) > 1:
            what = f"{container.cluster_role}{container.cluster_idx}"
            rows.append((f"Container {what}", f"{container.status} on {container.agent or '-'}"))
    data = msgspec.to_builtins(session) | {"slots": dict(session.slots)}
    return Facts(f"Session {session.name}", tuple((k, v) for k, v in rows if v), data=data)


def _when(when: Any) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC ({ago(when)})" if when is not None else ""


def _idle(text: str | None) -> str:
    """Return when which idle check ends the session, if one does."""
    return ", ".join(map(str, read_deadlines(text)))


# -- images and resources ---------------------------------------------------------------------


def image_table(images: Sequence[Image], pattern: str = "") -> Table[Image]:
    """Return the images whose reference or alias has *pattern* in it, small and capital alike.

    ``*`` and ``?`` in the pattern are wildcards for the whole of it.
    """
    from fnmatch import fnmatchcase

    def fits(word: str) -> bool:
        word, wanted = word.lower(), pattern.lower()
        return fnmatchcase(word, wanted) if set(wanted) & set("*?[") else wanted in word

    found = [i for i in images if any(map(fits, (i.reference, *i.aliases)))]
    found.sort(key=lambda image: image.reference)
    columns: tuple[Column[Image], ...] = (
        Column("reference", "Image", lambda i: i.reference),
        Column("aliases", "Short names", lambda i: list(i.aliases), ", ".join),
        Column("architecture", "For", lambda i: i.architecture),
        Column("size_bytes", "Size", lambda i: i.size_bytes, _size, is_amount=True),
        Column("features", "Does", lambda i: i.label("features").split(), _features),
        Column("min_cpu", "From cpu", lambda i: i.label("resource.min.cpu") or None),
        Column("min_mem", "From mem", lambda i: i.label("resource.min.mem") or None),
    )
    empty = f"No image has {pattern!r} in its name." if pattern else "There are no images."
    note = f"{len(images)} images in all." if pattern and images else ""
    return Table("Images", tuple(found), columns, note=note, empty=empty, total=len(found))


def _size(size: int) -> str:
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= power:
            return f"{size / power:.1f} {unit}"
    return f"{size} B"


def _features(words: list[str]) -> str:
    known = {"query": "notebooks", "batch": "programs"}
    return ", ".join(known[word] for word in ("query", "batch") if word in words)


def resource_table(resources: Resources) -> Table[SlotUse]:
    """Return what may be used and what is free."""

    def column(
        key: str, label: str, get: Callable[[SlotUse], Decimal | None], none: str
    ) -> Column[SlotUse]:
        def words(slot: SlotUse) -> str:
            return amount_of(slot.name, get(slot), none=none)

        return Column(key, label, get, words=words, is_amount=True)

    columns = (
        column("limit", "You may use", lambda s: s.limit, "no limit"),
        column("used", "You use", lambda s: s.used, "0"),
        column("left", "You have left", lambda s: s.left, "no limit"),
        column("free", "Free here", lambda s: s.free, "not told"),
    )
    name = Column[SlotUse]("name", "Resource", lambda s: s.name)
    where = Column[SlotUse]("where", "Scaling group", lambda s: s.where)
    ready = [preset.name for preset in resources.presets if preset.allocatable]
    note = f"Presets that fit now: {', '.join(ready)}." if ready else ""
    return Table(
        f"Resources of the project {resources.group}",
        resources.slots,
        (name, *columns, where),
        note=note,
        empty="The server tells of no resources.",
    )


# -- settings ---------------------------------------------------------------------------------


def config_facts(config: Config, version: str, manager: str, negotiated: str) -> Facts:
    """Return the settings and where they come from; a secret is never among them."""
    key = f"{config.access_key[:8]}…" if config.access_key else "none"
    mode = {"api": "keypair", "session": "login through the web server"}
    endpoint = config.endpoint
    if config.is_local:
        endpoint += " (the manager on this computer: no endpoint is configured)"
    rows = [
        ("Endpoint", endpoint, "endpoint"),
        ("By", mode.get(config.endpoint_type, "keypair"), "endpoint_type"),
        ("Access key", key, "access_key"),
        ("Secret key", "set, not shown" if config.secret_key else "none", "secret_key"),
        ("Domain", config.domain, "domain"),
        ("Project", config.group, "group"),
        ("Server", f"manager {manager} (API {version})", ""),
        ("API version used", negotiated, ""),
        ("Folders mounted", ", ".join(config.mounts), "mounts"),
        ("Certificates", "checked" if config.verify_tls else "NOT checked", "verify_tls"),
    ]
    told = {**config.sources}
    return Facts(
        "Settings",
        tuple(
            (label, f"{value}  [{told[field]}]" if field in told else value)
            for label, value, field in rows
            if value
        ),
        data={
            "endpoint": config.endpoint,
            "endpoint_type": config.endpoint_type,
            "access_key": key,
            "domain": config.domain,
            "group": config.group,
            "version": version,
            "manager": manager,
            "mounts": list(config.mounts),
            "verify_tls": config.verify_tls,
        },
    )
