"""What is configured, what answers, and what to do next: facts in plain words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import profiles, slots, specs
from .client import Client
from .config import Config, state_dir
from .errors import BackendError, ConfigError, ConnectError
from .local import discovery
from .model import KeyPair
from .protocol import calls

OK, WARNING, PROBLEM = "ok", "warning", "problem"

_ANSWERS_WITHIN = 15.0  # seconds for the first answer of the endpoint
_SKEW_WARNING = 60.0  # seconds
_SKEW_LIMIT = 900.0  # seconds; servers refuse a request beyond (API reference 2.6)
_FEW_LEFT = 0.2  # share of the rate limit
_DEFAULT_IMAGE = profiles.BUILTIN["python"].image


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was found out.

    Attributes:
        topic: What it is about, in a word or two.
        text: A sentence.
        state: `OK`, `WARNING` or `PROBLEM`.
        advice: What to do next; ``""`` when nothing needs to be done.
    """

    topic: str
    text: str
    state: str = OK
    advice: str = ""


def as_json(facts: list[Fact]) -> str:
    """Return the facts for machines; ``ok`` is false when there is a problem."""
    content = {"ok": not has_problem(facts), "facts": [asdict(fact) for fact in facts]}
    return json.dumps(content, indent=2, ensure_ascii=False)


def has_problem(facts: list[Fact]) -> bool:
    """Tell whether something has to be done before a notebook can run."""
    return any(fact.state == PROBLEM for fact in facts)


async def examine(environ: Mapping[str, str], cwd: Path | None) -> AsyncIterator[Fact]:
    """Yield facts as they are found out; nothing is started, written or repaired.

    Args:
        environ: The environment, such as ``os.environ``.
        cwd: Where the search for a ``.env`` file begins.
    """
    try:
        config = Config.from_env(environ, cwd=cwd)
    except ConfigError as exc:
        yield _problem("settings", exc)
    else:
        for fact in _settings(config):
            yield fact
        reachable: Config | None = config
        if config.is_local:
            fact, reachable = await asyncio.to_thread(_embedded, config, environ)
            yield fact
        if reachable is not None:
            async for fact in _server(reachable):
                yield fact
    for fact in _kernelspecs():
        yield fact


def _problem(topic: str, exc: BackendError, state: str = PROBLEM) -> Fact:
    return Fact(topic, exc.message, state, exc.hint)


# -- settings ---------------------------------------------------------------------------------


def _settings(config: Config) -> Iterator[Fact]:
    if config.is_local:
        yield Fact(
            "endpoint",
            "None is configured: sessions run on this computer, in the embedded manager.",
            advice="`backendai-kernel login`, or BACKEND_ENDPOINT and a keypair, names a cluster.",
        )
    shown = {
        "endpoint": config.endpoint,
        "endpoint_type": {"api": "api (keypair)", "session": "session (login)"}.get(
            config.endpoint_type, config.endpoint_type
        ),
        "access_key": shortened(config.access_key),
        "secret_key": "set, not shown",
        "domain": config.domain,
        "group": config.group,
        "connect_timeout": f"{config.connect_timeout:g} s",
        "read_timeout": f"{config.read_timeout:g} s" if config.read_timeout else "none",
        "verify_tls": "yes" if config.verify_tls else "no: any certificate is trusted",
        "mounts": ", ".join(config.mounts),
    }
    for name, source in config.sources.items():
        topic = name.replace("_", " ")
        if name == "verify_tls" and not config.verify_tls:
            yield Fact(topic, f"{shown[name]}, from {source}", WARNING, "Use it for tests only.")
        elif name in shown:
            yield Fact(topic, f"{shown[name]}, from {source}")


def shortened(access_key: str) -> str:
    """Return enough of an access key to tell it from another."""
    return access_key if len(access_key) <= 8 else f"{access_key[:4]}…{access_key[-4:]}"


# -- the embedded manager ---------------------------------------------------------------------


def _embedded(config: Config, environ: Mapping[str, str]) -> tuple[Fact, Config | None]:
    """Return what is known of the embedded manager, and how to reach it if it runs."""
    state = state_dir(environ) / "local"
    endpoint = discovery.find(state)
    if endpoint is None:
        return _will_start(), None
    reachable = replace(
        config,
        endpoint=endpoint.url,
        access_key=endpoint.access_key,
        secret_key=endpoint.secret_key,
    )
    return Fact("embedded manager", f"It runs at {endpoint.url}{_process(state)}."), reachable


def _process(state: Path) -> str:
    try:
        told = json.loads((state / discovery.STATE_FILE).read_text(encoding="utf-8"))
        return f" (process {told['pid']})"
    except (FileNotFoundError, ValueError, KeyError):
        return ""  # it has stopped between two looks


def _will_start() -> Fact:
    topic = "embedded manager"
    if find_spec("psutil") is None:
        return Fact(
            topic,
            "It cannot be started: psutil is not installed.",
            PROBLEM,
            "pip install 'backendai-kernel[local]'",
        )
    return Fact(topic, "It does not run; the first notebook that needs it starts it.")


# -- the server -------------------------------------------------------------------------------


