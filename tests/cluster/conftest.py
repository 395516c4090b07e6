"""Fixtures for a real cluster: the one that the environment names, and nothing without one."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator

import pytest

from backendai_kernel.client import Client
from backendai_kernel.config import Config
from backendai_kernel.session import ComputeSession
from backendai_kernel.start import Request, start_session


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of the cluster that BACKEND_ENDPOINT names."""
    if not os.environ.get("BACKEND_ENDPOINT"):
        pytest.skip("BACKEND_ENDPOINT names no cluster")
    config = Config.from_env(os.environ, with_profile=False)
    async with Client(config) as client:
        yield client


@pytest.fixture
async def session(client: Client) -> AsyncIterator[ComputeSession]:
    """A session of its own for a test, ended after it."""
    session = await start_session(client, Request("python"), f"test-{secrets.token_hex(4)}")
    try:
        yield session
    finally:
        await session.destroy()
