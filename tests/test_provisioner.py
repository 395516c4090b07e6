"""The optional provisioner: more time for a kernel's end, and none left behind that was killed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.provisioning import KernelProvisionerFactory

from backendai_kernel import leases, provisioner
from backendai_kernel.profiles import BUILTIN
from backendai_kernel.proxy.life import SHUTDOWN_LIMIT, shutdown_limit
from backendai_kernel.specs import kernel_json

from .proxy.frontend import bare_environment, environment_for, eventually, open_notebook
from .proxy.test_restart import all_over, session_of

ROOT = Path(__file__).parents[1]
GROUP = "jupyter_client.kernel_provisioners"


def metadata() -> dict[str, Any]:
    """Return what a kernelspec that was installed for it says; Jupyter adds to that."""
    return dict(kernel_json(BUILTIN["python"], provisioner=provisioner.NAME)["metadata"])


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """Have Jupyter find it, as it does where this package is installed."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    KernelProvisionerFactory.clear_instance()
    factory = KernelProvisionerFactory.instance()
    factory.provisioners |= {n: EntryPoint(n, value, GROUP) for n, value in entry.items()}
    yield
    KernelProvisionerFactory.clear_instance()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("k")


async def test_a_kernel_is_granted_the_time_that_a_slow_server_takes(manager, folder):
    environ = environment_for(manager, folder)
    async with open_notebook(folder, environ, metadata=metadata()) as notebook:
        await notebook.run("1")
        used = notebook.manager.provisioner
        delay = manager.faults.delay(4, method="DELETE", path=f"/session/{session_of(manager).id}")
    await all_over(manager)

    assert isinstance(used, provisioner.BackendProvisioner)
    assert used.get_shutdown_wait_time(5.0) == 22.0
    assert delay.hits == 1
    assert leases.survey(bare_environment(folder)) == []  # the kernel itself was there to its end


async def test_a_killed_kernels_session_is_ended_for_it(manager, folder):
    environ = environment_for(manager, folder)
    async with open_notebook(folder, environ, metadata=metadata()) as notebook:
        await notebook.run("1")
        notebook.process.kill()
    await all_over(manager)
    await eventually(lambda: not leases.survey(bare_environment(folder)), "its lease is gone")


async def test_a_restart_ends_nothing(manager, folder):
    environ = environment_for(manager, folder)
    async with open_notebook(folder, environ, metadata=metadata()) as notebook:
        await notebook.run("1")
        first = session_of(manager)
        await notebook.restart()

        assert session_of(manager) is first
    await all_over(manager)


def test_a_kernelspec_names_it_only_when_asked():
    own = json.dumps(kernel_json(BUILTIN["python"]))

    assert "provisioner" not in own
    assert metadata()["kernel_provisioner"] == {"provisioner_name": provisioner.NAME}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", SHUTDOWN_LIMIT), ("9.5", 9.5), ("x", SHUTDOWN_LIMIT), ("0", SHUTDOWN_LIMIT)],
)
def test_a_kernel_takes_the_time_that_it_is_told(monkeypatch, text, seconds):
    monkeypatch.setenv("BACKENDAI_KERNEL_SHUTDOWN", text)

    assert shutdown_limit() == seconds
