"""What each verb of ``%bai`` takes: one function a verb, which gives a parser its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .words import Parser


def fill_nothing(parser: Parser) -> None:
    """The verb takes no words."""


def fill_ps(parser: Parser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--running", action="store_true", help="those that run or are about to")
    choice.add_argument(
        "--dead", action="store_true", help="those that have ended or were cancelled"
    )
    parser.kinds["status"] = "status"
    choice.add_argument(
        "-s", "--status", metavar="STATUS,…", help="those with one of these statuses"
    )
    add = parser.add
    add("-a", "--all", action="store_true", help="all of them: every page, and every status")
    add("--limit", type=int, metavar="N", help="at most so many (default: 10)")
    add("--offset", type=int, default=0, metavar="N", help="leave out the first so many")
    add("--access-key", metavar="KEY", help="another user's, for administrators; * for everybody's")
    add("--detail", action="store_true", help="more columns, and whole ids")
    add(
        *("-f", "--format"),
        metavar="COLUMN,…",
        completes="column",
        help="these columns, such as name,status,tag",
    )
    add("--name-only", action="store_true", help="the names alone")
    add("--filter", metavar="TEXT", default="", help="such as 'name ilike \"nb-%%\"'")
    add("--order", metavar="TEXT", default="", help="such as -created_at,name")


def fill_mine(parser: Parser) -> None:
    """One session of one's own."""
    # Servers run code in a user's own sessions only, so there is no owner to name.
    parser.add(
        "session", metavar="SESSION", completes="session", help="name or id, or its beginning"
    )


def fill_session(parser: Parser) -> None:
    """One session, of one's own or, for administrators, of somebody else."""
    fill_mine(parser)
    _owner(parser)


def _owner(parser: Parser) -> None:
    parser.add(
        *("--owner", "--access-key"),
        dest="owner",
        metavar="KEY",
        help="access key of its owner, for administrators",
    )


def fill_logs(parser: Parser) -> None:
    fill_session(parser)
    parser.add("-f", "--follow", action="store_true", help="go on until it ends or is interrupted")


def fill_events(parser: Parser) -> None:
    parser.add(
        "session",
        nargs="?",
        metavar="SESSION",
        completes="session",
        help="name or id; may be left out with --all",
    )
    _owner(parser)
    parser.add(
        "--all",
        action="store_true",
        help="go on to its end, not only until it runs; without SESSION: of all sessions",
    )


def fill_rm(parser: Parser) -> None:
    parser.add("sessions", nargs="+", metavar="SESSION", completes="session", help="names or ids")
    parser.add("-f", "--forced", action="store_true", help="also those that are stuck")
    _owner(parser)


def fill_rename(parser: Parser) -> None:
    fill_session(parser)
    parser.add("name", metavar="NAME", help="the new name, 4 to 64 letters, digits, . _ -")


def _make(parser: Parser) -> None:
    """Add what starting a session takes, the same for ``run`` and ``start``."""
    add = parser.add
    add("-t", "--name", metavar="NAME", help="name of the session (default: made up)")
    add(
        *("-r", "--resource", "--resources"),
        dest="resource",
        action="append",
        default=[],
        metavar="NAME=AMOUNT",
        completes="slot",
        help="such as cpu=2, mem=4g, gpu=0.5; may be repeated",
    )
    add(
        "--resource-opts",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="such as shmem=256m; may be repeated",
    )
    add(
        *("-e", "--env"),
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="environment variable; KEY alone takes the value it has here; may be repeated",
    )
    add(
        *("-m", "-v", "--mount", "--volume"),
        dest="mount",
        action="append",
        default=[],
        metavar="FOLDER[:PATH]",
        completes="folder",
        help="virtual folder to mount; may be repeated",
    )
    add("--preopen", metavar="PORT,…", help="ports that programs in the session will listen on")
    add("--cluster-size", type=int, default=1, metavar="N", help="containers (default: 1)")
    add(
        "--cluster-mode",
        choices=("single-node", "multi-node"),
        default="single-node",
        help="where its containers run",
    )
    add("--tag", metavar="TEXT", help="a word of your own about it")
    add(
        "--bootstrap-script",
        metavar="FILE",
        completes="path",
        help="script that runs in the container first",
    )
    add(
        *("--scaling-group", "--sgroup"),
        dest="scaling_group",
        metavar="NAME",
        completes="scaling_group",
        help="where it runs",
    )
    add("-g", "--project", "--group", dest="project", metavar="NAME", help="project it belongs to")
    add("-d", "--domain", metavar="NAME", help="domain it belongs to")
    add("--arch", metavar="NAME", help="processor of the image, such as x86_64")
    add("--no-reuse", action="store_true", help="refuse when the name is taken")
    add("--enqueue-only", action="store_true", help="do not wait for it, and execute nothing")
    add(
        "--max-wait",
        type=float,
        metavar="SECONDS",
        help="wait so long for it at most; then it stays queued",
    )


def fill_gc(parser: Parser) -> None:
    parser.add("-n", "--dry-run", action="store_true", help="tell what there is, end nothing")
    parser.add(
        *("-a", "--all"),
        action="store_true",
        help="also of kernels that may come back, and of other computers that have fallen silent",
    )


def fill_keepalive(parser: Parser) -> None:
    parser.add(
        "--for",
        dest="period",
        metavar="TIME",
        help="go on for so long, such as 90m or 8h, while this kernel lives",
    )
    parser.add("--off", action="store_true", help="go on no longer")


