"""The manager as a program: one for each state folder, with a keypair that stays."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import logging
import logging.handlers
import math
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO

import platformdirs

from ..config import config_dir
from ..errors import ConfigError
from ..slots import parse_size
from .auth import KeyPair, new_keypair
from .discovery import LOG_FILE, READY, STATE_FILE, TAKEN
from .images import IMAGES_FILE, Images, named_images
from .manager import LocalManager
from .release import RELEASES
from .scheduler import machine_slots

log = logging.getLogger(__name__)

_LOG_SIZE = 2**20


def default_state() -> Path:
    """Return the state folder; ``BACKENDAI_KERNEL_STATE`` names another place for it."""
    base = os.environ.get("BACKENDAI_KERNEL_STATE") or platformdirs.user_state_path(
        "backendai-kernel", appauthor=False
    )
    return Path(base) / "local"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with status 2."""
    parser = argparse.ArgumentParser(
        prog="backendai-kernel serve",
        description="Serve Backend.AI's API on this computer; sessions are child processes.",
    )
    add = parser.add_argument
    add("--port", type=_port, default=0, help="port on 127.0.0.1 (default: any that is free)")
    add("--state", type=Path, default=None, help="folder for keypair, log and sessions")
    add(
        "--idle-limit",
        type=_seconds,
        default=300.0,
        metavar="SECONDS",
        help="stop this long after the last request, open stream and session (default: 300; "
        "0: never)",
    )
    add(
        "--session-idle-limit",
        type=_seconds,
        default=3600.0,
        metavar="SECONDS",
        help="end a session this long after its last use (default: 3600; 0: never)",
    )
    add(
        "--gpus", type=_devices, default=2, metavar="N", help="simulated GPUs to offer (default: 2)"
    )
    add("--cpu", type=_cores, default=None, metavar="N", help="cores to offer (default: all)")
    add("--mem", type=_size, default=None, metavar="SIZE", help="memory to offer (default: all)")
    add("--release", choices=RELEASES, default="26.4", help="server generation to be")
    add("--python", metavar="PATH", help="interpreter of the image python (default: its own)")
    add("--detach", action="store_true", help=argparse.SUPPRESS)
    add("--tell", type=int, default=None, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _size(text: str) -> Decimal:
    try:
        size = parse_size(text)
    except ConfigError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    if size <= 0:
        raise argparse.ArgumentTypeError("sessions need some memory: the size must be above zero")
    return size


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: those are the numbers up to 65535")
    return int(text)


def _devices(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of devices")
    return int(text)


def _cores(text: str) -> Decimal:
    if _number(text) <= 0:
        raise argparse.ArgumentTypeError("sessions need a core: the number must be above zero")
    return Decimal(text)


def _seconds(text: str) -> float:
    if (seconds := _number(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 0 means never")
    return seconds


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal or idleness ends it; return the exit status.

    A second manager for the same state folder returns at once: 0 when it was started for a client
    that will use the first, 1 when somebody called it by hand.
    """
    options = parse(argv)
    state = (options.state or default_state()).absolute()
    try:
        with _lock_of(state) as lock:
            if not _take(lock):
                _tell(options, TAKEN)
                if options.tell is None:
                    sys.stderr.write(f"A manager serves from {state} already.\n")
                return 0 if options.tell is not None else 1
            images = named_images(config_dir(os.environ) / IMAGES_FILE, options.python)
            _log_to(state, options)
            asyncio.run(serve(options, state, images))
    except ConfigError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


def _lock_of(state: Path) -> IO[str]:
    """Return the open file by which one manager has the state folder, which is made if need be."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (state / "lock").open("a")
    except OSError as exc:
        raise ConfigError(
            f"The state folder {state} cannot be used: {exc.strerror}.",
            hint="Name another one with --state, or with BACKENDAI_KERNEL_STATE.",
        ) from exc


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _log_to(state: Path, options: argparse.Namespace) -> None:
    handler = logging.handlers.RotatingFileHandler(
        state / LOG_FILE, maxBytes=_LOG_SIZE, backupCount=1, encoding="utf-8"
    )
    logging.basicConfig(
        handlers=[handler],
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


async def serve(options: argparse.Namespace, state: Path, images: Images) -> None:
    """Serve until a signal comes or the manager has been idle for long enough.

    The caller holds the state folder's lock.
    """
    shutil.rmtree(state / "sessions", ignore_errors=True)  # of one that was killed
    slots = machine_slots(options.gpus)
    for name in ("cpu", "mem"):
        if (amount := getattr(options, name)) is not None:
            slots[name] = amount
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, enough.set)
    async with LocalManager(
        state,
        port=options.port,
        release=RELEASES[options.release],
        idle_limit=options.idle_limit or None,
        session_idle_limit=options.session_idle_limit or None,
        images=images,
        slots=slots,
        keypair=load_keypair(state),
        idle=enough,
    ) as manager:
        _announce(state, manager)
        log.info("serving %s as %s", manager.url, options.release)
        _tell(options, READY)
        if options.tell is None:
            sys.stdout.write(f"{_welcome(state, manager)}\n")
            sys.stdout.flush()
        try:
            await enough.wait()
        finally:
            (state / STATE_FILE).unlink(missing_ok=True)
    log.info("stopped")


def _welcome(state: Path, manager: LocalManager) -> str:
    return (
        f"Serving Backend.AI's API on {manager.url}; stop with Ctrl-C.\n"
        f"BACKEND_ENDPOINT={manager.url}\n"
        f"BACKEND_ACCESS_KEY={manager.access_key}\n"
        f"BACKEND_SECRET_KEY is in {state / 'keypair.json'}"
    )


def load_keypair(state: Path) -> KeyPair:
    """Return the state folder's keypair; the first time a new one is made, for its owner's eyes."""
    path = state / "keypair.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return KeyPair(access_key=told["access_key"], secret_key=told["secret_key"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        keypair = new_keypair()
        _write_secret(path, {"access_key": keypair.access_key, "secret_key": keypair.secret_key})
        return keypair


def _announce(state: Path, manager: LocalManager) -> None:
    _write_secret(
        state / STATE_FILE,
        {
            "url": manager.url,
            "pid": os.getpid(),
            "access_key": manager.access_key,
            "secret_key": manager.secret_key,
        },
    )


def _write_secret(path: Path, value: dict[str, object]) -> None:
    """Write a file that only its owner may read, in one step."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(value, file)
    draft.replace(path)


def _tell(options: argparse.Namespace, word: str) -> None:
    """Say a word to whoever started us."""
    if options.tell is not None:
        os.write(options.tell, f"{word}\n".encode())
        os.close(options.tell)
