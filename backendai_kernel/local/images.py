"""The images that sessions can be made from: this computer's interpreters, as a server lists them."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from . import problems

REGISTRY = "local"
_MEMORY = Decimal(256 * 2**20)


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


def of_interpreter(python: str, version: str) -> LocalImage:
    """Return the image of an interpreter of *version* (``3.11``)."""
    return LocalImage(
        name="python",
        tag=f"{version}-{platform.system().lower()}",
        aliases=("python", f"python:{version}"),
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


def default_images(python: str) -> Images:
    """Return the images of this computer: the interpreter that sessions run on."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Images([of_interpreter(python, version)])
