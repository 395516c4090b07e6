"""Resource slots: parse "4g", name the accelerator a server has, add, compare, format.

A slot is a name (``cpu``, ``mem``, ``cuda.shares`` …) with an amount; ``mem`` is in bytes. Amounts
are `Decimal`: shares of a GPU are tenths, and tenths do not add up in floating point.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache

from .errors import ConfigError, ProtocolError, clipped

Slots = Mapping[str, Decimal]
"""Slot name → amount; ``mem`` in bytes."""

_UNITS = "kmgtpezy"
_SIZE = re.compile(r"(?i)^\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgtpezy]?)(?:i?b?|bytes?)?\s*$")
_GPU_WORDS = ("gpu", "gpus", "cuda")
_ALIASES = {"memory": "mem", "ram": "mem", "cpus": "cpu", "cores": "cpu", "core": "cpu"}
_PLAIN = ("cpu", "mem")


def parse_size(text: str, *, default_unit: str = "") -> Decimal:
    """Return a number of bytes: ``4g``, ``512m``, ``1.5 GiB``; always powers of 1024.

    Args:
        text: Number with an optional unit.
        default_unit: Unit letter of a number that has none.

    Raises:
        ConfigError: It is not a size.

    Source: API reference 9.1.
    """
    match = _SIZE.match(text)
    if match is None:
        raise ConfigError(
            f"{text!r} is not a size.", hint="Write a number and a unit, such as 512m or 4g."
        )
    unit = (match[2] or default_unit).lower()
    power = _UNITS.index(unit) + 1 if unit else 0
    return Decimal(int(Decimal(match[1]) * 1024**power))


def size_setting(environ: Mapping[str, str], variable: str, default: str, example: str) -> int:
    """Return the size that a variable of the environment sets; 0: none, or without a limit.

    Args:
        default: Where it is not set.
        example: For the hint.

    Raises:
        ConfigError: It is no size.
    """
    return _size_setting(environ.get(variable, "").strip() or default, variable, example)


@cache  # each cell asks
def _size_setting(word: str, variable: str, example: str) -> int:
    try:
        return int(parse_size(word))
    except (ConfigError, ValueError, ArithmeticError):
        raise ConfigError(
            f"{variable} is {word!r}, which is no size.", hint=f"Write it as {example}; 0 for none."
        ) from None


def format_size(size: Decimal | int) -> str:
    """Return a size as people write it: ``4g``, ``1.5g``, ``320m``, ``17`` for bytes."""
    amount = Decimal(size)
    for power, unit in reversed(list(enumerate(_UNITS, start=1))):
        scaled = amount / Decimal(1024**power)
        if scaled >= 1 and scaled == scaled.quantize(Decimal("0.1")):
            return f"{format_amount(scaled)}{unit}"
    return format_amount(amount)


def format_amount(amount: Decimal) -> str:
    """Return a number without an exponent and without trailing zeros."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_slots(slots: Slots) -> str:
    """Return slots in one line: ``cpu=1 mem=4g cuda.shares=0.5``."""
    return " ".join(
        f"{name}={format_size(amount) if name == 'mem' else format_amount(amount)}"
        for name, amount in sorted(slots.items(), key=lambda item: (_rank(item[0]), item[0]))
    )


def _rank(name: str) -> int:
    return _PLAIN.index(name) if name in _PLAIN else len(_PLAIN)


def parse_words(words: Iterable[str]) -> dict[str, Decimal]:
    """Return what ``-r`` options ask for: name → amount, names not yet those of a server.

    ``mem`` without a unit is in MiB, as in the official client; ``gpu`` stays ``gpu`` until
    `resolve` is told which slots the server has.

    Raises:
        ConfigError: A word is not ``name=amount``, or the amount is not a positive number.
    """
    wanted: dict[str, Decimal] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().lower()
        name = _ALIASES.get(name, name)
        if not (equals and name and text.strip()):
            raise ConfigError(
                f"{word!r} is not a resource.",
                hint="Write NAME=AMOUNT, such as cpu=2, mem=4g or gpu=0.5.",
            )
        if name == "mem":
            amount = parse_size(text, default_unit="m")
        else:
            amount = _number(word, text.strip())
        if not amount.is_finite() or amount <= 0:
            raise ConfigError(f"{word!r} asks for nothing: the amount must be above zero.")
        wanted[name] = amount
    return wanted


def _number(word: str, text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ConfigError(
            f"The amount in {word!r} is not a number.", hint="Write it as in cpu=2 or gpu=0.5."
        ) from None


def parse_slots(answer: Mapping[str, object]) -> dict[str, Decimal]:
    """Return a server's slots (decimal strings; memory in bytes) as amounts.

    ``Infinity`` and ``NaN`` are kept: no limit, and hidden.

    Raises:
        ProtocolError: One is no amount that there can be.
    """
    return {name: _told(name, value) for name, value in answer.items() if value is not None}


def _told(name: str, value: object) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("sNaN")
    # Written out, a number with a large exponent would fill the memory.
    if amount.is_snan() or (amount.is_finite() and not -99 < amount.adjusted() < 36):
        raise ProtocolError(f"The server tells {clipped(value)!r} as an amount of {clipped(name)}.")
    return amount


def resolve(wanted: Slots, known: Iterable[str]) -> dict[str, Decimal]:
    """Return *wanted* with the slot names that this server really has.

    ``gpu=0.5`` becomes ``cuda.shares``, ``gpu=1`` ``cuda.device`` where whole devices are what the
    server counts, and the same for another maker's accelerator when it is the only one. Servers
    take no alias: a bare ``gpu`` is refused (API reference 9.1, recording 67).

    Args:
        wanted: Name → amount, as from `parse_words`.
        known: Slot names of the server (``GET /config/resource-slots``).

    Raises:
        ConfigError: The server has no such slot, or two names mean the same one.
    """
    names = sorted(known)
    resolved: dict[str, Decimal] = {}
    for name, amount in wanted.items():
        slot = name if name in names else _accelerator(name, amount, names)
        if slot in resolved:
            raise ConfigError(
                f"{slot} is asked for twice.", hint=f"{name} means {slot} on this server."
            )
        resolved[slot] = amount
    return resolved


def _accelerator(name: str, amount: Decimal, names: list[str]) -> str:
    accelerators = [slot for slot in names if slot not in _PLAIN]
    if name in _GPU_WORDS:
        kin = [slot for slot in accelerators if slot.startswith("cuda.")] or accelerators
    else:  # another accelerator by its maker's name: "rocm", "tpu"
        kin = [slot for slot in accelerators if slot.partition(".")[0] == name]
    fractions = [slot for slot in kin if slot.endswith(".shares")]
    devices = [slot for slot in kin if not slot.endswith(".shares")]
    whole = amount == amount.to_integral_value()
    for slot in (devices + fractions) if whole else fractions:
        return slot
    asked = f"{name}={format_amount(amount)}"
    if devices:
        raise ConfigError(
            f"This server gives whole devices only ({devices[0]}), so {asked} cannot be had.",
            hint=f"Ask for {name}=1.",
        )
    if name in _GPU_WORDS and not accelerators:
        raise ConfigError(
            f"This server has no GPU, so {asked} cannot be had.",
            hint=f"It has {' and '.join(names)}; leave the GPU out or use another server.",
        )
    raise ConfigError(
        f"This server has no resource named {name!r}.", hint=f"It has {', '.join(names)}."
    )