async def _server(config: Config) -> AsyncIterator[Fact]:
    async with Client(config) as client:
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                server = await client.version()
        except TimeoutError:
            yield Fact(
                "server",
                f"{config.endpoint} does not answer within {_ANSWERS_WITHIN:g} s.",
                PROBLEM,
                "Check the address, the network and a proxy or firewall between.",
            )
            return
        except BackendError as exc:
            yield _problem("server", exc)
            return
        yield Fact("server", f"Manager {server.manager} answers, API {server.version}.")
        yield _clock(client.clock.skew)
        try:
            keypair = await client.send(calls.get_keypair())
        except BackendError as exc:
            yield _problem("keypair", exc)
            return
        role = "an administrator" if keypair.is_admin else "a plain user"
        yield Fact("keypair", f"It works: {keypair.user_id or 'somebody'}, {role}.")
        for look in (_rate, _sessions, _slots, _images):
            try:
                yield await look(client, keypair)
            except ConnectError as exc:
                yield _problem("server", exc)
                return
            except BackendError as exc:
                yield _problem(look.__name__.strip("_"), exc, WARNING)


def _clock(skew: float | None) -> Fact:
    if skew is None:
        return Fact("clock", "The server does not tell its time.", WARNING)
    ahead = "behind" if skew > 0 else "ahead of"
    text = f"This computer's clock is {abs(skew):.0f} s {ahead} the server's."
    advice = (
        "Set this computer's clock: a server refuses requests that are 15 minutes off. Until then "
        "ours are signed with its time."
    )
    if abs(skew) > _SKEW_LIMIT:
        return Fact("clock", text, PROBLEM, advice)
    if abs(skew) > _SKEW_WARNING:
        return Fact("clock", text, WARNING, advice)
    return Fact("clock", "This computer's clock agrees with the server's.")


async def _rate(client: Client, keypair: KeyPair) -> Fact:
    limit, left = client.rate.limit, client.rate.remaining
    if limit is None or left is None:
        return Fact("rate limit", "The server does not tell of any.")
    text = f"{left} of {limit} requests are left in this quarter of an hour."
    if left < limit * _FEW_LEFT:
        return Fact("rate limit", text, WARNING, "Running cells are asked about less often.")
    return Fact("rate limit", text)


async def _sessions(client: Client, keypair: KeyPair) -> Fact:
    page = await client.send(
        calls.list_sessions(limit=5, status=_ALIVE, access_key=keypair.access_key)
    )
    if not page.items:
        return Fact("sessions", "You have none.")
    names = ", ".join(f"{each.name} ({each.status_name.lower()})" for each in page.items)
    more = ", …" if page.total_count > len(page.items) else ""
    return Fact("sessions", f"You have {page.total_count}: {names}{more}")


_ALIVE = "PENDING,SCHEDULED,PREPARING,PULLING,RUNNING,RESTARTING,RUNNING_DEGRADED,TERMINATING"
"""Statuses of live sessions that servers of every generation know (API reference 4.11)."""


async def _slots(client: Client, keypair: KeyPair) -> Fact:
    known = await client.send(calls.get_slot_types())
    has = f"The server has {', '.join(sorted(known))}"
    try:
        resolved = slots.resolve(slots.parse_words(["gpu=0.5"]), known)
    except ConfigError as exc:
        return Fact("resources", f"{has}. {exc.message}", WARNING, exc.hint)
    return Fact("resources", f"{has}; gpu=0.5 becomes {slots.format_slots(resolved)}.")


async def _images(client: Client, keypair: KeyPair) -> Fact:
    images = await client.send(calls.list_images())
    found = [i for i in images if _DEFAULT_IMAGE in (*i.aliases, i.reference)]
    count = f"{len(images)} image{'s' * (len(images) != 1)}"
    if found:
        return Fact("images", f"{count}; {_DEFAULT_IMAGE!r} is {found[0].reference}.")
    names = ", ".join(sorted((*i.aliases, i.reference)[0] for i in images)[:5])
    return Fact(
        "images",
        f"{count}, and none is called {_DEFAULT_IMAGE!r}{names and f'; there is {names}'}.",
        WARNING,
        "Install a kernel with one that is there: backendai-kernel install --image IMAGE",
    )


# -- kernelspecs ------------------------------------------------------------------------------


def _kernelspecs() -> Iterator[Fact]:
    found = specs.installed()
    if not found:
        yield Fact(
            "kernels", "Jupyter finds none of ours.", PROBLEM, "Run: backendai-kernel install"
        )
    for spec in found:
        yield _kernelspec(spec)


def _kernelspec(spec: specs.InstalledSpec) -> Fact:
    wanted: dict[str, Any] = {"image": spec.image, **spec.resources}
    what = " ".join(f"{name}={value}" for name, value in wanted.items())
    text = f"{spec.name}: {spec.display_name} ({what}), in {spec.folder}"
    if not spec.starts:
        return Fact(
            "kernel",
            f"{text}; its interpreter {spec.interpreter} is gone.",
            PROBLEM,
            f"Install it again with --name {spec.name} --replace, or remove it: "
            f"backendai-kernel uninstall {spec.name}",
        )
    if spec.is_shadowed:
        return Fact("kernel", f"{text}; another one of that name comes first.", WARNING)
    return Fact("kernel", text)
