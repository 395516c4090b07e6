"""What is done with a session that runs: ``/session/{session}`` and below."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from . import idle, problems
from .agent import AgentFailure, Container
from .core import DOMAIN, GROUP_ID, Core, answer, container_id, json_body, owner, params, session
from .sessions import SessionRecord, utcnow

Handler = Callable[[Core, web.Request], Awaitable[web.StreamResponse]]

_MODES = ("query", "batch", "complete", "continue", "input")


def running(core: Core, request: web.Request) -> tuple[SessionRecord, Container]:
    """Return the session of the path and its container.

    Raises:
        Problem: There is no such session (404), or it has no container yet (500).
    """
    record = session(core, request)
    if record.container is None:
        raise problems.no_agent(record.id)
    return record, record.container


async def describe(core: Core, request: web.Request) -> web.Response:
    """Tell about one session; slots are Python's own ``str`` of a dictionary (recording 33)."""
    record = session(core, request)
    wanted = record.wanted
    reference = wanted.image.reference
    return answer(
        {
            "age": int((utcnow() - record.created_at).total_seconds() * 1000),
            "domainName": DOMAIN,
            "groupId": GROUP_ID,
            "userId": record.owner.user_uuid,
            "lang": reference,
            "image": reference,
            "architecture": wanted.image.architecture,
            "registry": wanted.image.registry,
            "tag": wanted.tag,
            "containerId": container_id(record),
            "occupiedSlots": str(dict(record.allocated)),
            "occupyingSlots": "{}",
            "requestedSlots": str(dict(wanted.slots)),
            "occupiedShares": "{}",
            "environ": str(dict(wanted.environ)),
            "resourceOpts": str({"main1": {"shmem": int(wanted.shmem)}}),
            "status": record.status.value,
            "statusInfo": str(record.status_info),
            "statusData": None,
            "creationTime": record.created_at.isoformat(),
            "terminationTime": record.terminated_at and record.terminated_at.isoformat(),
            "numQueriesExecuted": 0,
            "lastStat": None,
            "idleChecks": idle.report(record),
        }
    )


async def execute(core: Core, request: web.Request) -> web.Response:
    """Run code, or take more output of a run.

    Source: API reference 4.8; recordings 10 to 19 and 64.
    """
    body = await json_body(request)
    _check_types(core, body)
    record = session(core, request)
    mode, run_id = _mode_and_run(core, body)
    container = running(core, request)[1]
    options = body.get("options") or {}
    try:
        with core.lifecycle.use(record):
            if mode == "complete":
                result = await container.complete(body.get("code") or "", options)
            else:
                result = await container.execute(
                    mode, body.get("code") or "", run_id, options, flush=2.0
                )
    except AgentFailure as exc:
        raise problems.agent_failed(core.release, str(exc)) from exc
    return answer({"result": result})


def _check_types(core: Core, body: Mapping[str, Any]) -> None:
    """Refuse a field of the wrong type, in the words of the newest server (recording 64)."""
    for key in ("mode", core.release.run_id_key, "code"):
        value = body.get(key)
        if value is None or isinstance(value, str):
            continue
        what = f"{key}\n  Input should be a valid string"
        raise problems.unreadable_field(
            "<BackendAISchemaValidationFailed(400): Schema validation failed. (1 validation error "
            f"for ExecuteRequest\n{what} [type=string_type, input_value={value!r}, "
            f"input_type={type(value).__name__}])>"
        )


def _mode_and_run(core: Core, body: Mapping[str, Any]) -> tuple[str, str | None]:
    release = core.release
    key = release.run_id_key
    refuse = problems.invalid_session_data if key == "run_id" else problems.invalid_params
    mode = body.get("mode")
    if mode is None or (key == "runId" and key not in body):
        raise refuse("runId or mode is missing")
    if mode not in _MODES:
        raise refuse(f"mode has an invalid value: {mode}")
    run_id = body.get(key)
    if run_id is None and mode in ("continue", "input"):
        raise refuse("continuation requires explicit run ID")
    return mode, run_id


async def destroy(core: Core, request: web.Request) -> web.Response:
    """End a session; dead namesakes count, so a name may be ambiguous (recordings 90, 92)."""
    record = session(core, request, dead=True)
    forced = _flag(request.query.get("forced"))
    word = core.lifecycle.end(record, "user-requested", forced=forced)
    stats = {} if word is None else {"status": word}
    if core.release.recursive_list and _flag(request.query.get("recursive")):
        return answer([stats])
    return answer({"stats": stats})


def _flag(text: str | None) -> bool:
    return (text or "").lower() in ("1", "true", "yes", "on", "t", "y")


async def restart(core: Core, request: web.Request) -> web.Response:
    """Give a session a fresh process tree; newer servers refuse (recording 80)."""
    if not core.release.restart:
        raise problems.not_implemented(
            "Session restart is no longer supported. Terminate the session and enqueue a new one "
            "instead."
        )
    record, container = running(core, request)
    try:
        await core.lifecycle.restart(record, container)
    except AgentFailure as exc:
        raise problems.agent_failed(core.release, str(exc), what="restart") from exc
    return web.Response(status=204)


async def interrupt(core: Core, request: web.Request) -> web.Response:
    _, container = running(core, request)
    await container.interrupt()
    return web.Response(status=204)


async def complete(core: Core, request: web.Request) -> web.Response:
    """Suggest nothing, as the server does; older ones fail after their time-out (recording 20)."""
    body = await json_body(request)
    _, container = running(core, request)
    if not core.release.completion:
        raise problems.agent_failed(core.release, "TimeoutError()")
    result = await container.complete(body.get("code") or "", body.get("options") or {})
    return answer({"result": result})


async def logs(core: Core, request: web.Request) -> web.Response:
    record = session(core, request, dead=True)
    if record.starts_at is None:
        raise problems.not_found(
            "No such agent instance.",
            "instance_read_not-found",
            "Kernel has not been assigned to an agent.",
            data={"kernel_id": None},
        )
    text = record.container.logs() if record.container is not None else record.last_logs
    return answer({"result": {"logs": text}})


async def rename(core: Core, request: web.Request) -> web.Response:
    """Rename a running session; the newest servers read the body only (recordings 33, 61)."""
    given = await (json_body(request) if core.release.rename_in_body else params(request))
    name = given.get("session_name") or given.get("name") or given.get("clientSessionToken")
    if not isinstance(name, str) or not name:
        raise problems.unreadable_field("Input validation error: session_name is required")
    record, _ = running(core, request)
    if core.registry.named(name, record.owner) is not None:
        raise problems.name_taken(name)
    record.name = name
    return web.Response(status=204)


async def status_history(core: Core, request: web.Request) -> web.Response:
    """Tell when each status began; the route and its shape differ by release."""
    if core.release.status_history == "absent":
        raise problems.url_not_found(request.path)
    record = session(core, request)
    history = {name: when.isoformat() for name, when in record.history.items()}
    return answer({"result": history} if core.release.status_history == "nested" else history)


async def match(core: Core, request: web.Request) -> web.Response:
    """List the sessions whose name or id begins with ``id``."""
    prefix = request.query.get("id", "")
    who = owner(core, request)
    mine = [r for r in core.registry.alive() if r.owner.access_key == who.access_key]
    found = [r for r in mine if r.name.startswith(prefix) or r.id.startswith(prefix)]
    return answer(
        {"matches": [{"id": r.id, "name": r.name, "status": r.status.value} for r in found]}
    )
