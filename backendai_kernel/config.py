"""Endpoint, keypair and limits: read once, from the mapping that the caller hands in.

Order: argument, environment, profile file, default. The names are the official client's
(``BACKEND_*``, or ``SORNA_*`` as it still takes), and like it we let the nearest ``.env`` file win
over the process environment. Source: API reference 1.1.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import ConfigError

LOCAL = "local"
"""``endpoint_type`` of the embedded manager of this computer."""

_TRUE = ("y", "yes", "t", "true", "on", "1")
_KEYS = {  # field → key behind BACKEND_
    "endpoint": "ENDPOINT",
    "endpoint_type": "ENDPOINT_TYPE",
    "access_key": "ACCESS_KEY",
    "secret_key": "SECRET_KEY",
    "domain": "DOMAIN",
    "group": "GROUP",
    "connect_timeout": "CONNECTION_TIMEOUT",
    "read_timeout": "READ_TIMEOUT",
    "verify_tls": "SKIP_SSLCERT_VALIDATION",
    "mounts": "VFOLDER_MOUNTS",
}


_TIMES = ("connect_timeout", "read_timeout")
_LONGEST = 1e9  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Where to send requests, as whom, and how long to wait for an answer.

    Attributes:
        endpoint: URL of the manager or web server, without a trailing slash; ``""`` when none is
            configured, which means the embedded manager.
        endpoint_type: ``api`` (signed requests), ``session`` (cookie login) or ``local``.
        connect_timeout: Seconds until a connection must stand.
        read_timeout: Seconds without a byte after which an answer counts as lost; 0 for no limit.
            A poll is held for 2 s by the server, a creation for as long as the queue lasts.
        cookie_file: Where the cookie of a login is kept; ``None``: no login is possible.
        sources: Setting → where it was read, in plain words; a default is not named.
    """

    endpoint: str = ""
    endpoint_type: str = "api"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    domain: str = "default"
    group: str = "default"
    connect_timeout: float = 10.0
    read_timeout: float = 0.0
    verify_tls: bool = True
    mounts: tuple[str, ...] = ()
    cookie_file: Path | None = field(default=None, repr=False)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str],
        *,
        cwd: Path | None = None,
        with_profile: bool = True,
        **overrides: Any,
    ) -> Config:
        """Read the settings.

        What a profile tells of its endpoint (the type, the keypair, domain and group) counts for
        that endpoint only: where another one is named, none of it is used.

        Args:
            environ: The environment, such as ``os.environ``.
            cwd: Where the search for a ``.env`` file begins; ``None``: no such file is read.
            with_profile: Whether the profile file is read.
            overrides: Settings by field name that win over everything.

        Raises:
            ConfigError: A setting makes no sense.
        """
        values, sources = _from_mappings(environ, cwd)
        for name, value in overrides.items():
            values[name], sources[name] = value, "argument"
        path = profile_path(environ)
        profile = read_profile(path) if with_profile else {}
        if _is_for_another(profile, values.get("endpoint")):
            profile = {name: v for name, v in profile.items() if name not in _IN_PROFILE}
        for name, value in profile.items():
            if name not in values:
                values[name], sources[name] = value, str(path)
        values.setdefault("cookie_file", config_dir(environ) / "cookie.json")
        return _checked(cls(**values, sources=sources))

    @property
    def is_local(self) -> bool:
        """Sessions run on this computer, in the embedded manager."""
        return self.endpoint_type == LOCAL

    @property
    def identity(self) -> str:
        """A name for endpoint and keypair that is safe in a file name and tells neither."""
        text = f"{self.endpoint}\n{self.access_key}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _from_mappings(
    environ: Mapping[str, str], cwd: Path | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings of the environment and the nearest ``.env`` file, and their sources."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    dotenv_path, dotenv = read_dotenv(cwd) if cwd is not None else (None, {})
    for name, key in _KEYS.items():
        for prefix in ("SORNA_", "BACKEND_"):
            for mapping, where in ((environ, "environment"), (dotenv, str(dotenv_path))):
                if (text := mapping.get(prefix + key, "")) != "":
                    values[name] = _read(name, text, prefix + key)
                    sources[name] = f"{prefix}{key} ({where})"
    return values, sources


def _is_for_another(profile: Mapping[str, Any], endpoint: str | None) -> bool:
    """Tell whether *endpoint* was named and is not the one that the profile is about."""
    if endpoint is None:
        return False
    return _first_endpoint(endpoint) != _first_endpoint(profile.get("endpoint", ""))


def _first_endpoint(text: str) -> str:
    """Return the first URL of a comma-joined list, without a trailing slash."""
    return text.split(",")[0].strip().rstrip("/")


def _checked(config: Config) -> Config:
    endpoint = _first_endpoint(config.endpoint)
    if not endpoint:
        if config.access_key and "access_key" in config.sources:
            raise ConfigError(
                "There is a keypair but no endpoint.",
                hint="Set BACKEND_ENDPOINT to the URL of your Backend.AI manager.",
            )
        return replace(config, endpoint="", endpoint_type=LOCAL)
    if "@" in endpoint:  # not repeated: it may be a password
        raise ConfigError(
            "The endpoint has a name or a password in it, which no manager takes.",
            hint="Write it as https://manager.example.com, and log in with `backendai-kernel login`.",
        )
    if not _is_url(endpoint):
        raise ConfigError(
            f"The endpoint {endpoint!r} is not a URL.",
            hint="Write it as https://manager.example.com (BACKEND_ENDPOINT).",
        )
    for name in ("access_key", "secret_key", "domain", "group"):
        # Line ends and broken UTF-8 can be neither signed nor sent; the value may be a secret.
        if not getattr(config, name).isprintable():
            where = config.sources.get(name, "the settings")
            raise ConfigError(
                f"The {name.replace('_', ' ')} has a character in it that no header can carry.",
                hint=f"Write it again, in {where}.",
            )
    if config.endpoint_type not in ("api", "session"):
        raise ConfigError(
            f"The endpoint type {config.endpoint_type!r} is unknown.",
            hint="BACKEND_ENDPOINT_TYPE is api (keypair) or session (login through the web).",
        )
    if config.endpoint_type == "api" and not (config.access_key and config.secret_key):
        raise ConfigError(
            f"There is no keypair for {endpoint}.",
            hint="Run `backendai-kernel login`, or set BACKEND_ACCESS_KEY and BACKEND_SECRET_KEY.",
        )
    return replace(config, endpoint=_without_default_port(endpoint))


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_whole = bool(parts.hostname) and parts.port != 0 and not parts.query + parts.fragment
        return (
            parts.scheme in ("http", "https")
            and is_whole
            and text.isprintable()
            and " " not in text
        )
    except ValueError:  # brackets or a port that are none
        return False


