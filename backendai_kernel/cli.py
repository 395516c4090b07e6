"""``backendai-kernel``: install kernels, log in, find out what is wrong, serve on this computer."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from . import cli_apps, cli_files, cli_ssh, profiles, specs
from .cli_words import FILE_COMMANDS, SERVE, make_parser
from .errors import BackendError, ConfigError
from .variables import read_variables

_PROVISIONER = "backendai-provisioner"  # as in the entry points
_HIDDEN = ("--secret-key", "--secret", "--password")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except BackendError as exc:
        _say_failure(exc.message, exc.hint)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the shell's prompt begins on a line of its own
        return 130
    except EOFError:
        _say_failure("The input ended before everything was asked.")
        return 1


def _run(words: list[str]) -> int:
    if words[:1] == [SERVE]:
        return _serve(words[1:])
    parser = make_parser()
    if words and not words[0].startswith("-") and words[0] not in _COMMANDS:
        return _unknown(words[0])
    if any(word.partition("=")[0] in _HIDDEN for word in words):
        # argparse would repeat the secret in its complaint
        _say_failure(
            "A secret is never part of a command line: others can read it there.",
            "It is asked for without echo; for scripts there is --secret-from-stdin.",
        )
        return 2
    options = parser.parse_args(words)
    if options.command is None:
        parser.print_help()
        return 2
    command: Callable[[argparse.Namespace], int] = _COMMANDS[options.command]
    return command(options)


def _unknown(word: str) -> int:
    names = [*_COMMANDS, SERVE]
    close = difflib.get_close_matches(word, names, n=1)
    known = ", ".join(names)
    hint = f"Did you mean {close[0]!r}?" if close else f"The commands are {known}."
    _say_failure(f"There is no command {word!r}.", hint)
    return 2


# -- commands ---------------------------------------------------------------------------------


def _install(options: argparse.Namespace) -> int:
    for word in ("image", "name", "display_name"):  # a variable of the shell that is not set
        if getattr(options, word) == "":
            option = word.replace("_", "-")
            raise ConfigError(f"--{option} is empty.", hint="Give it a value, or leave it out.")
    values = read_variables(options.env, os.environ)
    profile = profiles.resolve_profile(
        options.profile,
        image=options.image,
        resources=options.resource,
        mounts=options.mount,
        environ=values,
        project=options.project,
        scaling_group=options.scaling_group,
    )
    name = options.name or profiles.default_name(profile)
    if options.display_name:
        profile = replace(profile, display_name=options.display_name)
    spec = specs.install(
        profile,
        name=name,
        prefix=options.prefix,
        is_replaced=options.replace,
        provisioner=_PROVISIONER if options.provisioner else "",
        values=values,
    )
    _say(f"✓ Installed {spec.display_name!r} as {spec.name} in {_shown(spec.folder)}.")
    if options.provisioner:
        _say("! Only a Jupyter server whose environment has this package shows it; others hide it.")
    if spec.folder not in {each.folder for each in specs.installed()}:
        _say(
            "! Jupyter does not look there by itself.",
            f"Set JUPYTER_PATH={options.prefix / 'share' / 'jupyter'}",
        )
    else:
        _say("  Choose it in Jupyter's launcher; `backendai-kernel doctor` tells if it can run.")
    return 0


def _list(options: argparse.Namespace) -> int:
    found = specs.installed(prefix=options.prefix)
    if options.user:
        found = [spec for spec in found if spec.folder.parent == specs.kernels_folder()]
    if not found:
        _say("Jupyter finds no kernels of ours.", "Run: backendai-kernel install")
        return 0
    rows = [("NAME", "DISPLAY NAME", "IMAGE", "RESOURCES", "WHERE")]
    for spec in found:
        resources = " ".join(f"{name}={amount}" for name, amount in spec.resources.items())
        where = _shown(spec.folder.parent) + " (hidden by the one above)" * spec.is_shadowed
        rows.append((spec.name, spec.display_name, spec.image, resources or "-", where))
    _say(*_table(rows))
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    if options.all == bool(options.names):
        _say_failure("Say which kernels to remove.", "Name them, or use --all.")
        return 2
    names: Iterable[str] | None = None if options.all else options.names
    removal = specs.uninstall(names, prefix=options.prefix)
    for spec in removal.removed:
        _say(f"✓ Removed {spec.name} from {_shown(spec.folder.parent)}.")
    for name, reason in removal.left.items():
        _say_failure(f"Left {name} alone: {reason}.")
    if options.all and not removal.removed:
        _say("There are no kernels of ours.")
    return 1 if removal.left else 0


def _login(options: argparse.Namespace) -> int:
    from .login import Wish, login

    wish = Wish(
        kind=options.type,
        endpoint=options.endpoint,
        user=options.access_key if options.type == "api" else options.username,
        domain=options.domain,
        group=options.group,
        is_piped=options.secret_from_stdin,
    )
    if options.username if options.type == "api" else options.access_key:
        raise ConfigError(
            "--access-key belongs to --type api, and --username to --type session.",
            hint="`backendai-kernel login -h` tells the options.",
        )
    account, path = login(wish, os.environ)
    _say(
        f"✓ You are {account}.",
        f"✓ Wrote {_shown(path)}, which only you can read.",
        *_overriding(os.environ),
        "  Choose Backend.AI Python in Jupyter's launcher; `backendai-kernel doctor` looks closer.",
    )
    return 0


def _overriding(environ: Mapping[str, str]) -> list[str]:
    """Return a warning when the environment wins over the profile that was just written."""
    names = ("ENDPOINT", "ENDPOINT_TYPE", "ACCESS_KEY", "SECRET_KEY")
    found = [f"BACKEND_{name}" for name in names if environ.get(f"BACKEND_{name}")]
    if not found:
        return []
    return [f"! {', '.join(found)} in the environment will win over it; unset it to use the login."]


def _logout(options: argparse.Namespace) -> int:
    from .login import logout

    goodbye = logout(os.environ)
    if goodbye.complaint:
        _say(f"! The server was not told: {goodbye.complaint}")
    for path in goodbye.removed:
        _say(f"✓ Removed {_shown(path)}.")
    if not goodbye.removed:
        _say("You were not logged in.")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from . import doctor

    marks = {doctor.OK: "✓", doctor.WARNING: "!", doctor.PROBLEM: "✗"}

    async def examine() -> list[doctor.Fact]:
        facts = []
        async for fact in doctor.examine(os.environ, Path.cwd()):
            facts.append(fact)
            if not options.json:
                _say(f"{marks[fact.state]} {fact.topic}: {fact.text}")
                if fact.advice:
                    _say(f"  → {fact.advice}")
        return facts

    facts = asyncio.run(examine())
    if options.json:
        _say(doctor.as_json(facts))
    return 1 if doctor.has_problem(facts) else 0


def _gc(options: argparse.Namespace) -> int:
    from .orphans import FAILED, collect
    from .outcomes import orphan_table

    outcomes = asyncio.run(
        collect(os.environ, cwd=Path.cwd(), is_dry=options.dry_run, is_all=options.all)
    )
    text = repr(orphan_table(outcomes, is_dry=options.dry_run))
    _say(*text.replace("`%bai gc`", "`backendai-kernel gc`").splitlines())
    return 1 if any(each.outcome == FAILED for each in outcomes) else 0


def _apps(options: argparse.Namespace) -> int:
    return asyncio.run(cli_apps.apps(options, _say))


def _app(options: argparse.Namespace) -> int:
    return asyncio.run(cli_apps.app(options, _say, _warn))


def _ssh(options: argparse.Namespace) -> int:
    return asyncio.run(cli_ssh.ssh(options, _warn))


def _ssh_config(options: argparse.Namespace) -> int:
    return asyncio.run(cli_ssh.config(options, _say))


def _ssh_key(options: argparse.Namespace) -> int:
    return asyncio.run(cli_ssh.key(options, _say))


def _ssh_proxy(options: argparse.Namespace) -> int:
    return asyncio.run(cli_ssh.proxy(options, _warn))


def _files(options: argparse.Namespace) -> int:
    return asyncio.run(cli_files.perform(options.command, options, _say, _warn))


def _serve(words: list[str]) -> int:
    """Run the embedded manager, which has a command line of its own."""
    try:
        from .local.serve import main as serve
    except ModuleNotFoundError as exc:
        if exc.name != "psutil":
            raise
        raise ConfigError(
            "The embedded manager needs psutil, which is not installed.",
            hint="Run: pip install 'backendai-kernel[local]'",
        ) from exc
    return serve(words)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "install": _install,
    "list": _list,
    "uninstall": _uninstall,
    "login": _login,
    "logout": _logout,
    "gc": _gc,
    "apps": _apps,
    "app": _app,
    "ssh": _ssh,
    "ssh-config": _ssh_config,
    "ssh-key": _ssh_key,
    "ssh-proxy": _ssh_proxy,
    "doctor": _doctor,
    **dict.fromkeys(FILE_COMMANDS, _files),
}


# -- output -----------------------------------------------------------------------------------


def _say(*lines: str) -> None:
    for line in lines:
        print(_writable(line, sys.stdout.encoding), flush=True)


def _warn(*lines: str) -> None:
    for line in lines:
        print(_writable(line, sys.stderr.encoding), file=sys.stderr, flush=True)


def _say_failure(message: str, hint: str = "") -> None:
    print(_writable(f"✗ {message}", sys.stderr.encoding), file=sys.stderr)
    if hint:
        print(_writable(f"  {hint}", sys.stderr.encoding), file=sys.stderr)


def _writable(text: str, encoding: str | None) -> str:
    """Return the text in characters that the terminal has."""
    encoding = encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for mark, plain in {"✓": "ok", "✗": "x", "→": "->", "…": "..."}.items():
            text = text.replace(mark, plain)
        return text.encode(encoding, "replace").decode(encoding)
    return text


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _shown(path: Path) -> str:
    """Return a path as people write it, with ``~`` for the home folder."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # elsewhere, or there is no home
        return str(path)


if __name__ == "__main__":
    raise SystemExit(main())
