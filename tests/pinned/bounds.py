"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

Only what the package itself needs; the tools of its development may be of any version.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

_LOWEST = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)")


def lowest(pyproject: Path) -> Iterator[str]:
    """Yield ``name==version`` for each dependency and each of the extras ``local`` and ``panels``.

    Raises:
        ValueError: One has no lower bound.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project["optional-dependencies"]
    for wanted in project["dependencies"] + extras["local"] + extras["panels"]:
        found = _LOWEST.match(wanted)
        if found is None:
            raise ValueError(f"no lower bound: {wanted}")
        yield "{}=={}".format(*found.groups())


if __name__ == "__main__":
    print("\n".join(lowest(Path(__file__).parents[2] / "pyproject.toml")))
