"""Real servers for a whole test run: they live in a thread of their own, beside the event loops of the tests."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Self, TypeVar

T = TypeVar("T")


class BackgroundServers:
    """An event loop in a thread, and what was entered on it; left in reverse order at the end of the block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-servers", daemon=True)
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self, server: AbstractAsyncContextManager[T]) -> T:
        """Enter `server` and keep it until the end of the block."""
        return self._run(self._stack.enter_async_context(server))

    async def call(self, work: Coroutine[object, object, T]) -> T:
        """Run `work` on the servers' loop and return its result to a test's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=120)
