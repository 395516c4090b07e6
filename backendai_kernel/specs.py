"""Kernelspecs: what Jupyter's launcher shows, written, listed and removed.

Two come with the package (``kernelspecs/`` in the source tree); `install` writes more, with another
image or other resources. A kernelspec is ours when its ``kernel.json`` has ``metadata.backendai``,
whatever its name; others are never touched.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .profiles import BUILTIN, Profile, default_name
from .variables import forget_values, keep_values

_KERNELS = Path("share", "jupyter", "kernels")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PROTOCOL = "5.5"  # of Jupyter's messages, as ipykernel's own kernelspec says


# -- kernel.json ------------------------------------------------------------------------------


def kernel_json(
    profile: Profile,
    *,
    python: str | None = None,
    encryption: Sequence[str] = (),
    provisioner: str = "",
    values: str = "",
) -> dict[str, Any]:
    """Return the content of ``kernel.json``; there is never a secret in it, nor another value.

    Args:
        profile: A built-in one, or one from `resolve_profile`.
        python: Path of the interpreter; ``None`` for the word ``python``, which Jupyter replaces by
            its own and which is right for a kernelspec that lies in the same environment.
        encryption: Ways to encrypt the kernel's sockets that its ipykernel knows.
        provisioner: What a Jupyter server starts the kernel with; ``""`` for its own way.
        values: What the values of its variables are found by, see `keep_values`.
    """
    base = BUILTIN[profile.name]
    argv = [python or "python", "-m", "backendai_kernel", "-f", "{connection_file}"]
    argv += ["--profile", profile.name]
    if profile.image != base.image:
        argv += ["--image", profile.image]
    for word in profile.resources:
        if word not in base.resources:
            argv += ["-r", word]
    own = {
        "profile": profile.name,
        "image": profile.image,
        "resources": dict(word.split("=", 1) for word in profile.resources),
    }
    more = {
        "-m": profile.mounts,
        "-e": profile.environ,
        "--project": profile.project,
        "--scaling-group": profile.scaling_group,
        "--values": values,
    }
    for option, said in more.items():
        for word in filter(None, (said,) if isinstance(said, str) else said):
            argv += [option, word]
    names = ("mounts", "environ", "project", "scaling_group", "values")
    own |= {
        name: said if isinstance(said, str) else list(said)
        for name, said in zip(names, more.values(), strict=True)
        if said
    }
    metadata: dict[str, Any] = {"backendai": own}
    if encryption:
        metadata["supported_encryption"] = list(encryption)
    if provisioner:
        metadata["kernel_provisioner"] = {"provisioner_name": provisioner}
    return {
        "argv": argv,
        "display_name": profile.display_name,
        "language": "python",
        "interrupt_mode": "message",
        "kernel_protocol_version": _PROTOCOL,
        "metadata": metadata,
    }


def _encryption() -> list[str]:
    """Return what the ipykernel of this environment declares of itself; old ones say nothing."""
    from ipykernel.kernelspec import get_kernel_dict

    metadata = get_kernel_dict().get("metadata", {})
    return list(metadata.get("supported_encryption", ()))


# -- the folders ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InstalledSpec:
    """A kernelspec of ours on disk.

    Attributes:
        name: What Jupyter calls it: the name of its folder.
        folder: Where it lies.
        interpreter: First word of its command; ``python`` for Jupyter's own.
        values: What the values of its variables are found by; ``""`` for none.
        is_shadowed: Another folder of that name comes first, so Jupyter does not use this one.
    """

    name: str
    display_name: str
    image: str
    resources: Mapping[str, str]
    folder: Path
    interpreter: str
    mounts: tuple[str, ...] = ()
    environ: tuple[str, ...] = ()
    values: str = field(default="", repr=False)
    is_shadowed: bool = False

    @property
    def starts(self) -> bool:
        """Its interpreter is there, as far as can be told without starting it."""
        return self.interpreter == "python" or shutil.which(self.interpreter) is not None


def kernels_folder(*, prefix: Path | None = None) -> Path:
    """Return where kernelspecs are written: below *prefix*, or in the user's own folder."""
    if prefix is not None:
        return prefix.expanduser().absolute() / _KERNELS
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "kernels"


def install(
    profile: Profile,
    *,
    name: str | None = None,
    prefix: Path | None = None,
    is_replaced: bool = False,
    provisioner: str = "",
    values: Mapping[str, str] | None = None,
) -> InstalledSpec:
    """Write a kernelspec that starts this very interpreter, and return it.

    Args:
        profile: What it starts.
        name: Its folder; ``None`` for `default_name`.
        prefix: As for `kernels_folder`.
        is_replaced: Whether one of ours under that name may be replaced.
        provisioner: As for `kernel_json`.
        values: Variable → value, kept in a file that only its owner can read; those that are
            missing are taken from the kernel's environment, whenever it starts.

    Raises:
        ConfigError: The name cannot be used or is taken, or the folder cannot be written.
    """
    name = name or default_name(profile)
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a kernelspec.",
            hint="Use ASCII letters, digits, '.', '_' and '-'; --display-name takes any text.",
        )
    folder = kernels_folder(prefix=prefix) / name.lower()  # Jupyter compares names in lower case
    before = _refuse_to_replace(folder, is_replaced) if folder.exists() else None
    token = keep_values(os.environ, name.lower(), values) if values else ""
    content = kernel_json(
        profile,
        python=sys.executable,
        encryption=_encryption(),
        provisioner=provisioner,
        values=token,
    )
    try:
        _write(folder, content)
    except OSError as exc:
        if token:
            forget_values(os.environ, token)
        raise ConfigError(
            f"The kernelspec cannot be written to {folder}: {exc.strerror}.",
            hint="Use --user, or --prefix with a folder that you may write to.",
        ) from exc
    if before is not None and before.values:
        forget_values(os.environ, before.values)
    written = _read(folder)
    assert written is not None
    return written


