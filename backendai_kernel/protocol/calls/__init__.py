"""One function an API operation: what to send, and what the answer is read as.

A `Call` is a value; `backendai_kernel.client.Client` sends it. Paths are relative to the endpoint.
"""

from .apps import list_apps, open_app, start_service
from .base import Call, Part, encode_parts
from .graphql import (
    SessionDetails,
    SessionPage,
    ToldUsage,
    get_keypair,
    get_session,
    get_session_detail,
    list_images,
    list_sessions,
    list_usage,
)
from .login import LOGIN, LoginAnswer, check_login, login, logout
from .resources import (
    Folder,
    Named,
    Preset,
    PresetCheck,
    ScalingGroupUse,
    check_presets,
    get_slot_types,
    get_version,
    list_folders,
    list_scaling_groups,
)
from .running import (
    MOST_PARTS,
    PART_LIMIT,
    download_files,
    execute,
    interrupt,
    list_files,
    upload_files,
)
from .sessions import (
    create_session,
    destroy_session,
    follow_events,
    get_logs,
    get_status_history,
    rename_session,
    restart_session,
)

__all__ = [
    "LOGIN",
    "MOST_PARTS",
    "PART_LIMIT",
    "Call",
    "Folder",
    "LoginAnswer",
    "Named",
    "Part",
    "Preset",
    "PresetCheck",
    "ScalingGroupUse",
    "SessionDetails",
    "SessionPage",
    "ToldUsage",
    "check_login",
    "check_presets",
    "create_session",
    "destroy_session",
    "download_files",
    "encode_parts",
    "execute",
    "follow_events",
    "get_keypair",
    "get_logs",
    "get_session",
    "get_session_detail",
    "get_slot_types",
    "get_status_history",
    "get_version",
    "interrupt",
    "list_apps",
    "list_files",
    "list_folders",
    "list_images",
    "list_scaling_groups",
    "list_sessions",
    "list_usage",
    "login",
    "logout",
    "open_app",
    "rename_session",
    "restart_session",
    "start_service",
    "upload_files",
]
