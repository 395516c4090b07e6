"""All verbs of ``%bai``, in the order of the help."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from . import arguments

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


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "ps",
            "List your sessions, the first ten that have not ended.",
            arguments.fill_ps,
            "listings:ps",
            example="x = %bai ps --all --dead",
        ),
        Verb(
            "run",
            "Run code or programs in a session, a new one or one that runs.",
            arguments.fill_run,
            "running:run",
            has_cell=True,
            example='%bai run python -r mem=1g --rm -c "print(6 * 7)"',
        ),
        Verb(
            "start",
            "Start a session and wait until it runs.",
            arguments.fill_start,
            "running:start",
            ("create",),
            example="%bai start python -t train -r cpu=2 -r mem=4g -r gpu=0.5",
        ),
        Verb(
            "rm",
            "End sessions; those that still wait are cancelled.",
            arguments.fill_rm,
            "lifecycle:rm",
            ("destroy", "kill", "terminate"),
            example="%bai rm train",
        ),
        Verb(
            "info",
            "Tell all about a session.",
            arguments.fill_session,
            "listings:info",
            example="%bai info train",
        ),
        Verb(
            "logs",
            "Show what a session's container has logged.",
            arguments.fill_logs,
            "lifecycle:logs",
            example="%bai logs -f train",
        ),
        Verb(
            "events",
            "Tell what happens to a session, live, until it runs or ends.",
            arguments.fill_events,
            "lifecycle:events",
            example="%bai events train",
        ),
        Verb(
            "interrupt",
            "Interrupt the code that runs in a session.",
            arguments.fill_session,
            "lifecycle:interrupt",
            example="%bai interrupt train",
        ),
        Verb(
            "restart",
            "Give a session a fresh interpreter; its files stay.",
            arguments.fill_session,
            "lifecycle:restart",
            example="%bai restart train",
        ),
        Verb(
            "rename",
            "Give a running session another name.",
            arguments.fill_rename,
            "lifecycle:rename",
            example="%bai rename train train-2",
        ),
        Verb(
            "keepalive",
            "Give this notebook's session more time before it ends as idle.",
            arguments.fill_keepalive,
            "lasting:keepalive",
            example="%bai keepalive --for 8h",
        ),
        Verb(
            "retry",
            "Run the cell again whose session has ended, in a new session.",
            arguments.fill_retry,
            "lasting:retry",
            example="%bai retry -r mem=8g",
        ),
        Verb(
            "replay",
            "Show the output of a cell again, also what came while no kernel was there.",
            arguments.fill_replay,
            "lasting:replay",
            example="%bai replay",
        ),
        Verb(
            "gc",
            "Find the sessions that killed kernels left behind, and end them.",
            arguments.fill_gc,
            "lifecycle:gc",
            example="%bai gc --dry-run",
        ),
        Verb(
            "app",
            "Open an app of a session at a port of this computer, or close it.",
            arguments.fill_app,
            "apps:app",
            example="%bai app train jupyterlab -b 8080",
        ),
        Verb(
            "apps",
            "List the apps that are open, or those that a session offers.",
            arguments.fill_apps,
            "apps:apps",
            example="%bai apps train",
        ),
        Verb(
            "upload",
            "Send files and folders of this computer into a session.",
            arguments.fill_upload,
            "files:upload",
            example="%bai upload train data/ main.py --to project",
        ),
        Verb(
            "download",
            "Bring files and folders of a session here.",
            arguments.fill_download,
            "files:download",
            example="%bai download train results --to results-1",
        ),
        Verb(
            "ls",
            "List a folder of a session.",
            arguments.fill_ls,
            "files:ls",
            example="%bai ls train results",
        ),
        Verb(
            "vfolder",
            "Make, fill, list, share and delete virtual folders.",
            arguments.fill_vfolder,
            "files:vfolder",
            example="%bai vfolder upload data images/ --to train",
        ),
        Verb(
            "ssh",
            "Prepare SSH into a session, and tell what to type.",
            arguments.fill_ssh,
            "ssh:ssh",
            example="%bai ssh train",
        ),
        Verb(
            "ssh-key",
            "Have new sessions let a key of your own in.",
            arguments.fill_ssh_key,
            "ssh:ssh_key",
            example="%bai ssh-key use ~/.ssh/id_ed25519.pub",
        ),
        Verb(
            "push",
            "Set variables of a session to what they are here.",
            arguments.fill_exchange,
            "exchange:push",
            example="%bai push frame weights --session train",
        ),
        Verb(
            "pull",
            "Set variables here to what they are in a session.",
            arguments.fill_exchange,
            "exchange:pull",
            example="%bai pull history --session train",
        ),
        Verb(
            "images",
            "List the images that sessions can be made from.",
            arguments.fill_images,
            "listings:images",
            example="%bai images pytorch",
        ),
        Verb(
            "resources",
            "Tell what you may use, what you use, and what is free.",
            arguments.fill_resources,
            "listings:resources",
        ),
        Verb(
            "panel",
            "Open a panel with sessions, a launcher, resources, apps, folders and SSH.",
            arguments.fill_panel,
            "panels.verb:panel",
            example="%bai panel sessions",
        ),
        Verb(
            "attach",
            "Have this notebook's cells run in a session that runs already.",
            arguments.fill_mine,
            "settings:attach",
            example="%bai attach train",
        ),
        Verb(
            "detach",
            "Go back to this notebook's own session.",
            arguments.fill_nothing,
            "settings:detach",
        ),
        Verb(
            "config",
            "Tell the settings and where they come from.",
            arguments.fill_nothing,
            "settings:config",
        ),
        Verb(
            "login",
            "Log in to a cluster and remember it; ask for what is missing.",
            arguments.fill_login,
            "settings:login",
            example="%bai login --endpoint https://manager.example.com",
        ),
        Verb(
            "doctor",
            "Find out what is configured, what answers, and what to do next.",
            arguments.fill_nothing,
            "settings:doctor",
        ),
        Verb("help", "List the verbs, or tell of one.", arguments.fill_help, "settings:help"),
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
