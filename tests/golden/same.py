"""Whether two answers are the same, as far as two servers can be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_SHORTENED = re.compile(r"(?s)(.*?)\[\[(\d+)\]\](.*)")
_VARYING = re.compile(r"0x[0-9a-f]+|\d{4,}")

PROBLEM = ("type", "title", "error_code", "msg")


@dataclass(frozen=True)
class Answer:
    """An answer: HTTP status, media type, whether it tells of the rate limit, its body.

    The body is decoded JSON where it is JSON, else text.
    """

    status: int
    kind: str | None
    limited: bool
    body: Any

    @classmethod
    def of(cls, response: aiohttp.ClientResponse, raw: bytes) -> Answer:
        kind = response.headers.get("Content-Type")
        body: Any = raw.decode(errors="replace")
        if kind is not None and "json" in kind:
            body = json.loads(raw)
        return cls(response.status, kind, "X-RateLimit-Limit" in response.headers, body)


def differences(recorded: dict[str, Any], answer: Answer) -> Iterator[str]:
    """Yield what is not the same, each as ``where: recorded, now``."""
    for what, was, now in (
        ("status", recorded["status"], answer.status),
        ("kind", _media(recorded["kind"]), _media(answer.kind)),
        ("limited", recorded["limited"], answer.limited),
    ):
        if was != now:
            yield f"{what}: recorded {was!r}, now {now!r}"
    if "json" not in recorded:
        return
    if recorded["status"] >= 400:
        yield from _problem(recorded["json"], answer.body)
    else:
        yield from _shape("body", recorded["json"], answer.body)


def _media(kind: str | None) -> str | None:
    return kind and kind.partition(" boundary=")[0]


def _problem(was: dict[str, Any], now: Any) -> Iterator[str]:
    if not isinstance(now, dict):
        yield f"problem: recorded {was!r}, now {now!r}"
        return
    if list(was) != list(now):
        yield f"problem keys: recorded {list(was)}, now {list(now)}"
    for key in PROBLEM:
        if _words(was.get(key)) != _words(now.get(key)):
            yield f"problem {key}: recorded {was.get(key)!r}, now {now.get(key)!r}"


def _words(text: str | None) -> str | None:
    """Return a message without what must differ: addresses, and the details of one library."""
    if text is None:
        return None
    text = re.sub(r"http://127\.0\.0\.1:\d+", "URL", text)
    return re.sub(r"(?s)(\[type=string_type.*)", "", text)


def _shape(where: str, was: Any, now: Any) -> Iterator[str]:
    """Compare keys and types all the way down, and the values that are the same everywhere."""
    if where.endswith(".console"):
        yield from _console(was, now)
    elif isinstance(was, dict) and isinstance(now, dict):
        if list(was) != list(now) and sorted(was) != sorted(now):
            yield f"{where} keys: recorded {sorted(was)}, now {sorted(now)}"
        for key in was.keys() & now.keys():
            yield from _shape(f"{where}.{key}", was[key], now[key])
    elif isinstance(was, list) and isinstance(now, list):
        if bool(was) != bool(now):
            yield f"{where}: recorded {was!r}, now {now!r}"
        elif was:
            yield from _shape(f"{where}[]", was[0], now[0])
    elif type(was) is not type(now):
        yield f"{where}: recorded {was!r}, now {now!r}"
    elif where.rpartition(".")[2] in _SAME and was != now:
        yield f"{where}: recorded {was!r}, now {now!r}"


_SAME = frozenset(
    "status exitCode is_password name created authorized echo type result status_info statusInfo "
    "requested_slots occupied_slots total_count is_active is_admin access_key message column "
    "requestedSlots occupiedSlots resourceOpts environ domainName errors allocatable "
    "enabled tag priority group_name user_id suggestions error sessionName".split()
)
"""Keys whose values must be equal."""


def _console(was: list[Any], now: list[Any]) -> Iterator[str]:
    if [kind for kind, _ in was] != [kind for kind, _ in now] and _merged(was).keys() != _merged(
        now
    ).keys():
        yield f"console kinds: recorded {was!r}, now {now!r}"
        return
    before, after = _merged(was), _merged(now)
    for kind, text in before.items():
        if not _alike(kind, text, after[kind]):
            yield f"console {kind}: recorded {text!r}, now {after[kind]!r}"


def _merged(console: list[Any]) -> dict[str, str]:
    """Return kind → its text; the order between streams is not kept by the server either."""
    merged: dict[str, str] = {}
    for kind, payload in console:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        merged[kind] = merged.get(kind, "") + text
    return merged


def _alike(kind: str, was: str, now: str) -> bool:
    if kind == "stderr":  # a traceback names files and versions: its last line tells what it was
        return (
            _ANSI.sub("", was).strip().split("\n")[-1].split(":")[0]
            == (_ANSI.sub("", now).strip().split("\n")[-1].split(":")[0])
        )
    if kind == "media" and "image/png" in was:
        return now.startswith('["image/png", "data:image/png;base64,')
    if (short := _SHORTENED.fullmatch(was)) is not None:
        head, length, tail = short[1], int(short[2]), short[3]
        extra = len(json.dumps(json.loads(now)[1])) - len(now) if kind == "media" else 0
        return now.startswith(head) and now.endswith(tail) and abs(len(now) - length) <= 64 + extra
    return _VARYING.sub("N", was) == _VARYING.sub("N", now)
