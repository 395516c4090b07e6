"""The tests that Jupyter has for kernels, against ours on a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..proxy import test_conformance as suite
from .test_kernel import MODEST, environment


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the suite leaves its sockets open
class TestConformance(suite.TestConformance):
    kernel_words = MODEST

    @classmethod
    def environment(cls, folder: Path) -> dict[str, str]:
        return environment(folder)
