"""The floors of the house: a module imports from its own floor and below, never from above."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = [
    "errors model slots config variables",
    "protocol",
    "client answers archive outgoing clock events ratelimit pace portal local",
    "session run recovery anew creation start quota listing leases orphans expiry postmortem upload batch follow values perform ending resources usage relay accepted apps tunnel opened carrier links stdio download ownkeys sshkeys connect sshaccess sshconfig sshhosts journal vfolders places storage unpack sftp sessionfiles",
    "sshwords filewords filework folderwork views tables outputs card describe profiles specs doctor login outcomes doors",
    "proxy cli cli_apps cli_ssh cli_files cli_words finish provisioner __main__ backendai_magics bai",
]
"""Top modules by floor, ground floor first; a package stands for all its modules."""

FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
EVERYWHERE = "__init__"  # the version and nothing else

LATE = ["aiohttp", "ipywidgets", "msgspec", "pandas", "psutil", "backendai_magics"]
"""What the way to ``kernel_info`` must not load: each costs tens or hundreds of milliseconds."""


def sources() -> dict[str, Path]:
    """Return dotted module name → file, for all code that ships."""
    found = {}
    for root in (ROOT, ROOT / "magics"):
        for path in [*root.glob("backendai_*/**/*.py"), *root.glob("bai.py")]:
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts)] = path
    return found


def imports(module: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything that *module* imports, relative names resolved.

    ``from package import name`` yields ``package.name``, which may be a module or something in it.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            # `module` ends in __init__ for a package, so one part less is its package either way
            base = module.split(".")[: -node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])


def part(module: str) -> str | None:
    """Return the name in the table of floors that *module* belongs to, ``None`` for foreign ones.

    ``backendai_kernel.proxy.kernel`` belongs to ``proxy``.
    """
    top, _, rest = module.partition(".")
    if top in ("backendai_magics", "bai"):
        return top
    if top != "backendai_kernel":
        return None
    inner = rest.partition(".")[0]
    return inner if inner in FLOOR else EVERYWHERE


def complaints(module: str, source: str) -> list[str]:
    """Return one sentence for each import of *source* that breaks a rule of the house."""
    own = part(module)
    assert own is not None
    found = []
    for line, name in imports(module, ast.parse(source)):
        other = part(name)
        if other is None or EVERYWHERE in (own, other):
            continue
        where = f"{module}:{line} imports {name}"
        if FLOOR[other] > FLOOR[own]:
            found.append(f"{where}: from floor {FLOOR[own]} up to {FLOOR[other]}")
        if own == "proxy" and other in ("backendai_magics", "bai"):
            found.append(f"{where}: the kernel loads the magics by name, as any extension")
        if own == "local" and other != "local" and FLOOR[other] > 1:
            found.append(f"{where}: the embedded manager shares floors 0 and 1 with the client")
    return found


def test_every_module_has_a_floor():
    names = {part_name(module) for module in sources()} - {EVERYWHERE}

    assert names <= set(FLOOR), "give each new module its floor in FLOORS"


def part_name(module: str) -> str:
    """Return the part a file belongs to, whether the table knows it or not."""
    names = module.split(".")
    return names[0] if names[0] != "backendai_kernel" else names[1]


def test_no_import_points_up():
    found = [
        sentence
        for module, path in sources().items()
        for sentence in complaints(module, path.read_text(encoding="utf-8"))
    ]

    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("backendai_kernel.errors", "from .model import Session\nfrom . import client"),
        ("backendai_kernel.protocol.calls", "import backendai_kernel.client"),
        ("backendai_kernel.protocol.__init__", "def late():\n    from ..session import Run"),
        ("backendai_kernel.proxy.kernel", "from backendai_magics import magics"),
        ("backendai_kernel.local.agent", "from ..client import Client"),
        ("backendai_kernel.local.agent", "from ..portal import Portal"),
        ("backendai_kernel.session", "from .proxy.kernel import BackendAIKernel"),
        ("backendai_kernel.specs", "import backendai_kernel.cli as cli"),
    ],
)
def test_an_import_that_points_up_is_found(module, source):
    assert len(complaints(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("backendai_kernel.proxy.kernel", "from ..session import Run\nfrom . import outputs"),
        ("backendai_kernel.protocol.calls", "from .. import model\nfrom .signing import sign"),
        ("backendai_kernel.local.agent", "from ..protocol import run\nfrom . import faults"),
        ("backendai_kernel.client", "from . import __version__\nimport aiohttp"),
    ],
)
def test_an_import_from_below_is_left_alone(module, source):
    assert complaints(module, source) == []


def loaded_by(statement: str) -> tuple[set[str], int]:
    """Return the modules that a fresh interpreter has after *statement*, and its TLS contexts."""
    code = f"""
import gc, ssl, sys
{statement}
contexts = sum(isinstance(thing, ssl.SSLContext) for thing in gc.get_objects())
print(contexts, *sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    contexts, *modules = run.stdout.split()
    return set(modules), int(contexts)


def test_a_context_made_at_import_would_be_seen():
    _, contexts = loaded_by("context = ssl.create_default_context()")

    assert contexts == 1


def test_the_way_to_kernel_info_loads_no_client_and_no_widgets():
    base, _ = loaded_by("import ipykernel.kernelapp")  # some versions load psutil themselves
    modules, contexts = loaded_by("import backendai_kernel.__main__, backendai_kernel.proxy.kernel")

    assert (modules - base).isdisjoint(LATE)
    assert contexts == 0