def _without_default_port(endpoint: str) -> str:
    # A signature is made over the Host header, from which the default port is left out (2.7).
    parts = urlsplit(endpoint)
    default = {"http": 80, "https": 443}[parts.scheme]
    if parts.port == default:
        return parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()
    return endpoint


def _read(name: str, text: str, where: str) -> Any:
    if name in _TIMES:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < _LONGEST:
            raise ConfigError(f"{where} is {text!r}, which is not a number of seconds.")
        return seconds
    if name == "verify_tls":
        return text.strip().lower() not in _TRUE
    if name == "mounts":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text.strip()


def read_dotenv(start: Path) -> tuple[Path | None, dict[str, str]]:
    """Return the nearest ``.env`` file from *start* upward, and its ``BACKEND_*`` settings."""
    for folder in (start, *start.parents):
        path = folder / ".env"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # none here, or not for us to read: the next one up
        return path, dict(_dotenv_lines(text))
    return None, {}


def _dotenv_lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not key.startswith(("BACKEND_", "SORNA_")):
            continue
        if value[:1] in ("'", '"') and value[:1] in value[1:]:
            value = value[1 : value.index(value[0], 1)]
        else:
            value = value.split(" #", 1)[0].rstrip()
        yield key, value


# -- folders and the profile file -------------------------------------------------------------


def config_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder of the profile file; ``BACKENDAI_KERNEL_CONFIG`` names another."""
    if named := environ.get("BACKENDAI_KERNEL_CONFIG"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_config_path("backendai-kernel", appauthor=False))


def state_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder for what is kept between runs; ``BACKENDAI_KERNEL_STATE`` names another."""
    if named := environ.get("BACKENDAI_KERNEL_STATE"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_state_path("backendai-kernel", appauthor=False))


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone.

    ``mkdir(parents=True)`` makes those above with the modes of the day.

    Raises:
        OSError: It cannot be made.
    """
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)


def profile_path(environ: Mapping[str, str]) -> Path:
    """Return where the profile file lies, whether it exists or not."""
    return config_dir(environ) / "profile.toml"


_IN_PROFILE = ("endpoint", "endpoint_type", "access_key", "secret_key", "domain", "group")
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    **{name: (str, "text") for name in _IN_PROFILE},
    "connect_timeout": ((int, float), "a number of seconds"),
    "read_timeout": ((int, float), "a number of seconds"),
    "verify_tls": (bool, "true or false"),
    "mounts": (list, "a list of names"),
}


def read_profile(path: Path) -> dict[str, Any]:
    """Return the settings of a profile file: field → value; none when there is no file.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or others may read the secret in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise ConfigError(f"The profile {path} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(
            f"The profile {path} is not UTF-8.", hint="`backendai-kernel login` writes it."
        ) from exc
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(
            f"The profile {path} is not TOML: {exc}.", hint="`backendai-kernel login` writes it."
        ) from exc
    if "secret_key" in data and os.name == "posix" and path.stat().st_mode & 0o077:
        raise ConfigError(
            f"Others can read the secret key in {path}.", hint=f"Run: chmod 600 {path}"
        )
    return {name: _from_profile(path, name, value) for name, value in data.items()}


def _from_profile(path: Path, name: str, value: object) -> Any:
    kind, words = _TYPES.get(name, (None, ""))
    if kind is None:
        raise ConfigError(
            f"The profile {path} has a setting that is not known: {name}.",
            hint=f"It may have {', '.join(_TYPES)}.",
        )
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{name} in the profile {path} must be {words}.")
    if name in _TIMES and not 0 <= value < _LONGEST:  # type: ignore[operator]  # a number, see above
        raise ConfigError(f"{name} in the profile {path} must be {words}.")
    if isinstance(value, list):
        return tuple(str(item) for item in value)
    return value


def write_profile(path: Path, settings: Mapping[str, str]) -> None:
    """Write the profile file, readable by its owner alone, in one step.

    Raises:
        ConfigError: The folder or the file cannot be written.
    """
    lines = [
        f"{name} = {_toml_text(settings[name])}\n" for name in _IN_PROFILE if settings.get(name)
    ]
    try:
        write_private(path, "".join(lines).encode())
    except OSError as exc:
        raise ConfigError(f"The profile {path} cannot be written: {exc.strerror}.") from exc


def _toml_text(value: str) -> str:
    escaped = "".join(c if c >= " " and c not in '"\\\x7f' else f"\\u{ord(c):04x}" for c in value)
    return f'"{escaped}"'


def write_private(path: Path, data: bytes) -> None:
    """Replace a file in one step; it is never readable by others, not even for a moment.

    Raises:
        OSError: As `open` and `os.replace`.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:  # whatever it was, no half file stays
        temporary.unlink(missing_ok=True)
        raise
