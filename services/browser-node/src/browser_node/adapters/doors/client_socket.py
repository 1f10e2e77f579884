"""One client's WebSocket: a CdpClient for the browser."""

import asyncio
from collections.abc import Callable

from picows import WSMsgType

from browser_node.adapters.doors.browser_socket import BrowserSocket
from browser_node.adapters.doors.door import MAX_MESSAGE_BYTES
from browser_node.usecases.ports import CdpAccess, CdpConnection, LiveBrowser

# A client with more than this unread in the socket is behind, and what it is sent from then on is counted.
_BEHIND_BYTES = 256 * 1024
# What may wait for a client that is behind. A single message may be larger; the next one then ends it.
_MOST_QUEUED_BYTES = 32 * 1024 * 1024
_MOST_QUEUED_MESSAGES = 20_000


class ClientSocket(BrowserSocket):
    """Speaks CDP."""

    def __init__(self, browser: LiveBrowser, access: CdpAccess, keep: Callable[["asyncio.Task[None]"], None]) -> None:
        super().__init__(
            keep, behind_bytes=_BEHIND_BYTES, most_bytes=MAX_MESSAGE_BYTES, no_binary="CDP messages are text"
        )
        self._browser = browser
        self._access = access
        self._queued_bytes = 0
        self._queued_messages = 0

    def send(self, message: bytes) -> None:
        self._send(WSMsgType.TEXT, message)

    async def join(self) -> CdpConnection:
        return await self._browser.attach(self, self._access)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._queued_bytes = self._queued_messages = 0

    def may_queue(self, message: bytes) -> bool:
        self._queued_bytes += len(message)
        self._queued_messages += 1
        fits = self._queued_bytes <= _MOST_QUEUED_BYTES or self._queued_messages == 1
        return fits and self._queued_messages <= _MOST_QUEUED_MESSAGES
