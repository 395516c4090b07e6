"""The words of the verbs about files, the same for notebooks and for the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MANY = 10_000

ACTIONS: dict[str, tuple[int, int, str]] = {
    "list": (0, 0, ""),
    "create": (1, 1, "NAME"),
    "info": (1, 1, "NAME"),
    "delete": (1, _MANY, "NAME…"),
    "restore": (1, 1, "NAME"),
    "rename": (2, 2, "NAME NEW"),
    "ls": (1, 2, "NAME [PATH]"),
    "upload": (2, _MANY, "NAME FILE…"),
    "download": (1, _MANY, "NAME [PATH…]"),
    "mkdir": (2, _MANY, "NAME PATH…"),
    "rm": (2, _MANY, "NAME PATH…"),
    "mv": (3, 3, "NAME PATH NEW"),
    "share": (2, _MANY, "NAME EMAIL…"),
    "unshare": (2, _MANY, "NAME EMAIL…"),
    "leave": (1, 1, "NAME"),
    "invitations": (0, 0, ""),
    "accept": (1, 1, "NAME"),
    "decline": (1, 1, "NAME"),
}
"""Second word of ``vfolder`` → the least and the most words that it takes, and what they are."""

Add = Callable[..., Any]


def fill_upload(add: Add) -> None:
    """Declare the words of ``upload``; *add* takes ``completes`` besides what argparse does."""
    add("session", metavar="SESSION", completes="session", help="name or id")
    add("files", nargs="+", metavar="FILE", completes="path", help="files and folders to send")
    add("--to", metavar="DIR", help="folder below the session's work folder")


def fill_download(add: Add) -> None:
    """Declare the words of ``download``."""
    add("session", metavar="SESSION", completes="session", help="name or id")
    add("paths", nargs="+", metavar="PATH", completes="remote", help="from its work folder on")
    add("--to", metavar="DIR", completes="path", help="folder of this computer (default: this one)")
    add("--limit", metavar="SIZE", help="refuse more than this (default: 16g)")


def fill_ls(add: Add) -> None:
    """Declare the words of ``ls``."""
    add("session", metavar="SESSION", completes="session", help="name or id")
    add(
        "path",
        nargs="?",
        default=".",
        metavar="PATH",
        completes="remote",
        help="from its work folder on (default: that)",
    )


def fill_vfolder(add: Add) -> None:
    """Declare the words of ``vfolder``."""
    uses = "; ".join(f"{name} {each[2]}".strip() for name, each in ACTIONS.items())
    add("action", choices=tuple(ACTIONS), metavar="WHAT", help=uses)
    add("words", nargs="*", metavar="WORD", completes="vfolder", help="what it takes")
    add("--to", metavar="DIR", help="upload, download: the folder that files come into")
    add("--limit", metavar="SIZE", help="download: refuse more than this (default: 16g)")
    add("--host", metavar="NAME", help="create: the storage host")
    add("-g", "--project", metavar="NAME", help="create: a folder of this project")
    add(
        "--permission",
        choices=("ro", "rw", "wd"),
        help="create, share: ro to read, rw to write, wd to delete too",
    )
    add(
        "--usage-mode",
        choices=("general", "data", "model"),
        default="general",
        help="create: what it is for (default: general)",
    )
    add("-r", "--recursive", action="store_true", help="rm: folders with all in them")
    add("--forever", action="store_true", help="delete: not into the trash")
    add("--trash", action="store_true", help="list, delete: what lies in the trash")
