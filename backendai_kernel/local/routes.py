"""Which handler answers which path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from . import (
    appproxy,
    creation,
    folders,
    graphql,
    operations,
    resources,
    sharing,
    storage,
    stream,
    tcpproxy,
    transfer,
    weblogin,
)
from .core import Core
from .faults import Faults

Handler = Callable[[Core, web.Request], Awaitable[web.StreamResponse]]

_API: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/", resources.version),
    ("GET", "/auth", resources.auth_test),
    ("POST", "/auth", resources.auth_test),
    ("GET", "/auth/test", resources.auth_test),
    ("POST", "/auth/test", resources.auth_test),
    ("GET", "/auth/role", resources.role),
    ("GET", "/manager/announcement", resources.announcement),
    ("POST", "/admin/gql", graphql.query),
    ("POST", "/admin/graphql", graphql.legacy_query),
    ("GET", "/config/resource-slots", resources.slot_types),
    ("GET", "/config/resource-slots/details", resources.slot_details),
    ("GET", "/config/vfolder-types", resources.vfolder_types),
    ("GET", "/resource/presets", resources.list_presets),
    ("POST", "/resource/check-presets", resources.check_presets),
    ("GET", "/scaling-groups", resources.scaling_groups),
    ("GET", "/folders", folders.listing),
    ("POST", "/folders", folders.create),
    ("DELETE", "/folders", folders.delete),
    ("GET", "/folders/_/hosts", folders.hosts),
    ("GET", "/folders/_/id", folders.identify),
    ("POST", "/folders/purge", folders.purge),
    ("POST", "/folders/delete-from-trash-bin", folders.purge),
    ("POST", "/folders/restore-from-trash-bin", folders.restore),
    ("GET", "/folders/invitations/list", sharing.invitations),
    ("GET", "/folders/invitations/list-sent", sharing.invitations),
    ("POST", "/folders/invitations/accept", sharing.answer_invitation),
    ("DELETE", "/folders/invitations/delete", sharing.answer_invitation),
    ("GET", "/folders/{folder}", folders.describe),
    ("DELETE", "/folders/{folder}", folders.delete_by_name),
    ("POST", "/folders/{folder}/rename", folders.rename),
    ("POST", "/folders/{folder}/mkdir", folders.mkdir),
    ("GET", "/folders/{folder}/files", folders.files),
    ("POST", "/folders/{folder}/rename-file", folders.rename_file),
    ("POST", "/folders/{folder}/move-file", folders.move),
    ("DELETE", "/folders/{folder}/delete-files", folders.remove_files),
    ("POST", "/folders/{folder}/delete-files", folders.remove_files),
    ("POST", "/folders/{folder}/invite", sharing.invite),
    ("POST", "/folders/{folder}/share", sharing.share),
    ("DELETE", "/folders/{folder}/unshare", sharing.unshare),
    ("POST", "/folders/{folder}/leave", sharing.leave),
    ("POST", "/folders/{folder}/request-upload", storage.request_upload),
    ("POST", "/folders/{folder}/request-download", storage.request_download),
    ("POST", "/session", creation.create),
    ("POST", "/session/_/create", creation.create),
    ("GET", "/session/_/match", operations.match),
    ("GET", "/session/{session}", operations.describe),
    ("PATCH", "/session/{session}", operations.restart),
    ("DELETE", "/session/{session}", operations.destroy),
    ("POST", "/session/{session}", operations.execute),
    ("POST", "/session/{session}/rename", operations.rename),
    ("POST", "/session/{session}/interrupt", operations.interrupt),
    ("POST", "/session/{session}/complete", operations.complete),
    ("GET", "/session/{session}/logs", operations.logs),
    ("GET", "/session/{session}/status-history", operations.status_history),
    ("POST", "/session/{session}/start-service", appproxy.start_service),
    ("POST", "/session/{session}/upload", transfer.upload),
    ("POST", "/session/{session}/download", transfer.download),
    ("GET", "/session/{session}/download", transfer.download),
    ("POST", "/session/{session}/download_single", transfer.download_single),
    ("GET", "/session/{session}/download_single", transfer.download_single),
    ("GET", "/session/{session}/files", transfer.listing),
    ("GET", "/stream/session/{session}/apps", stream.apps),
)

_STORAGE: tuple[tuple[str, str, Handler], ...] = (
    ("OPTIONS", "/storage/upload", storage.upload_options),
    ("HEAD", "/storage/upload", storage.upload_state),
    ("PATCH", "/storage/upload", storage.upload),
    ("GET", "/storage/download", storage.download),
)

_WEB: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/server/login", weblogin.login),
    ("POST", "/server/login-check", weblogin.login_check),
    ("POST", "/server/logout", weblogin.logout),
)


def add_routes(app: web.Application, core: Core, faults: Faults) -> None:
    """Serve the API under its own paths, and for sessions of a web server under ``/func``."""

    def bind(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def bound(request: web.Request) -> web.StreamResponse:
            return await handler(core, request)

        return bound

    async def execute(request: web.Request) -> web.StreamResponse:
        return await stream.websocket_execute(core, faults, request)

    async def tcp_proxy(request: web.Request) -> web.StreamResponse:
        return await tcpproxy.tcp_proxy(core, faults, request)

    async def events(request: web.Request) -> web.StreamResponse:
        return await stream.session_events(core, faults, request)

    for method, path, handler in (*_WEB, *_STORAGE):
        app.router.add_route(method, path, bind(handler))
    for prefix in ("", "/func"):
        for method, path, handler in _API:
            app.router.add_route(method, prefix + path, bind(handler))
        app.router.add_route("GET", prefix + "/stream/session/{session}/execute", execute)
        app.router.add_route("GET", prefix + "/events/session", events)
        for kind in ("tcpproxy", "httpproxy"):  # one implementation under two paths
            app.router.add_route("GET", f"{prefix}/stream/session/{{session}}/{kind}", tcp_proxy)
