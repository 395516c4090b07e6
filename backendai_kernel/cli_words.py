"""The words of ``backendai-kernel``: its commands and their options."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import __version__, cli_apps, cli_files, cli_ssh

FILE_COMMANDS = {
    "upload": "Send files and folders into a session.",
    "download": "Bring files and folders of a session here.",
    "ls": "List a folder of a session.",
    "vfolder": "Make, fill, list, share and delete virtual folders.",
}
"""Command → what it does; the commands that move files."""

SERVE = "serve"
"""The command that has a command line of its own."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line, all but what ``serve`` takes."""
    parser = argparse.ArgumentParser(
        "backendai-kernel",
        description="Jupyter kernels whose cells run in Backend.AI sessions.",
        epilog="`backendai-kernel COMMAND -h` tells the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=description[0].lower() + description[1:].rstrip("."),
            description=description,
            allow_abbrev=False,
        )

    _add_install(add("install", "Add a kernel to Jupyter's launcher."))
    _add_place(add("list", "List the kernels that were installed by this program."))
    _add_uninstall(add("uninstall", "Remove kernels that were installed by this program."))
    _add_login(add("login", "Log in to a Backend.AI cluster and remember it."))
    add("logout", "Forget the cluster that login has remembered.")
    _add_gc(add("gc", "End the sessions that killed kernels left behind."))
    cli_apps.add_apps(add("apps", "List the apps of a session."))
    cli_apps.add_app(add("app", "Open an app of a session at a port of this computer."))
    cli_ssh.add_ssh(add("ssh", "Open a shell in a session, or run a command there."))
    cli_ssh.add_config(add("ssh-config", "Let ssh, scp, rsync and editors know your sessions."))
    cli_ssh.add_key(add("ssh-key", "Have new sessions let a key of your own in."))
    cli_ssh.add_proxy(add("ssh-proxy", "Connect ssh with a session (ssh-config uses it)."))
    for name, description in FILE_COMMANDS.items():
        cli_files.add_words(name, add(name, description))
    _add_doctor(add("doctor", "Tell what is configured, what answers, and what to do next."))
    commands.add_parser(SERVE, help="serve sessions on this computer", add_help=False)
    return parser


def _add_install(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: backendai-kernel install -r gpu=0.5 -r mem=4g"
    add = parser.add_argument
    add("--profile", default="python", help="what to start from: python, python-gpu")
    add("--image", metavar="REF", help="the sessions' image: full reference or alias")
    add(
        *("-r", "--resource"),
        action="append",
        default=[],
        metavar="NAME=AMOUNT",
        help="such as cpu=2, mem=4g, gpu=0.5; may be repeated",
    )
    add(
        *("-m", "--mount"),
        action="append",
        default=[],
        metavar="FOLDER[:PATH]",
        help="virtual folder of its sessions; may be repeated",
    )
    add(
        *("-e", "--env"),
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="environment variable of its sessions; NAME alone takes the value that it has now; "
        "may be repeated",
    )
    add("--project", default="", help="project of its sessions")
    add("--scaling-group", default="", metavar="NAME", help="where its sessions run")
    add("--name", help="name of the kernelspec (default: made from image and resources)")
    add("--display-name", metavar="TEXT", help="what the launcher shows")
    add(
        "--provisioner",
        action="store_true",
        help="have the Jupyter server wait longer for the kernel's end; the server's environment "
        "must have this package",
    )
    add("--replace", action="store_true", help="replace a kernel of ours with that name")
    _add_place(parser)


def _add_place(parser: argparse.ArgumentParser) -> None:
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--user", action="store_true", help="in your own folder (default)")
    place.add_argument(
        "--sys-prefix",
        action="store_const",
        dest="prefix",
        const=Path(sys.prefix),
        help=f"in this Python environment, {sys.prefix}",
    )
    place.add_argument("--prefix", type=Path, metavar="DIR", help="below another folder")


def _add_uninstall(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="as `list` shows it")
    parser.add_argument("--all", action="store_true", help="every one of ours")
    parser.add_argument("--prefix", type=Path, metavar="DIR", help="look below this folder too")


def _add_login(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "What is not given is asked for; the secret is typed without echo."
    add = parser.add_argument
    add("--endpoint", metavar="URL", help="such as https://manager.example.com")
    add(
        "--type",
        choices=("api", "session"),
        default="api",
        help="api: a keypair, straight to the manager (default); session: a user name and a "
        "password, through the web server",
    )
    add("--access-key", metavar="KEY", help="of the keypair, with --type api")
    add("--username", metavar="NAME", help="with --type session")
    add("--domain", help="domain of the sessions (default: default)")
    add("--group", help="project of the sessions (default: default)")
    add(
        "--secret-from-stdin",
        action="store_true",
        help="read secret key or password as the first line of standard input",
    )


def _add_gc(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-n", "--dry-run", action="store_true", help="tell what there is, end nothing")
    add(
        *("-a", "--all"),
        action="store_true",
        help="also of kernels that may come back, and of other computers that have fallen silent",
    )


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")