def fill_retry(parser: Parser) -> None:
    parser.add(
        *("-r", "--resource", "--resources"),
        dest="resource",
        action="append",
        default=[],
        metavar="NAME=AMOUNT",
        completes="slot",
        help="for the new session, in place of what is proposed; may be repeated",
    )
    parser.add("--no-run", action="store_true", help="do not run the lost cell again")


def fill_replay(parser: Parser) -> None:
    parser.add(
        "cell",
        nargs="?",
        type=int,
        metavar="CELL",
        help="number of the cell; the last one if left out",
    )


def fill_start(parser: Parser) -> None:
    parser.add("image", metavar="IMAGE", completes="image", help="full reference or short name")
    _make(parser)


def fill_run(parser: Parser) -> None:
    add = parser.add
    add(
        "image",
        nargs="?",
        metavar="IMAGE",
        completes="image",
        help="full reference or short name; not with --session",
    )
    add("files", nargs="*", metavar="FILE", completes="path", help="files and folders to send")
    add("-c", "--code", metavar="CODE", help="run this; in a cell, its body")
    add(
        "--session",
        metavar="SESSION",
        completes="session",
        help="run in this one, which runs already",
    )
    add("--exec", metavar="CMD", default="*", help="execute this (default: python main.py)")
    add(
        "--build",
        metavar="CMD",
        default="*",
        help="before it, this (default: make, if there is one)",
    )
    add("--clean", metavar="CMD", default="*", help="before all, this (default: nothing)")
    add("--basedir", metavar="FOLDER", completes="path", help="files keep their path below it")
    add(
        *("-o", "--output"),
        action="append",
        default=[],
        metavar="NAME",
        help="bring this variable back; may be repeated",
    )
    add("--rm", action="store_true", help="end the session afterwards")
    add("--terminal", action="store_true", help="not possible in a notebook; says what is")
    _make(parser)


def fill_app(parser: Parser) -> None:
    add = parser.add
    add("session", nargs="?", metavar="SESSION", completes="session", help="name or id")
    add("app", nargs="?", metavar="APP", completes="app", help="as `%%bai apps SESSION` lists it")
    add(
        *("-b", "--bind"),
        metavar="[ADDR:]PORT",
        help="where to listen (default: 127.0.0.1 and the app's own port); a port that is taken is "
        "replaced by the next one that is free",
    )
    add(
        "--arg",
        action="append",
        default=[],
        metavar="--OPTION[=VALUE]",
        help="an argument for the app's start, as --arg=--option=value; may be repeated",
    )
    add(
        *("-e", "--env"),
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an environment variable for the app's start; may be repeated",
    )
    add(
        "--stop",
        action="store_true",
        help="close what this kernel has opened; with SESSION and APP, or the number of a port: that",
    )


def fill_apps(parser: Parser) -> None:
    parser.add(
        "session",
        nargs="?",
        metavar="SESSION",
        completes="session",
        help="what it offers; without: what is open at ports of this computer",
    )


def fill_upload(parser: Parser) -> None:
    from backendai_kernel import filewords

    filewords.fill_upload(parser.add)


def fill_download(parser: Parser) -> None:
    from backendai_kernel import filewords

    filewords.fill_download(parser.add)


def fill_ls(parser: Parser) -> None:
    from backendai_kernel import filewords

    filewords.fill_ls(parser.add)


def fill_vfolder(parser: Parser) -> None:
    from backendai_kernel import filewords

    filewords.fill_vfolder(parser.add)


def fill_ssh(parser: Parser) -> None:
    fill_mine(parser)
    parser.add(
        "--config",
        nargs="?",
        const="",
        metavar="FILE",
        completes="path",
        help="write OpenSSH's configuration, too: ~/.ssh/config, or this file",
    )


def fill_ssh_key(parser: Parser) -> None:
    parser.add("action", choices=("use",), metavar="use", help="use: new sessions let this key in")
    parser.add("file", metavar="FILE", completes="path", help="the public key")


def fill_exchange(parser: Parser) -> None:
    parser.add("names", nargs="+", metavar="NAME", help="variables")
    parser.add(
        "--session",
        metavar="SESSION",
        completes="session",
        help="another one than this notebook's",
    )
    parser.add(
        "--pickle",
        action="store_true",
        help="also what is no plain data; pull it only from a session that you trust",
    )


def fill_images(parser: Parser) -> None:
    parser.add(
        "pattern", nargs="?", default="", metavar="PATTERN", help="part of a name, or with * and ?"
    )


def fill_resources(parser: Parser) -> None:
    parser.add("-g", "--project", metavar="NAME", help="another project than your own")


def fill_panel(parser: Parser) -> None:
    from .panels import PARTS

    add = parser.add
    add(
        "part",
        nargs="?",
        choices=PARTS,
        metavar="PART",
        help=f"one of {', '.join(PARTS)} (default: all of them, in tabs)",
    )
    add("--sidecar", action="store_true", help="beside the notebook; needs JupyterLab's sidecar")


def fill_login(parser: Parser) -> None:
    add = parser.add
    add("--endpoint", metavar="URL", help="such as https://manager.example.com")
    add(
        "--type",
        choices=("api", "session"),
        default="api",
        help="api: a keypair; session: a user name and a password (default: api)",
    )
    add("--access-key", metavar="KEY", help="of the keypair, with --type api")
    add("--username", metavar="NAME", help="with --type session")
    add("--domain", metavar="NAME", help="domain of the sessions")
    add("--project", "--group", dest="project", metavar="NAME", help="project of the sessions")


def fill_help(parser: Parser) -> None:
    parser.add("verb", nargs="?", metavar="VERB", completes="verb", help="tell of this one")
