"""The one loop thread: all of our input and output happens there.

A kernel calls from its main thread, its control thread and, under JupyterLab, from subshell
threads; a client bound to any of their loops would break in the others. So there is one more loop,
in a thread of its own, and everything crosses over to it here.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar, cast

T = TypeVar("T")

_TIDY = 5.0  # seconds that an interrupted caller waits for the clean-up of its work


class Portal:
    """A thread with an event loop, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop; its thread is started if it does not run yet."""
        with self._lock:
            if self._loop is None:
                ready: Future[asyncio.AbstractEventLoop] = Future()
                self._thread = threading.Thread(
                    target=self._serve, args=(ready,), name="backendai-portal", daemon=True
                )
                self._thread.start()
                self._loop = ready.result()
                atexit.register(self.close)
            return self._loop

    def _serve(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        async def main() -> None:
            self._stop = asyncio.Event()
            ready.set_result(asyncio.get_running_loop())
            await self._stop.wait()

        asyncio.run(main())  # cancels and awaits what is still under way

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin *work* on the loop, from any thread; cancelling the future cancels the work."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do *work* on the loop and wait for it, from any thread but the portal's own.

        An interrupt (``KeyboardInterrupt``) cancels the work, waits for its clean-up for some
        seconds, and goes on; a second one does not wait.
        """
        begun: list[asyncio.Task[T]] = []
        over = threading.Event()

        async def watched() -> T:
            begun.append(cast("asyncio.Task[T]", asyncio.current_task()))
            try:
                return await work
            finally:
                over.set()

        whole = watched()
        try:
            return self.start(whole).result()
        except KeyboardInterrupt:
            # It may have come while the work was being handed over. What was handed over has begun
            # when something later has; cancelled before its first step, it would never tidy up.
            wait([self.start(asyncio.sleep(0))], _TIDY)
            if begun:
                self.loop.call_soon_threadsafe(begun[0].cancel)
                over.wait(_TIDY)
            else:
                whole.close()
                work.close()
            raise

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do *work* on the loop and await it on another loop; cancelling reaches the work."""
        return await asyncio.wrap_future(self.start(work))

    def close(self, timeout: float = 5.0) -> None:
        """Cancel what is still under way and end the thread; it starts again when needed."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            atexit.unregister(self.close)
            loop.call_soon_threadsafe(self._stop.set)
            thread.join(timeout)
