"""``%bai``: Backend.AI from any notebook. Load it with ``%load_ext bai``; our kernel has it loaded.

Nothing that takes long to import is imported here: a magic imports what it needs when it is used.
"""

from __future__ import annotations

from typing import Any

_NAME = "bai"


def load_ipython_extension(shell: Any) -> None:
    """Give the shell its ``%bai``; doing it again changes nothing."""
    from .magics import BaiMagics

    shell.register_magics(BaiMagics(shell))


def unload_ipython_extension(shell: Any) -> None:
    """Take ``%bai`` away again; nothing else was left in the shell."""
    for magics in shell.magics_manager.magics.values():
        magics.pop(_NAME, None)
    shell.magics_manager.registry.pop("BaiMagics", None)
