"""The tests that Jupyter has for kernels, against ours on an embedded manager."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
import unittest
import unittest.mock
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryDirectory

import ipykernel
import jupyter_kernel_test
import pytest
import zmq

from backendai_kernel.local.manager import LocalManager

from ..conftest import ROOMY
from .frontend import environment_for


class ManagerThread:
    """A manager for tests that have no loop of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready: Future[LocalManager] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, self._enough = asyncio.get_running_loop(), asyncio.Event()
        async with LocalManager(self._folder, slots=ROOMY) as manager:
            self._ready.set_result(manager)
            await self._enough.wait()

    def __enter__(self) -> LocalManager:
        self._thread.start()
        return self._ready.result(30)

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._enough.set)
        self._thread.join(30)


class OurKernel(unittest.TestCase):
    """Has a kernelspec that starts our kernel, under a name of its own."""

    kernel_name = "backendai-under-test"
    kernel_words: tuple[str, ...] = ()

    @classmethod
    def environment(cls, folder: Path) -> dict[str, str]:
        """Return the environment of the kernel; what it needs stays until the class is done."""
        manager = cls.enterClassContext(ManagerThread(folder / "manager"))
        return environment_for(manager, folder)

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        folder = Path(cls.folder.name)
        spec = folder / "jupyter" / "kernels" / cls.kernel_name
        spec.mkdir(parents=True)
        words = ["-m", "backendai_kernel", "-f", "{connection_file}", *cls.kernel_words]
        (spec / "kernel.json").write_text(
            json.dumps(
                {
                    "argv": [sys.executable, *words],
                    "display_name": "Backend.AI Python",
                    "language": "python",
                    "interrupt_mode": "message",
                    "env": cls.environment(folder),
                }
            )
        )
        cls.enterClassContext(
            unittest.mock.patch.dict(os.environ, JUPYTER_PATH=str(folder / "jupyter"))
        )
        super().setUpClass()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the suite leaves its sockets open
class TestConformance(OurKernel, jupyter_kernel_test.KernelTests):
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('oh no', file=sys.stderr)"
    code_generate_error = "raise ValueError('no')"
    complete_code_samples = ("1", "print('a')", "def f():\n    return 1\n\n")
    incomplete_code_samples = ("print('a'", "def f():")
    invalid_code_samples = ("x = = 1", "import = 7q")
    code_execute_result = (
        {"code": "1+2+3", "result": "6", "mime": "text/plain"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]", "mime": "text/plain"},
    )
    code_display_data = (
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))",
            "mime": "text/html",
        },
        {
            "code": "from IPython.display import Math, display; display(Math('x'))",
            "mime": "text/latex",
        },
    )
    supported_history_operations = ("tail", "range", "search")
    completion_samples = ({"text": "zi", "matches": {"zip"}},)
    code_page_something = "zip?"
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"
    code_history_pattern = "1?2*"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
class TestWelcome(OurKernel, jupyter_kernel_test.IopubWelcomeTests):
    support_iopub_welcome = ipykernel.version_info >= (7, 2)

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # What the kernel says while it starts may reach a new subscriber before its welcome does,
        # so that is heard out first; under a topic, because of several equal subscriptions that
        # overlap a socket tells of the first only, and a closed one lasts until libzmq is done.
        first = cls.km.client()
        first.start_channels(iopub=False, stdin=False, hb=False)
        with zmq.Context() as context, context.socket(zmq.SUB) as said:
            said.subscribe(b"kernel.")
            said.connect(f"tcp://{first.ip}:{first.iopub_port}")
            deadline, asked, is_idle = time.monotonic() + 60, "", False
            while not is_idle:
                assert time.monotonic() < deadline, "the kernel does not become idle"
                if not said.poll(1000):
                    asked = first.kernel_info()
                    continue
                _, parts = first.session.feed_identities(said.recv_multipart())
                heard = first.session.deserialize(parts)
                is_idle = (
                    heard["parent_header"].get("msg_id") == asked
                    and heard["content"].get("execution_state") == "idle"
                )
        first.stop_channels()

    @classmethod
    def tearDownClass(cls) -> None:
        # A heartbeat that is stopped before its thread has begun never stops.
        deadline = time.monotonic() + 30
        heartbeat = cls.kc.hb_channel
        while heartbeat.is_alive() and not heartbeat.is_beating():
            assert time.monotonic() < deadline, "the heartbeat does not begin"
            time.sleep(0.01)
        super().tearDownClass()
