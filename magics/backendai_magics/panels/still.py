"""A panel where there are no widgets: what it would show now, as a table and as text."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backendai_kernel import describe, listing, vfolders
from backendai_kernel.doors import open_table
from backendai_kernel.model import Session
from backendai_kernel.opened import list_open
from backendai_kernel.protocol import calls
from backendai_kernel.resources import read_resources
from backendai_kernel.tables import Column, Table

if TYPE_CHECKING:
    from backendai_kernel.client import Client

    from ..connection import Connection


FORMS = ("launcher", "keys")
"""Parts that are forms through and through, so that they need no page of ours."""


class Still:
    """Values of one moment; they are read when it is made and do not change."""

    def __init__(
        self, part: str, connection: Connection, note: str, *, has_forms: bool = False
    ) -> None:
        """Read the values.

        Args:
            note: Why it does not live.
            has_forms: There are pages that draw stock widgets: what is a form, lives.

        Raises:
            ConnectError, APIError, ProtocolError: As `Client.send`.
        """
        self.note = note
        self.tables: tuple[Any, ...] = connection.call(
            lambda client: _read(client, part, connection.state)
        )

        self.form: Any = None
        if has_forms and part in ("", *FORMS):
            from .alone import Alone

            tables = self._repr_html_() if not part else f"<p>{escape(note)}</p>"
            self.form = Alone(part or FORMS[0], connection, before=tables)

    def close(self) -> None:
        """End what lives of it."""
        if self.form is not None:
            self.form.close()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Return the form for pages that draw widgets; the tables are for all others."""
        if self.form is None:
            return {}
        bundle = self.form._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        return {**data, "text/html": self._repr_html_(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return "\n\n".join([*map(repr, self.tables), self.note])

    def _repr_html_(self) -> str:
        tables = "".join(table._repr_html_() for table in self.tables)
        return f"{tables}<p>{escape(self.note)}</p>"


async def _read(client: Client, part: str, state: Path) -> tuple[Any, ...]:
    tables: list[Any] = []
    if part in ("", "sessions"):
        query = listing.Query()
        listed = await listing.list_sessions(client, query)
        own_key = await client.access_key()
        tables.append(describe.session_table(listed, query, own_key=own_key))
    if part == "launcher":
        images = await client.send(calls.list_images())
        tables.append(describe.image_table(images))
    if part in ("", "resources", "launcher"):
        tables.append(describe.resource_table(await read_resources(client, None)))
    if part == "folders":
        there = tuple(await vfolders.list_folders(client))
        name = Column[calls.Folder]("name", "Folder", lambda each: each.name)
        tables.append(Table("Folders", there, (name,), empty="You have no virtual folders."))
    if part == "keys":
        running = await listing.list_sessions(client, listing.Query(listing.Which.RUNNING))
        column = Column[Session]("command", "SSH", lambda s: f"backendai-kernel ssh {s.name}")
        whose = Column[Session]("name", "Session", lambda s: s.name)
        tables.append(Table("SSH", running.items, (whose, column), empty="No session runs."))
    if part == "apps":
        tables.append(open_table(list_open(state)))
    return tuple(tables)
