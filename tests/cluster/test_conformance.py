"""The tests that Jupyter has for kernels, against ours on a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..proxy import test_conformance as suite
from .test_kernel import MODEST, environment

QUEUED = 300.0  # seconds for a session to come up, behind those of others


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the suite leaves its sockets open
class TestConformance(suite.TestConformance):
    kernel_words = MODEST

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # The suite gives each cell 15 s, and the first one starts the session.
        cls.kc.execute_interactive("None", timeout=QUEUED)

    @classmethod
    def environment(cls, folder: Path) -> dict[str, str]:
        return environment(folder)


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore::ResourceWarning")
class TestWelcome(suite.TestWelcome):
    kernel_words = MODEST

    @classmethod
    def environment(cls, folder: Path) -> dict[str, str]:
        return environment(folder)
