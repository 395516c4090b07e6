"""``%bai``: Backend.AI from any notebook. Load it with ``%load_ext bai``; our kernel has it loaded.

Nothing that takes long to import is imported here: a magic imports what it needs when it is used.
"""

from __future__ import annotations

from typing import Any

_NAME = "bai"
_CLASS = "BaiMagics"


def load_ipython_extension(shell: Any) -> None:
    """Give the shell its ``%bai``; doing it again begins anew."""
    unload_ipython_extension(shell)
    from .magics import BaiMagics

    magics = BaiMagics(shell)
    shell.register_magics(magics)
    magics.notation.install()


def unload_ipython_extension(shell: Any) -> None:
    """Take ``%bai`` away again; nothing else is left in the shell."""
    magics = shell.magics_manager.registry.pop(_CLASS, None)
    for kind in shell.magics_manager.magics.values():
        kind.pop(_NAME, None)
    if magics is not None:
        magics.close()
