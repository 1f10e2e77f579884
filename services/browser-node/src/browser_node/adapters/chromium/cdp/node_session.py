"""A browser-level session of the node itself: downloads, recorder and watcher each have one."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from browser_node.adapters.chromium.cdp.multiplexer import Command, Multiplexer, encode, result_of


class NodeSession:
    """An endpoint inside the node. Events are given to `on_event` as the browser wrote them."""

    def __init__(self, multiplexer: Multiplexer, on_event: Callable[[bytes], None]) -> None:
        self._multiplexer = multiplexer
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._refused: dict[int, Callable[[], None]] = {}
        self._root: str | None = None
        self.root_tail = b""
        self.pending = 0

    async def open(self) -> None:
        """Raises CdpError."""
        self._root = await self._multiplexer.open_root(self)

    def close(self) -> None:
        """End the session and all sessions below it."""
        root, self._root = self._root, None
        if root is not None:
            self._multiplexer.forget(self, root)
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()
        self._refused.clear()

    def deliver(self, message: bytes) -> None:
        if not message.startswith(b'{"id":'):
            self._on_event(message)
            return
        comma = message.index(b",", 6)
        own_id = int(message[6:comma])
        refused = self._refused.pop(own_id, None)
        if refused is not None and message.startswith(b',"error"', comma):
            refused()
        future = self._waiting.pop(own_id, None)
        if future is not None and not future.done():
            future.set_result(message)

    def pending_changed(self) -> None:
        """The node does not flood its browsers."""

    def root_ended(self) -> None:
        """A browser-level session ends with the browser, and that is told otherwise."""

    async def call(
        self, method: str, params: dict[str, object] | None = None, session_id: str | None = None
    ) -> dict[str, Any]:  # the result of any command
        """Run a command and return its result. Raises CdpError."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        own_id = next(self._ids)
        self._waiting[own_id] = future
        self._submit(own_id, method, params, session_id)
        return result_of(await future)

    def tell(
        self,
        method: str,
        params: dict[str, object] | None = None,
        session_id: str | None = None,
        *,
        refused: Callable[[], None] | None = None,
    ) -> None:
        """Run a command; nobody waits for the answer. `refused` is called when it is an error."""
        own_id = next(self._ids)
        if refused is not None:
            self._refused[own_id] = refused
        self._submit(own_id, method, params, session_id)

    def _submit(self, own_id: int, method: str, params: dict[str, object] | None, session_id: str | None) -> None:
        if self._root is None:
            return
        command = Command(own_id, method, msgspec.Raw(encode(params or {})), session_id)
        self._multiplexer.submit(self, command, self._root)
