"""The line magic ``%bai``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from IPython.core.magic import Magics, line_magic, magics_class

from backendai_kernel.config import Config
from backendai_kernel.errors import BackendError, ConfigError
from backendai_kernel.views import Facts


@magics_class
class BaiMagics(Magics):
    """``%bai`` tells where the cells of this notebook run."""

    @line_magic
    def bai(self, line: str) -> Facts:
        """Tell where this notebook runs: server, keypair, session, image, resources.

        Usage::

            %bai
        """
        if line.strip():
            raise ConfigError(
                f"%bai takes no arguments yet: {line.strip()!r} is not known.",
                hint="Write %bai alone; backendai-kernel in a terminal has more.",
            )
        return Facts("Backend.AI", (*_server(), *_session(self.shell)))


def _server() -> list[tuple[str, str]]:
    try:
        config = Config.from_env(os.environ, cwd=Path.cwd())
    except BackendError as exc:
        return [("Server", str(exc))]
    if config.is_local:
        return [("Server", "the manager on this computer (no endpoint is configured)")]
    facts = [("Server", config.endpoint)]
    if config.access_key:
        facts.append(("Access key", f"{config.access_key[:8]}…"))
    return [*facts, ("Domain", config.domain), ("Project", config.group)]


def _session(shell: Any) -> list[tuple[str, str]]:
    describe = getattr(getattr(shell, "kernel", None), "describe_session", None)
    if describe is None:
        return [("Session", "none: this is not a Backend.AI kernel")]
    return list(describe())
