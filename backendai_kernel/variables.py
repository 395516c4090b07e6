"""Folders to mount and environment variables: the words for them, and values that a kernel keeps.

A kernelspec names the variables of its sessions and never holds their values: a ``kernel.json`` is
readable by all, and values are often secrets. They lie in a file of the one who made the kernel.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from .config import config_dir, write_private
from .errors import ConfigError

_TOKEN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def read_variables(words: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return variable → value of the words of ``-e``.

    Args:
        words: ``KEY=VALUE``, or ``KEY`` alone for the value that it has in *environ*.

    Raises:
        ConfigError: A word is neither.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip()
        if not equals and key in environ:
            value = environ[key]
        elif not (equals and key):
            raise ConfigError(
                f"-e {word!r} is no KEY=VALUE, and no variable that is set here.",
                hint="Such as -e DEBUG=1; -e NAME alone takes the value that NAME has here.",
            )
        found[key] = value
    return found


def read_mounts(words: Iterable[str]) -> dict[str, str]:
    """Return folder → path, ``""`` for the server's own; ``:`` or ``=`` stands between them.

    Raises:
        ConfigError: A word names no folder.
    """
    mounts = {}
    for word in words:
        name, path = re.fullmatch(r"([^:=]*)[:=]?(.*)", word, re.DOTALL).groups()  # type: ignore[union-attr]
        if not name:
            raise ConfigError(
                f"-m {word!r} names no folder.", hint="Such as -m data or -m data:/mnt."
            )
        mounts[name] = path
    return mounts


# -- values of a kernelspec -------------------------------------------------------------------


def _place(environ: Mapping[str, str], token: str) -> Path:
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"{token!r} is no name of a kernel's values.")
    return config_dir(environ) / "kernels" / f"{token}.json"


def keep_values(environ: Mapping[str, str], name: str, values: Mapping[str, str]) -> str:
    """Write the values of a kernelspec's variables for their owner alone; return what to find them by.

    Args:
        environ: Names the folder of settings.
        name: Of the kernelspec.

    Raises:
        ConfigError: They cannot be written.
    """
    token = f"{name}-{secrets.token_hex(4)}"
    path = _place(environ, token)
    try:
        write_private(path, json.dumps(dict(values)).encode())
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}.") from exc
    return token


def kept_values(environ: Mapping[str, str], token: str, names: Iterable[str]) -> dict[str, str]:
    """Return the values of variables; of those that nobody has kept, what *environ* has.

    Args:
        token: As `keep_values` gave it; ``""`` when nothing was kept.

    Raises:
        ConfigError: A variable has no value, or the file cannot be read.
    """
    kept: Mapping[str, object] = {}
    if token:
        path = _place(environ, token)
        try:
            kept = dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            pass  # another user's, or removed: the environment may have them
        except (OSError, ValueError, TypeError) as exc:
            raise ConfigError(
                f"{path} cannot be read: {exc}.", hint="Make the kernel anew."
            ) from exc
    values = {}
    for name in names:
        value = kept.get(name, environ.get(name))
        if value is None:
            raise ConfigError(
                f"This kernel gives its sessions the variable {name}, whose value is not known "
                "here.",
                hint=f"Set {name} in the environment of the Jupyter server, or make the kernel "
                "anew.",
            )
        values[name] = str(value)
    return values


def forget_values(environ: Mapping[str, str], token: str) -> None:
    """Remove what `keep_values` has written; it may be gone already.

    Raises:
        OSError: It cannot be removed.
    """
    _place(environ, token).unlink(missing_ok=True)
