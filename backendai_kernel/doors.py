"""Apps and the ports that lead to them, as a notebook shows them: with links that can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from .links import JupyterServer
from .model import ServicePort, Session
from .opened import OpenApp
from .tables import Column, Facts, Table, ago

_ELSEWHERE = (
    "This Jupyter server is not on your own computer, and it cannot lead your browser on. Install "
    "jupyter-server-proxy beside it, or let others reach the port: -b 0.0.0.0:PORT."
)


def link_of(opened: OpenApp, server: JupyterServer | None) -> str:
    """Return the address that the user's browser reaches; ``""`` where there is none.

    Below the Jupyter server's own address when browsers come from other computers.
    """
    if not opened.is_web:
        return ""
    if server is not None and server.is_remote:
        return server.link(opened.port, opened.path) if server.has_proxy else ""
    return opened.url


def open_facts(opened: OpenApp, server: JupyterServer | None, *, is_shared: bool = False) -> Facts:
    """Tell of a port that was opened.

    Args:
        server: The Jupyter server before which the user sits, if there is one.
        is_shared: Other computers can connect, too.
    """
    link = link_of(opened, server)
    rows, links, notes = [("Address", opened.url)], {}, []
    if server is not None and server.has_proxy and opened.is_web:
        through = server.link(opened.port, opened.path)
        label = "Through Jupyter"
        rows.append((label, through))
        links[label] = through
    if link and not (server is not None and server.is_remote):
        links["Address"] = link
    if opened.is_web and not link:
        notes.append(_ELSEWHERE)
    if opened.was_taken is not None:
        notes.append(f"Port {opened.was_taken} is taken, so it is {opened.port}.")
    if is_shared:
        notes.append(f"Everybody who reaches {opened.host} can use this port.")
    notes.append(
        "It closes when this kernel or the session ends, and before that with "
        f"`%bai app --stop {opened.port}`."
    )
    return Facts(
        f"✓ The app {opened.app} of the session {opened.session} is open.",
        tuple(rows),
        data=asdict(opened) | {"link": link or None},
        note=" ".join(notes),
        links=links,
    )


def open_table(there: Sequence[OpenApp], server: JupyterServer | None = None) -> Table[OpenApp]:
    """Return what is open on this computer as a table."""
    return Table(
        "Open apps",
        tuple(there),
        (
            Column("session", "Session", lambda each: each.session),
            Column("app", "App", lambda each: each.app),
            Column(
                "url", "Open at", lambda each: each.url, link=lambda each: link_of(each, server)
            ),
            Column(
                "since",
                "Since",
                lambda each: datetime.fromtimestamp(each.since, UTC),
                text=ago,
            ),
            Column("by", "By", lambda each: "this kernel" if each.is_ours else "another process"),
        ),
        empty="No app is open at a port of this computer.",
        note="`%bai apps SESSION` tells what a session offers.",
        details=(
            Column("protocol", "Protocol", lambda each: each.protocol),
            Column("port", "Port", lambda each: each.port),
            Column("session_id", "Id", lambda each: each.session_id),
            Column("pid", "Process", lambda each: each.pid),
        ),
    )


def offered_table(
    session: Session,
    ports: Sequence[ServicePort],
    there: Sequence[OpenApp],
    server: JupyterServer | None = None,
) -> Table[ServicePort]:
    """Return what a session offers as a table, with what of it is open."""
    opened = {each.app: each for each in there if each.session_id == session.id}

    def where(port: ServicePort) -> str | None:
        return opened[port.name].url if port.name in opened else None

    def link(port: ServicePort) -> str:
        return link_of(opened[port.name], server) if port.name in opened else ""

    return Table(
        f"Apps of the session {session.name}",
        tuple(ports),
        (
            Column("app", "App", lambda port: port.name),
            Column("protocol", "Protocol", lambda port: port.protocol),
            Column("ports", "Port", lambda port: list(port.ports), text=_listed),
            Column("url", "Open at", where, link=link),
        ),
        empty=f"The session {session.name} offers no apps.",
        note=f"`%bai app {session.name} APP` opens one." if ports else "",
        details=(
            Column("allowed_arguments", "Arguments", lambda p: list(p.allowed_arguments or ())),
            Column("allowed_envs", "Variables", lambda p: list(p.allowed_envs or ())),
        ),
    )


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
