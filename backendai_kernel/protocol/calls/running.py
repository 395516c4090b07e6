"""Code and files of a session that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from ... import model
from .base import Call, Part, session_path

MOST_PARTS = 20
"""Files in one upload."""

PART_LIMIT = 2**20
"""Bytes that a file of an upload must stay below."""


def execute(
    session: str,
    run_id: str,
    mode: str,
    code: str = "",
    options: Mapping[str, Any] | None = None,
) -> Call[model.RunAnswer]:
    """Send code, input, or a request for more output of a run.

    The run id goes under both names: servers up to 26.2 read ``runId`` and insist on it, later ones
    read ``run_id`` (API reference 0.4; recording 14a).

    Args:
        mode: ``query``, ``batch``, ``continue`` or ``input``.
        options: For ``batch``: ``clean``, ``build``, ``buildLog``, ``exec``.
    """
    body: dict[str, Any] = {"mode": mode, "code": code, "runId": run_id, "run_id": run_id}
    if options is not None:
        body["options"] = dict(options)
    return Call(
        "POST",
        session_path(session),
        model.RunAnswer,
        body,
        inside=("result",),
        what="Running code in the session",
    )


def list_files(session: str, path: str) -> Call[model.Listing]:
    """Ask what is in a folder of the session, relative to its work folder; links are followed.

    Servers up to 26.2 read the path from the body, later ones from the query (API reference 0.4).
    """
    return Call(
        "GET",
        session_path(session, "/files", {"path": path}),
        model.Listing,
        {"path": path},
        what=f"Listing {path!r} in the session",
        is_read=True,
    )


def download_files(session: str, paths: Sequence[str]) -> Call[None]:
    """Ask for files or folders of the session; `Client.fetch` returns the multipart answer.

    Args:
        paths: 1 to 5, relative to the work folder. They go in the query, where servers from 26.4.7
            on look, and in the body for those before.

    Source: API reference 0.4, 4.10; recording 30.
    """
    path = session_path(session, "/download")
    query = urlencode({"files": list(paths)}, doseq=True)
    return Call(
        "POST",
        f"{path}?{query}",
        type(None),
        {"files": list(paths)},
        what=f"Downloading {', '.join(paths)}",
        is_read=True,
    )


def upload_files(session: str, parts: Sequence[Part]) -> Call[None]:
    """Write files into the session's work folder; folders in their names are made.

    At most `MOST_PARTS` at once, each smaller than `PART_LIMIT`. Sending it again writes the same.

    Source: API reference 4.10; recording 31.
    """
    return Call(
        "POST",
        session_path(session, "/upload"),
        type(None),
        what="Uploading files into the session",
        is_read=True,
        parts=tuple(parts),
    )


def interrupt(session: str, *, owner: str | None = None) -> Call[None]:
    """Interrupt the code that runs; the answer says nothing about success (10.6)."""
    return Call(
        "POST",
        session_path(session, "/interrupt", {"owner_access_key": owner}),
        type(None),
        what="Interrupting the session",
        is_read=True,
    )