def _refuse_to_replace(folder: Path, is_replaced: bool) -> InstalledSpec:
    """Return what lies there, which may be replaced."""
    before = _read(folder)
    if before is None:
        raise ConfigError(
            f"{folder} holds a kernelspec that is not ours.", hint="Choose another --name."
        )
    if not is_replaced:
        raise ConfigError(
            f"There is a kernelspec {folder.name!r} already, in {folder}.",
            hint="Add --replace, or choose another --name.",
        )
    return before


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the whole folder beside its place, then move it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".backendai-") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir(mode=0o755)
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (fresh / "kernel.json").write_text(text, encoding="utf-8")
        for logo in _logos():
            shutil.copyfile(logo, fresh / logo.name)
        if folder.exists():
            folder.rename(Path(scratch) / "before")
        fresh.rename(folder)


def _logos() -> list[Path]:
    """Return the logo files of the kernelspec that came with this package."""
    shipped = f"backendai-{BUILTIN['python'].name}"
    for kernels in (
        Path(sysconfig.get_path("data")) / _KERNELS,  # where an installer puts a wheel's data
        Path(__file__).parents[1] / "kernelspecs",  # a source tree
        *_search_path(),
    ):
        if found := sorted((kernels / shipped).glob("logo-*")):
            return found
    return []  # Jupyter then shows the first letter of the name


def _search_path() -> list[Path]:
    from jupyter_core.paths import jupyter_path

    return [Path(folder) for folder in jupyter_path("kernels")]


def installed(*, prefix: Path | None = None) -> list[InstalledSpec]:
    """Return the kernelspecs of ours, in the order in which Jupyter looks for them.

    Args:
        prefix: Look there too, first.
    """
    return [spec for _, spec in _all_specs(prefix) if spec is not None]


def _all_specs(prefix: Path | None) -> Iterator[tuple[str, InstalledSpec | None]]:
    """Yield the name of each kernelspec, and what it is if it is ours."""
    seen: set[str] = set()
    folders = [kernels_folder(prefix=prefix)] * (prefix is not None) + _search_path()
    for kernels in dict.fromkeys(folders):
        try:
            entries = sorted(entry for entry in kernels.iterdir() if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # a place where Jupyter looks, and where nothing is
        for folder in entries:
            if not (folder / "kernel.json").is_file():
                continue
            name = folder.name.lower()
            spec = _read(folder)
            yield name, spec and replace(spec, is_shadowed=name in seen)
            seen.add(name)


def _read(folder: Path) -> InstalledSpec | None:
    """Return what lies in a folder if it is a kernelspec of ours."""
    try:
        content = json.loads((folder / "kernel.json").read_text(encoding="utf-8"))
        own = content["metadata"]["backendai"]
        return InstalledSpec(
            name=folder.name.lower(),
            display_name=str(content["display_name"]),
            image=str(own["image"]),
            resources={str(key): str(value) for key, value in own["resources"].items()},
            folder=folder,
            interpreter=str(content["argv"][0]),
            mounts=tuple(map(str, own.get("mounts", ()))),
            environ=tuple(map(str, own.get("environ", ()))),
            values=str(own.get("values", "")),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # not in the form that we write: somebody else's


@dataclass(frozen=True, slots=True)
class Removal:
    """What `uninstall` removed, and what it left alone: name → why."""

    removed: tuple[InstalledSpec, ...]
    left: Mapping[str, str]


def uninstall(names: Iterable[str] | None, *, prefix: Path | None = None) -> Removal:
    """Remove kernelspecs of ours.

    Args:
        names: Which; ``None`` for all.
        prefix: As for `installed`.

    Raises:
        ConfigError: A folder cannot be removed; those before it are gone.
    """
    found = list(_all_specs(prefix))
    ours = [spec for _, spec in found if spec is not None]
    left: dict[str, str] = {}
    if names is not None:
        wanted = {name.lower() for name in names}
        for name in sorted(wanted - {spec.name for spec in ours}):
            left[name] = _why_left(name, {name for name, _ in found}, {spec.name for spec in ours})
        ours = [spec for spec in ours if spec.name in wanted]
    for spec in ours:
        try:
            shutil.rmtree(spec.folder)
            if spec.values:
                forget_values(os.environ, spec.values)
        except OSError as exc:
            raise ConfigError(f"{spec.folder} cannot be removed: {exc.strerror}.") from exc
    return Removal(tuple(ours), left)


def _why_left(name: str, known: set[str], ours: set[str]) -> str:
    if name in known:
        return "not ours"
    close = difflib.get_close_matches(name, ours, n=1)
    return f"not installed; did you mean {close[0]}?" if close else "not installed"
