"""``config``, ``login``, ``doctor``, ``attach``, ``detach``, ``help``: where and as whom."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from backendai_kernel.errors import ConfigError
from backendai_kernel.tables import Facts, Text

from .asked import Asked
from .connection import here
from .tree import ALIASES, VERBS, overview
from .words import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from backendai_kernel.client import Client
    from backendai_kernel.login import Account


def config(asked: Asked) -> Facts:
    """Return the settings."""
    from backendai_kernel.client import API_VERSION
    from backendai_kernel.describe import config_facts

    async def work(client: Client) -> Facts:
        server = await client.version()
        newest = f"v{API_VERSION[0]}.{API_VERSION[1]}"
        return config_facts(
            client.config, server.version, server.manager, min(newest, server.version)
        )

    return asked.use(work)


def login(asked: Asked) -> Facts:
    """Ask for what is missing, log in, and remember it."""
    from backendai_kernel.login import Wish, log_in

    options = asked.options
    if options.username if options.type == "api" else options.access_key:
        raise ConfigError(
            "--access-key belongs to --type api, and --username to --type session.",
            hint="`%bai login -h` tells the options.",
        )
    wish = Wish(
        kind=options.type,
        endpoint=options.endpoint,
        user=options.access_key if options.type == "api" else options.username,
        domain=options.domain,
        group=options.project,
    )
    stage = asked.stage()

    async def ask(question: str, *, is_secret: bool = False) -> str:
        try:
            answer = await stage.ask(f"{question}: ", is_password=is_secret)
        except Exception as exc:  # the front end's own refusal to ask, of whatever class
            raise ConfigError(
                f"{question} is missing, and this front end asks no questions.",
                hint="Run `backendai-kernel login` in a terminal.",
            ) from exc
        if answer is None:
            raise ConfigError("The login was called off; nothing was written.")
        if not answer.strip():
            raise ConfigError(f"{question} is empty; nothing was written.")
        return answer.strip()

    async def work() -> tuple[Account, Path]:
        is_api = wish.kind == "api"
        endpoint = wish.endpoint or await ask("Endpoint (such as https://manager.example.com)")
        user = wish.user or await ask("Access key" if is_api else "User name")
        secret = await ask("Secret key" if is_api else "Password", is_secret=True)

        async def ask_otp() -> str:
            return await ask("One-time password", is_secret=True)

        return await log_in(
            replace(wish, endpoint=endpoint, user=user), secret, os.environ, ask_otp
        )

    account, path = stage.perform(work())
    asked.connection.portal.call(asked.connection.forget())
    names = ("ENDPOINT", "ENDPOINT_TYPE", "ACCESS_KEY", "SECRET_KEY")
    found = [f"BACKEND_{name}" for name in names if os.environ.get(f"BACKEND_{name}")]
    note = f"! {', '.join(found)} in the environment will win over it." if found else ""
    rows = (("You are", str(account)), ("Written to", f"{path}, which only you can read"))
    return Facts("✓ Logged in", rows, data={"user": account.user, "path": str(path)}, note=note)


def doctor(asked: Asked) -> Facts:
    """Return what an examination finds out."""
    from backendai_kernel.doctor import examine
    from backendai_kernel.outcomes import doctor_facts

    stage = asked.stage()

    async def work() -> Any:
        facts = []
        async for fact in examine(os.environ, here()):
            facts.append(fact)
        return doctor_facts(facts)

    facts: Facts = stage.perform(work())
    return facts


def attach(asked: Asked) -> Facts:
    """Have the notebook's cells run in another session."""
    kernel = our_kernel(asked, "attach")
    session = kernel.attach_session(asked.options.session)
    return Facts(
        f"✓ This notebook's cells now run in the session {session.name}.",
        (
            ("Id", session.id),
            ("Variables", "those that it has; a restart of the kernel does not touch them"),
            ("Back", "`%bai detach`"),
        ),
        data={"session_id": session.id, "session": session.name},
    )


def detach(asked: Asked) -> Facts:
    """Go back to the notebook's own session."""
    name = our_kernel(asked, "detach").detach_session()
    return Facts(
        f"✓ This notebook's cells run in its own session again; {name} is left as it is.",
        (),
        data={"session": name},
    )


def our_kernel(asked: Asked, verb: str) -> Any:
    """Return our kernel.

    Raises:
        ConfigError: The cells of this one run here.
    """
    if asked.kernel is None:
        raise ConfigError(
            f"%bai {verb} needs the kernel Backend.AI Python: cells of this one run here.",
            hint="Choose that kernel for the notebook, or use `%%bai run --session NAME` here.",
        )
    return asked.kernel


def help(asked: Asked) -> Text:
    """Return the list of verbs, or the help of one."""
    word = asked.options.verb
    if word is None:
        return Text(overview())
    verb = VERBS.get(ALIASES.get(word, word))
    if verb is None:
        raise ConfigError(
            f"%bai has no verb {word!r}.",
            hint=did_you_mean(word, [*VERBS, *ALIASES], otherwise="`%bai help` lists them."),
        )
    return Text(verb.parser().format_help())
