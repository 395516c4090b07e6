"""What differs between server generations: one table of quirks per generation.

Source: API reference 0.4 (compatibility matrix); the row ``26.4`` is what the recordings show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_V7 = (
    "v4.20181215",
    "v4.20190115",
    "v4.20190315",
    "v4.20190615",
    "v5.20191215",
    "v6.20200815",
    "v6.20220315",
    "v6.20220615",
    "v6.20230315",
    "v7.20230615",
)
_OLD_STATUSES = (
    "PENDING SCHEDULED PULLING PREPARING RUNNING RESTARTING RUNNING_DEGRADED TERMINATING "
    "TERMINATED ERROR CANCELLED"
)
_STATUSES = (
    "PENDING SCHEDULED PREPARING PULLING PREPARED CREATING RUNNING RESTARTING RUNNING_DEGRADED "
    "TERMINATING TERMINATED ERROR CANCELLED"
)


@dataclass(frozen=True)
class Release:
    """How a server of one generation behaves where generations differ.

    Attributes:
        name: What ``--release`` calls it.
        api_version: What ``GET /`` announces.
        manager: The manager's own version, announced too.
        accepts: Versions taken in ``X-BackendAI-Version``.
        run_id_key: The key of a run's id in an execute request; the other spelling is ignored.
        statuses: Status names, in the server's order.
        restart: ``PATCH`` restarts a session; else it answers 501.
        exit_codes: A cell that raises ends with exit code 1; else always with 0.
        completion: ``complete`` answers an empty list; else it never answers and ends in a 500.
        download: ``get`` wants a body on GET, ``body`` a body on POST, ``query`` a query on POST.
        files_in_query: ``files`` reads its path from the query; else from a JSON body.
        rename_in_body: ``rename`` wants a JSON body; else the query will do.
        status_history: Whether there is the route, and the shape of its answer.
        raw_ports: A reused session's ports come under ``servicePorts`` too.
        error_codes: Problems carry ``error_code``.
        agent_details: A failing agent is told as ``agent-details``; else as a bare 500.
        gql_errors: The key ``errors`` is there even when there are none.
        strict_events: An event stream for an unknown session name is a 404.
        recursive_list: ``DELETE`` with ``recursive`` answers a bare list.
        quota_status: HTTP status of ``quota-exceeded``.
    """

    name: str
    api_version: str
    manager: str
    accepts: tuple[str, ...]
    run_id_key: Literal["runId", "run_id"]
    statuses: tuple[str, ...]
    restart: bool
    exit_codes: bool
    completion: bool
    download: Literal["get", "body", "query"]
    files_in_query: bool
    rename_in_body: bool
    status_history: Literal["absent", "nested", "flat"]
    raw_ports: bool
    error_codes: bool
    agent_details: bool
    gql_errors: bool
    strict_events: bool
    recursive_list: bool
    quota_status: int


RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        Release(
            name="23.09",
            api_version="v7.20230615",
            manager="23.09.10",
            accepts=_V7,
            run_id_key="runId",
            statuses=tuple(_OLD_STATUSES.split()),
            restart=True,
            exit_codes=False,
            completion=False,
            download="get",
            files_in_query=False,
            rename_in_body=False,
            status_history="absent",
            raw_ports=False,
            error_codes=False,
            agent_details=True,
            gql_errors=False,
            strict_events=False,
            recursive_list=True,
            quota_status=412,
        ),
        Release(
            name="25.5",
            api_version="v8.20240915",
            manager="25.5.2",
            accepts=(*_V7, "v8.20240315", "v8.20240915"),
            run_id_key="runId",
            statuses=tuple(_STATUSES.split()),
            restart=True,
            exit_codes=False,
            completion=False,
            download="body",
            files_in_query=False,
            rename_in_body=False,
            status_history="absent",
            raw_ports=False,
            error_codes=False,
            agent_details=True,
            gql_errors=False,
            strict_events=False,
            recursive_list=False,
            quota_status=412,
        ),
        Release(
            name="26.4",
            api_version="v9.20250722",
            manager="26.4.16",
            accepts=(*_V7, "v6.20221201", "v8.20240315", "v8.20240915", "v9.20250722"),
            run_id_key="run_id",
            statuses=tuple(_STATUSES.split()),
            restart=False,
            exit_codes=True,
            completion=True,
            download="query",
            files_in_query=True,
            rename_in_body=True,
            status_history="flat",
            raw_ports=True,
            error_codes=True,
            agent_details=False,
            gql_errors=True,
            strict_events=True,
            recursive_list=False,
            quota_status=400,
        ),
    )
}
"""Release name → its quirks; ``26.4`` is what the embedded manager is by default."""
