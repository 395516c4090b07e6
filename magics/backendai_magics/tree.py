"""All verbs of ``%bai`` and their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .words import Parser


class Verb(NamedTuple):
    """One thing that ``%bai`` does.

    Attributes:
        summary: What it does, as a sentence.
        fill: Gives a parser its arguments.
        run: Where it is done: module in this package and function, imported when it is used.
        others: Names that mean the same.
        has_cell: There is a cell form, ``%%bai VERB``.
        example: A line to copy.
    """

    name: str
    summary: str
    fill: Callable[[Parser], None]
    run: str
    others: tuple[str, ...] = ()
    has_cell: bool = False
    example: str = ""

    def parser(self) -> Parser:
        """Return a new parser for its words."""
        from .words import Parser

        parser = Parser(
            f"%bai {self.name}",
            self.summary,
            f"Example: {self.example}" if self.example else "",
        )
        self.fill(parser)
        return parser


def _nothing(parser: Parser) -> None:
    """The verb takes no words."""


def _ps(parser: Parser) -> None:
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


def _mine(parser: Parser) -> None:
    # Servers run code in a user's own sessions only, so there is no owner to name.
    parser.add(
        "session", metavar="SESSION", completes="session", help="name or id, or its beginning"
    )


def _session(parser: Parser) -> None:
    _mine(parser)
    _owner(parser)


def _owner(parser: Parser) -> None:
    parser.add(
        *("--owner", "--access-key"),
        dest="owner",
        metavar="KEY",
        help="access key of its owner, for administrators",
    )


def _info(parser: Parser) -> None:
    _session(parser)


def _logs(parser: Parser) -> None:
    _session(parser)
    parser.add("-f", "--follow", action="store_true", help="go on until it ends or is interrupted")


def _events(parser: Parser) -> None:
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


def _rm(parser: Parser) -> None:
    parser.add("sessions", nargs="+", metavar="SESSION", completes="session", help="names or ids")
    parser.add("-f", "--forced", action="store_true", help="also those that are stuck")
    _owner(parser)


def _rename(parser: Parser) -> None:
    _session(parser)
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
        help="environment variable; may be repeated",
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


def _gc(parser: Parser) -> None:
    parser.add("-n", "--dry-run", action="store_true", help="tell what there is, end nothing")
    parser.add(
        *("-a", "--all"),
        action="store_true",
        help="also of kernels that may come back, and of other computers that have fallen silent",
    )


def _keepalive(parser: Parser) -> None:
    parser.add(
        "--for",
        dest="period",
        metavar="TIME",
        help="go on for so long, such as 90m or 8h, while this kernel lives",
    )
    parser.add("--off", action="store_true", help="go on no longer")


def _retry(parser: Parser) -> None:
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


def _replay(parser: Parser) -> None:
    parser.add(
        "cell",
        nargs="?",
        type=int,
        metavar="CELL",
        help="number of the cell; the last one if left out",
    )


def _start(parser: Parser) -> None:
    parser.add("image", metavar="IMAGE", completes="image", help="full reference or short name")
    _make(parser)


def _run(parser: Parser) -> None:
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


def _app(parser: Parser) -> None:
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


def _apps(parser: Parser) -> None:
    parser.add(
        "session",
        nargs="?",
        metavar="SESSION",
        completes="session",
        help="what it offers; without: what is open at ports of this computer",
    )


def _upload(parser: Parser) -> None:
    from backendai_kernel.filewords import fill_upload

    fill_upload(parser.add)


def _download(parser: Parser) -> None:
    from backendai_kernel.filewords import fill_download

    fill_download(parser.add)


def _ls(parser: Parser) -> None:
    from backendai_kernel.filewords import fill_ls

    fill_ls(parser.add)


def _vfolder(parser: Parser) -> None:
    from backendai_kernel.filewords import fill_vfolder

    fill_vfolder(parser.add)


def _ssh(parser: Parser) -> None:
    _mine(parser)
    parser.add(
        "--config",
        nargs="?",
        const="",
        metavar="FILE",
        completes="path",
        help="write OpenSSH's configuration, too: ~/.ssh/config, or this file",
    )


def _ssh_key(parser: Parser) -> None:
    parser.add("action", choices=("use",), metavar="use", help="use: new sessions let this key in")
    parser.add("file", metavar="FILE", completes="path", help="the public key")


def _exchange(parser: Parser) -> None:
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


def _images(parser: Parser) -> None:
    parser.add(
        "pattern", nargs="?", default="", metavar="PATTERN", help="part of a name, or with * and ?"
    )


def _resources(parser: Parser) -> None:
    parser.add("-g", "--project", metavar="NAME", help="another project than your own")


def _panel(parser: Parser) -> None:
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


def _login(parser: Parser) -> None:
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


def _help(parser: Parser) -> None:
    parser.add("verb", nargs="?", metavar="VERB", completes="verb", help="tell of this one")


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "ps",
            "List your sessions, the first ten that have not ended.",
            _ps,
            "listings:ps",
            example="x = %bai ps --all --dead",
        ),
        Verb(
            "run",
            "Run code or programs in a session, a new one or one that runs.",
            _run,
            "running:run",
            has_cell=True,
            example='%bai run python -r mem=1g --rm -c "print(6 * 7)"',
        ),
        Verb(
            "start",
            "Start a session and wait until it runs.",
            _start,
            "running:start",
            ("create",),
            example="%bai start python -t train -r cpu=2 -r mem=4g -r gpu=0.5",
        ),
        Verb(
            "rm",
            "End sessions; those that still wait are cancelled.",
            _rm,
            "lifecycle:rm",
            ("destroy", "kill", "terminate"),
            example="%bai rm train",
        ),
        Verb(
            "info", "Tell all about a session.", _info, "listings:info", example="%bai info train"
        ),
        Verb(
            "logs",
            "Show what a session's container has logged.",
            _logs,
            "lifecycle:logs",
            example="%bai logs -f train",
        ),
        Verb(
            "events",
            "Tell what happens to a session, live, until it runs or ends.",
            _events,
            "lifecycle:events",
            example="%bai events train",
        ),
        Verb(
            "interrupt",
            "Interrupt the code that runs in a session.",
            _session,
            "lifecycle:interrupt",
            example="%bai interrupt train",
        ),
        Verb(
            "restart",
            "Give a session a fresh interpreter; its files stay.",
            _session,
            "lifecycle:restart",
            example="%bai restart train",
        ),
        Verb(
            "rename",
            "Give a running session another name.",
            _rename,
            "lifecycle:rename",
            example="%bai rename train train-2",
        ),
        Verb(
            "keepalive",
            "Give this notebook's session more time before it ends as idle.",
            _keepalive,
            "lasting:keepalive",
            example="%bai keepalive --for 8h",
        ),
        Verb(
            "retry",
            "Run the cell again whose session has ended, in a new session.",
            _retry,
            "lasting:retry",
            example="%bai retry -r mem=8g",
        ),
        Verb(
            "replay",
            "Show the output of a cell again, also what came while no kernel was there.",
            _replay,
            "lasting:replay",
            example="%bai replay",
        ),
        Verb(
            "gc",
            "Find the sessions that killed kernels left behind, and end them.",
            _gc,
            "lifecycle:gc",
            example="%bai gc --dry-run",
        ),
        Verb(
            "app",
            "Open an app of a session at a port of this computer, or close it.",
            _app,
            "apps:app",
            example="%bai app train jupyterlab -b 8080",
        ),
        Verb(
            "apps",
            "List the apps that are open, or those that a session offers.",
            _apps,
            "apps:apps",
            example="%bai apps train",
        ),
        Verb(
            "upload",
            "Send files and folders of this computer into a session.",
            _upload,
            "files:upload",
            example="%bai upload train data/ main.py --to project",
        ),
        Verb(
            "download",
            "Bring files and folders of a session here.",
            _download,
            "files:download",
            example="%bai download train results --to results-1",
        ),
        Verb(
            "ls",
            "List a folder of a session.",
            _ls,
            "files:ls",
            example="%bai ls train results",
        ),
        Verb(
            "vfolder",
            "Make, fill, list, share and delete virtual folders.",
            _vfolder,
            "files:vfolder",
            example="%bai vfolder upload data images/ --to train",
        ),
        Verb(
            "ssh",
            "Prepare SSH into a session, and tell what to type.",
            _ssh,
            "ssh:ssh",
            example="%bai ssh train",
        ),
        Verb(
            "ssh-key",
            "Have new sessions let a key of your own in.",
            _ssh_key,
            "ssh:ssh_key",
            example="%bai ssh-key use ~/.ssh/id_ed25519.pub",
        ),
        Verb(
            "push",
            "Set variables of a session to what they are here.",
            _exchange,
            "exchange:push",
            example="%bai push frame weights --session train",
        ),
        Verb(
            "pull",
            "Set variables here to what they are in a session.",
            _exchange,
            "exchange:pull",
            example="%bai pull history --session train",
        ),
        Verb(
            "images",
            "List the images that sessions can be made from.",
            _images,
            "listings:images",
            example="%bai images pytorch",
        ),
        Verb(
            "resources",
            "Tell what you may use, what you use, and what is free.",
            _resources,
            "listings:resources",
        ),
        Verb(
            "panel",
            "Open a panel with sessions, a launcher, resources, apps, folders and SSH.",
            _panel,
            "panels.verb:panel",
            example="%bai panel sessions",
        ),
        Verb(
            "attach",
            "Have this notebook's cells run in a session that runs already.",
            _mine,
            "settings:attach",
            example="%bai attach train",
        ),
        Verb("detach", "Go back to this notebook's own session.", _nothing, "settings:detach"),
        Verb("config", "Tell the settings and where they come from.", _nothing, "settings:config"),
        Verb(
            "login",
            "Log in to a cluster and remember it; ask for what is missing.",
            _login,
            "settings:login",
            example="%bai login --endpoint https://manager.example.com",
        ),
        Verb(
            "doctor",
            "Find out what is configured, what answers, and what to do next.",
            _nothing,
            "settings:doctor",
        ),
        Verb("help", "List the verbs, or tell of one.", _help, "settings:help"),
    )
}
"""Name → verb, in the order of the help."""

ALIASES = {other: verb.name for verb in VERBS.values() for other in verb.others}

GROUPS: dict[str, dict[str, str]] = {
    "session": {
        "list": "ps",
        "create": "start",
        "destroy": "rm",
        **{
            name: name
            for name in (
                "run",
                "info",
                "logs",
                "events",
                "restart",
                "rename",
                "upload",
                "download",
                "ls",
            )
        },
    },
    "admin": {"sessions": "ps"},
}
"""First word → second word → verb, for who knows the official command line by heart."""


def overview() -> str:
    """Return the list of all verbs."""
    width = max(map(len, VERBS))
    lines = [f"  {verb.name.ljust(width)}  {verb.summary}" for verb in VERBS.values()]
    return "\n".join(
        [
            "%bai           tell where this notebook's cells run",
            "%bai VERB …    do one of these; `%bai VERB -h` tells how",
            "x = %bai …     keep the value: it has .df() and .to_dict()",
            "",
            *lines,
        ]
    )
