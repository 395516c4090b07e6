"""``POST /admin/gql``: the queries that clients send, answered without an engine.

Root fields are matched by name and rows have their keys in the order of the query, because the
official command line pairs values with columns by position.

Source: API reference 8; recordings 00, 02, 04, 05, 65.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

from . import gqltypes as types
from . import problems
from .auth import KeyPair
from .core import SCALING_GROUP, Core, answer, json_body, keypair
from .folders import item
from .gqltext import GraphQLSyntaxError, Selection, locate, parse
from .gqltypes import Type
from .listing import BadFilter, parse_filter, sort_rows
from .resources import presets
from .sessions import SessionRecord
from .suggest import did_you_mean

Row = dict[str, Any]

_LARGEST_PAGE = 100
_PAGE = ("items", "total_count")


class _Refused(Exception):
    """A query asks for what is not there; the position is an offset in its text."""

    def __init__(
        self, message: str, position: int | None = None, path: list[str] | None = None
    ) -> None:
        super().__init__(message)
        self.position = position
        self.path = path

    def error(self, text: str) -> Row:
        error: Row = {"message": str(self)}
        if self.position is not None:
            error["locations"] = [locate(text, self.position)]
        if self.path is not None:
            error["path"] = self.path
            error["extensions"] = {"code": "backendai_generic_internal-error"}
        return error


async def query(core: Core, request: web.Request) -> web.Response:
    """Answer a query; a text that is no GraphQL is a 500, an unknown field an error with 200."""
    who = keypair(request)
    body = await json_body(request)
    data, errors = _run(core, who, str(body.get("query") or ""), body.get("variables") or {})
    if core.release.gql_errors or errors:
        return answer({"data": data, "errors": errors})
    return answer({"data": data})


async def legacy_query(core: Core, request: web.Request) -> web.Response:
    """Answer under the old path: older servers return the data bare and errors as a 400."""
    if core.release.gql_errors:
        return await query(core, request)
    who = keypair(request)
    body = await json_body(request)
    data, errors = _run(core, who, str(body.get("query") or ""), body.get("variables") or {})
    if errors:
        raise problems.Problem(
            400, "graphql-error", "GraphQL-generated error.", "graphql_generic_bad", data=errors
        )
    return answer(data)


def _run(core: Core, who: KeyPair, text: str, variables: Row) -> tuple[Row | None, Any]:
    try:
        roots = parse(text, variables)
    except GraphQLSyntaxError as exc:
        raise problems.internal_error() from exc
    resolver = _Resolver(core, who)
    try:
        for root in roots:
            resolver.check(root)
    except _Refused as exc:
        return None, [exc.error(text)]
    data: Row = {}
    errors: list[Row] = []
    for root in roots:
        try:
            data[root.alias] = resolver.resolve(root)
        except _Refused as exc:
            data[root.alias] = None
            errors.append(exc.error(text))
    return data, errors or None


class _Resolver:
    """Answers the root fields of one query for one caller."""

    def __init__(self, core: Core, who: KeyPair) -> None:
        self._core = core
        self._who = who
        self._lists: dict[str, tuple[Type, Callable[[Selection], list[Any]]]] = {
            "compute_session_list": (types.SESSION, self._sessions),
            "agent_list": (types.AGENTS, self._agents),
            "vfolder_list": (
                types.FOLDER,
                lambda root: [item(core, who, each) for each in core.folders.of(who)],
            ),
        }
        self._plain: dict[str, tuple[Type, Callable[[Selection], Any]]] = {
            "keypair": (types.KEYPAIR, self._keypair),
            "compute_session": (types.SESSION, self._session),
            "images": (types.IMAGE, lambda root: list(core.images)),
            "image": (types.IMAGE, self._image),
            "groups": (types.GROUPS, lambda root: ["default"]),
            "scaling_groups": (types.SCALING_GROUPS, lambda root: [SCALING_GROUP]),
            "scaling_group": (types.SCALING_GROUPS, self._scaling_group),
            "resource_presets": (types.PRESET, lambda root: presets(core)),
            "user": (types.USER, self._user),
        }

    def check(self, root: Selection) -> None:
        """Refuse unknown fields in the server's words.

        Raises:
            _Refused: A field that the type does not have.
        """
        if root.name in self._plain:
            _check_fields(root, self._plain[root.name][0])
        elif root.name in self._lists:
            kind = self._lists[root.name][0]
            for wanted in root.fields:
                if wanted.name not in _PAGE:
                    raise _unknown(wanted, f"{kind.name}List", _PAGE)
                if wanted.name == "items":
                    _check_fields(wanted, kind)
        else:
            raise _unknown(root, "Query", (*self._plain, *self._lists, "node"))

    def resolve(self, root: Selection) -> Any:
        if root.name in self._lists:
            kind, find = self._lists[root.name]
            return self._page(root, kind, find(root))
        kind, get = self._plain[root.name]
        return self._pick(root, kind, get(root))

    def _page(self, root: Selection, kind: Type, found: list[Any]) -> Row:
        offset = int(root.arguments.get("offset") or 0)
        limit = min(int(root.arguments.get("limit") or _LARGEST_PAGE), _LARGEST_PAGE)
        return {
            wanted.alias: self._pick(wanted, kind, found[offset : offset + limit])
            if wanted.name == "items"
            else len(found)
            for wanted in root.fields
        }

    def _pick(self, selection: Selection, kind: Type, found: Any) -> Any:
        """Return the wanted fields of one or several objects, in the order of the query."""
        if found is None:
            return None
        if isinstance(found, list):
            return [self._pick(selection, kind, item) for item in found]
        row: Row = {}
        for wanted in selection.fields:
            value = kind.fields[wanted.name](self._core, found)
            if (inner := kind.inner.get(wanted.name)) is not None:
                value = self._pick(wanted, inner, value)
            row[wanted.alias] = value
        return row

    def _sessions(self, root: Selection) -> list[SessionRecord]:
        records = self._visible(root)
        if (status := root.arguments.get("status")) is not None:
            statuses = self._statuses(root, str(status))
            records = [record for record in records if record.status.value in statuses]
        rows = [_Fields(self._core, record) for record in records]
        try:
            if text := root.arguments.get("filter"):
                rows = list(filter(parse_filter(str(text), types.SESSION_FILTERS), rows))
            if order := root.arguments.get("order"):
                rows = sort_rows(rows, str(order), types.SESSION_FILTERS)
            else:  # as seen with 26.4.16
                rows.sort(key=lambda row: row.record.last_change, reverse=True)
            return [row.record for row in rows]
        except BadFilter as exc:
            raise _Refused(str(exc), root.position, [root.alias]) from exc

    def _visible(self, root: Selection) -> list[SessionRecord]:
        access_key = root.arguments.get("access_key")
        if access_key is None:
            if self._who.is_admin:
                return list(self._core.registry)
            access_key = self._who.access_key
        if access_key != self._who.access_key and not self._who.is_admin:
            raise _Refused("Forbidden operation.", root.position, [root.alias])
        return [r for r in self._core.registry if r.owner.access_key == access_key]

    def _statuses(self, root: Selection, text: str) -> set[str]:
        names = {name.strip() for name in text.split(",")}
        for name in sorted(names):
            if name not in self._core.release.statuses:
                raise _Refused(f"'{name}'", root.position, [root.alias])
        return names

    def _session(self, root: Selection) -> SessionRecord | None:
        record = self._core.registry.get(str(root.arguments.get("id")))
        if record is None or not (self._who.is_admin or record.owner == self._who):
            return None
        return record

    def _keypair(self, root: Selection) -> KeyPair | None:
        access_key = root.arguments.get("access_key") or self._who.access_key
        found = self._core.gate.keypair(access_key)
        return found if found == self._who or self._who.is_admin else None

    def _image(self, root: Selection) -> Any:
        reference = root.arguments.get("reference")
        for image in self._core.images:
            if reference in (image.reference, *image.aliases):
                return image
        return None

    def _scaling_group(self, root: Selection) -> str | None:
        return SCALING_GROUP if root.arguments.get("name") == SCALING_GROUP else None

    def _agents(self, root: Selection) -> list[str]:
        return ["this computer"] if root.arguments.get("status") in (None, "ALIVE") else []

    def _user(self, root: Selection) -> KeyPair | None:
        email = root.arguments.get("email")
        return self._who if email in (None, self._who.user_id) else None


class _Fields(dict[str, Any]):
    """A session's fields, each worked out when a filter or an order looks at it."""

    def __init__(self, core: Core, record: SessionRecord) -> None:
        super().__init__()
        self._core = core
        self.record = record

    def __missing__(self, name: str) -> Any:
        return types.SESSION.fields[_COLUMNS.get(name, name)](self._core, self.record)


_COLUMNS = {"agent_id": "agents"}


def _check_fields(selection: Selection, kind: Type) -> None:
    for wanted in selection.fields:
        if wanted.name not in kind.fields:
            raise _unknown(wanted, kind.name, kind.fields)
        if (inner := kind.inner.get(wanted.name)) is not None:
            _check_fields(wanted, inner)


def _unknown(wanted: Selection, kind: str, known: Iterable[str]) -> _Refused:
    hint = did_you_mean(wanted.name, known)
    message = f"Cannot query field '{wanted.name}' on type '{kind}'.{hint}"
    return _Refused(message, wanted.position)
