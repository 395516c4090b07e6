"""Fixtures that several groups of tests share: an embedded manager on a real port."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from backendai_kernel.local.manager import LocalManager
from tests.signed import Signed, signed

# A shell's background job ignores Ctrl-C, and so would every process that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# With these from `make test`, a `make` in a session tells where it is.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)

ROOMY = {"cpu": Decimal(8), "mem": Decimal(16 * 2**30), "cuda.shares": Decimal(2)}
"""Slots enough for several sessions, whatever the computer has."""


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[LocalManager]:
    """A manager of the newest release with two simulated GPUs and no session."""
    async with LocalManager(tmp_path / "manager", slots=ROOMY) as manager:
        yield manager


@pytest.fixture
async def api(manager: LocalManager) -> AsyncIterator[Signed]:
    """Signed requests to `manager`."""
    async with signed(manager) as api:
        yield api
