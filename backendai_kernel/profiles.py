"""What a kernel starts: profiles that come with the package, and what options make of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .errors import ConfigError
from .slots import parse_words
from .variables import read_mounts

_LONGEST = 120  # characters of a name that is made; a folder has it


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kernel starts: the session's image and its resources.

    Attributes:
        name: Key in `BUILTIN`, also of a profile that was changed by options.
        display_name: What the launcher shows.
        image: Full reference or alias.
        resources: Words such as ``gpu=0.5``; none for the image's minimum.
        mounts: Virtual folders, as ``data`` or ``data:/mnt``.
        environ: Names of environment variables of the sessions; their values are kept elsewhere.
        project, scaling_group: ``""`` for what the settings or the server say.
    """

    name: str
    display_name: str
    image: str
    resources: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    environ: tuple[str, ...] = ()
    project: str = ""
    scaling_group: str = ""


BUILTIN: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("python", "Backend.AI Python", "python"),
        Profile("python-gpu", "Backend.AI Python (GPU 0.5)", "python", ("gpu=0.5",)),
    )
}
"""The profiles that come with the package, by name."""


def resolve_profile(
    name: str = "python",
    *,
    image: str | None = None,
    resources: Iterable[str] = (),
    mounts: Iterable[str] = (),
    environ: Iterable[str] = (),
    project: str = "",
    scaling_group: str = "",
) -> Profile:
    """Return the profile that a kernel's options mean.

    Args:
        name: A name in `BUILTIN`.
        image: Taken in place of the profile's own.
        resources: Words that are added to the profile's own, or replace those of the same name.
        mounts, environ, project, scaling_group: As in `Profile`.

    Raises:
        ConfigError: There is no such profile, or a word is not ``name=amount`` or names no folder.
    """
    profile = BUILTIN.get(name)
    if profile is None:
        close = difflib.get_close_matches(name, BUILTIN, n=1)
        guess = f"Did you mean {close[0]!r}? " if close else ""
        raise ConfigError(
            f"There is no profile {name!r}.",
            hint=f"{guess}The profiles are {' and '.join(BUILTIN)}.",
        )
    words = _by_name(profile.resources) | _by_name(resources)
    folders = read_mounts(mounts)
    changed = replace(
        profile,
        image=image or profile.image,
        resources=tuple(words.values()),
        mounts=tuple(f"{name}:{path}" if path else name for name, path in folders.items()),
        environ=tuple(dict.fromkeys(environ)),
        project=project,
        scaling_group=scaling_group,
    )
    if changed == profile:
        return profile
    details = [changed.image] * (changed.image != profile.image)
    details += [*changed.resources, *folders, *changed.environ]
    details += filter(None, [project, scaling_group])
    return replace(changed, display_name=f"{BUILTIN['python'].display_name} ({', '.join(details)})")


def _by_name(words: Iterable[str]) -> dict[str, str]:
    """Return resource name → word; `parse_words` refuses what is none."""
    found = {}
    for word in words:
        (name,) = parse_words([word])
        found[name] = f"{name}={word.partition('=')[2].strip()}"
    return found


def default_name(profile: Profile) -> str:
    """Return a kernelspec name: ``backendai-python``, ``backendai-python-gpu0.5-mem4g`` …"""
    if profile == BUILTIN.get(profile.name):
        return f"backendai-{profile.name}"
    image = profile.image.rpartition("/")[2]
    parts = [image, *(word.replace("=", "") for word in profile.resources)]
    parts += [*profile.mounts, *profile.environ, profile.project, profile.scaling_group]
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(filter(None, parts)))
    return "backendai-" + words[:_LONGEST].strip("-.")
