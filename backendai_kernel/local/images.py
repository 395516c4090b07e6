"""The images that sessions can be made from: this computer's interpreters, as a server lists them.

One is the interpreter that the manager runs in; ``images.toml`` in the config folder names others.
"""

from __future__ import annotations

import logging
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ..errors import ConfigError
from . import problems

log = logging.getLogger(__name__)

IMAGES_FILE = "images.toml"
REGISTRY = "local"
_MEMORY = Decimal(256 * 2**20)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_VERSION = "{0.major}.{0.minor}"
_PATIENCE = 20.0  # seconds for an interpreter to tell its version
_EXAMPLE = 'Each line of it is like: torch = "/home/me/torch/bin/python"'


@dataclass(frozen=True, kw_only=True)
class LocalImage:
    """An image: a Python interpreter of this computer.

    Attributes:
        name: Without the registry: ``python``.
        tag: ``3.11-linux``.
        aliases: Short names that mean it.
        python: The interpreter's path.
    """

    name: str
    tag: str
    aliases: tuple[str, ...]
    python: str
    architecture: str = "x86_64"
    registry: str = REGISTRY

    def minimum(self, shmem: Decimal) -> Mapping[str, Decimal]:
        """Return slot name → the least that a session takes; what a request leaves out is this.

        Shared memory comes on top (recording 62: ``cpu=1 mem=320m``).
        """
        return {"cpu": Decimal(1), "mem": _MEMORY + shmem}

    @property
    def reference(self) -> str:
        return f"{self.registry}/{self.name}:{self.tag}"

    @property
    def labels(self) -> dict[str, str]:
        """Label → value, those of API reference 9.3 that clients read."""
        return {
            "ai.backend.kernelspec": "1",
            "ai.backend.role": "COMPUTE",
            "ai.backend.features": "batch query uid-match user-input",
            "ai.backend.runtime-type": "python",
            "ai.backend.runtime-path": self.python,
            "ai.backend.base-distro": f"{platform.system().lower()}",
            "ai.backend.envs.corecount": "OPENBLAS_NUM_THREADS,OMP_NUM_THREADS",
            "ai.backend.resource.min.cpu": "1",
            "ai.backend.resource.min.mem": "256m",
            "ai.backend.accelerators": "cuda",
        }

    @property
    def size(self) -> int:
        """Size in bytes of what would be fetched: the interpreter's own file."""
        path = Path(self.python)
        return path.stat().st_size if path.exists() else 0


def of_interpreter(python: str, version: str, name: str = "python") -> LocalImage:
    """Return the image *name* of an interpreter of *version* (``3.11``)."""
    return LocalImage(
        name=name,
        tag=f"{version}-{platform.system().lower()}",
        aliases=(name, f"{name}:{version}"),
        python=python,
        architecture=_architecture(),
    )


def _architecture() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


class Images:
    """Finds an image by its reference or alias."""

    def __init__(self, images: Iterable[LocalImage]) -> None:
        self._images = list(images)

    def __iter__(self) -> Iterator[LocalImage]:
        return iter(self._images)

    def resolve(self, reference: str, architecture: str) -> LocalImage:
        """Return the image that *reference* means; an exact reference wins over an alias.

        The official clients always ask for ``x86_64``; an interpreter of this computer has this
        computer's architecture, so that word is taken as "whatever there is".

        Raises:
            Problem: There is none (404).
        """
        for image in self._images:
            if image.reference == reference or reference in image.aliases:
                if architecture in ("x86_64", image.architecture):
                    return image
        raise problems.no_such_image(reference, architecture)


def default_images(python: str = sys.executable) -> Images:
    """Return the images of a computer on which none are named: one, of an interpreter."""
    return Images([of_interpreter(python, version_of(python))])


def named_images(file: Path, python: str | None = None) -> Images:
    """Return the images of this computer: its own, and those that *file* names.

    The first is ``python``, which is *python*, or else what the file calls so, or else our own
    interpreter. Another one whose interpreter does not answer is left out, which the log tells.

    Args:
        file: TOML, image name → path of an interpreter or of its environment's folder; there need
            not be one.

    Raises:
        ConfigError: The file says something else, or the interpreter of ``python`` does not answer.
    """
    named = read_images(file)
    first = python or named.pop("python", sys.executable)
    named.pop("python", None)
    images = [of_interpreter(first, version_of(first))]
    for name, path in named.items():
        try:
            images.append(of_interpreter(path, version_of(path), name))
        except ConfigError as exc:
            log.warning("There is no image %s: %s", name, exc.message)
    return Images(images)


def read_images(file: Path) -> dict[str, str]:
    """Return what *file* names: image name → path of an interpreter; see `named_images`."""
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise ConfigError(f"The list of images {file} cannot be read: {exc.strerror}.") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"The list of images {file} is not TOML: {exc}.", hint=_EXAMPLE) from exc
    for name, path in told.items():
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{file} names an image {name!r}: a name is made of a to z, 0 to 9, '.', '_', '-'.",
                hint=_EXAMPLE,
            )
        if not isinstance(path, str) or not Path(path).expanduser().is_absolute():
            raise ConfigError(
                f"{file} must give the whole path of an interpreter for {name}.", hint=_EXAMPLE
            )
    return {name: _interpreter(Path(path).expanduser()) for name, path in told.items()}


def _interpreter(path: Path) -> str:
    return str(path / "bin" / "python" if path.is_dir() else path)


def version_of(python: str) -> str:
    """Return an interpreter's version as ``3.11``.

    Raises:
        ConfigError: It does not start, or says something else.
    """
    if python == sys.executable:
        return _VERSION.format(sys.version_info)
    try:
        asked = subprocess.run(
            [python, "-I", "-c", f"import sys; print({_VERSION!r}.format(sys.version_info))"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        )
        major, minor = map(int, asked.stdout.strip().split("."))
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        raise ConfigError(f"The interpreter {python} does not tell its version: {exc}.") from exc
    return f"{major}.{minor}"
