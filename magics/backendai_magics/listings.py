"""``ps``, ``info``, ``images``, ``resources``: what there is, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backendai_kernel import describe, follow, listing
from backendai_kernel.errors import ConfigError
from backendai_kernel.protocol import calls
from backendai_kernel.resources import read_resources

from .asked import Asked

if TYPE_CHECKING:
    from backendai_kernel.client import Client

_FIRST = 10  # sessions that a list has when nobody says how many


def ps(asked: Asked) -> Any:
    """Return a table of sessions."""
    options = asked.options
    query = _query(options)
    keys = describe.pick_columns(options.format or "")

    async def work(client: Client) -> Any:
        listed = await listing.list_sessions(client, query)
        own_key = await client.access_key()
        return describe.session_table(
            listed,
            query,
            own_key=own_key,
            keys=("name",) if options.name_only else keys,
            is_detailed=options.detail,
        )

    return asked.use(work)


def _query(options: Any) -> listing.Query:
    for name in ("limit", "offset"):
        if (number := getattr(options, name)) is not None and number < 0:
            raise ConfigError(f"%bai ps: --{name} {number} is less than nothing.")
    if options.limit == 0:
        raise ConfigError("%bai ps: --limit 0 lists nothing.", hint="--all lists all of them.")
    statuses = listing.parse_statuses(options.status or "")
    if statuses == ("ALL",):  # as the official command line has it
        statuses, options.all = (), True
    which = listing.Which.ALL if options.all else listing.Which.LIVE
    if options.running:
        which = listing.Which.RUNNING
    elif options.dead:
        which = listing.Which.DEAD
    limit = options.limit
    if limit is None:
        limit = None if options.all else _FIRST
    return listing.Query(
        which,
        statuses,
        access_key=options.access_key,
        filter=options.filter,
        order=options.order,
        offset=options.offset,
        limit=limit,
    )


def info(asked: Asked) -> Any:
    """Return what there is to say of one session."""

    async def work(client: Client) -> Any:
        found = await listing.find_session(
            client, asked.options.session, dead=True, owner=asked.options.owner
        )
        return describe.session_facts(await follow.describe(client, found.id))

    return asked.use(work)


def images(asked: Asked) -> Any:
    """Return a table of images."""

    async def work(client: Client) -> Any:
        known = await client.send(calls.list_images())
        return describe.image_table(known, asked.options.pattern)

    return asked.use(work)


def resources(asked: Asked) -> Any:
    """Return a table of what may be used."""

    async def work(client: Client) -> Any:
        return describe.resource_table(await read_resources(client, asked.options.project))

    return asked.use(work)
