"""One client's WebSocket: a CdpClient for the browser, and a listener for picows."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from browser_node.adapters.doors.door import MAX_MESSAGE_BYTES
from browser_node.usecases.ports import CdpAccess, CdpConnection, LiveBrowser
from fleetkit.errors import FleetError

# A client with more than this unread in the socket is behind, and what it is sent from then on is counted.
_BEHIND_BYTES = 256 * 1024
# What may wait for a client that is behind. A single message may be larger; the next one then ends it.
_MOST_QUEUED_BYTES = 32 * 1024 * 1024
_MOST_QUEUED_MESSAGES = 20_000
# After a close frame the client has this long to answer.
_CLOSE_TIMEOUT = timedelta(seconds=5)


class ClientSocket(WSListener):
    """Joins a browser when it is connected, and leaves it when it is not any more."""

    def __init__(self, browser: LiveBrowser, access: CdpAccess, keep: Callable[["asyncio.Task[None]"], None]) -> None:
        super().__init__()
        self._browser = browser
        self._access = access
        self._keep = keep
        self._transport: WSTransport | None = None
        self._connection: CdpConnection | None = None
        self._early: list[bytes] = []
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._paused = False
        self._behind = False
        self._queued_bytes = 0
        self._queued_messages = 0
        self._closing = False

    # ---- picows calls these

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.underlying_transport.set_write_buffer_limits(high=_BEHIND_BYTES)
        # Nothing is read before the browser is joined: what has been read already waits in `_early`.
        self._pace_reading()
        self._keep(asyncio.create_task(self._join()))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind is WSMsgType.TEXT and frame.fin and not self._parts:
            self._take(frame.get_payload_as_bytes())
        elif kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._take_part(frame)
        elif kind is WSMsgType.CLOSE:
            if not self._closing:
                self._closing = True
                transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif kind is WSMsgType.BINARY:
            self.close(WSCloseCode.UNSUPPORTED_DATA.value, "CDP messages are text")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._closing = True
        if self._connection is not None:
            self._connection.leave()

    def pause_writing(self) -> None:
        self._behind = True
        self._queued_bytes = self._queued_messages = 0

    def resume_writing(self) -> None:
        self._behind = False

    # ---- the browser calls these

    def send(self, message: bytes) -> None:
        if self._closing or self._transport is None:
            return
        if self._behind and not self._may_queue(message):
            self.close(WSCloseCode.TRY_AGAIN_LATER.value, "reads too slowly")
            return
        self._transport.send(WSMsgType.TEXT, message)

    def close(self, code: int, reason: str) -> None:
        if self._closing or self._transport is None:
            return
        self._closing = True
        self._transport.send_close(WSCloseCode(code), reason.encode()[:123])
        if self._connection is not None:
            self._connection.leave()
        # A client that does not answer is cut, and with it whatever it did not read.
        asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT.total_seconds(), self._transport.disconnect, False)
        self._pace_reading()

    def pause_reading(self) -> None:
        self._paused = True
        self._pace_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._pace_reading()

    # ---- its own

    def _pace_reading(self) -> None:
        """Read or not, as things stand; a socket that closes is read, for the client's answer to that."""
        if self._transport is None or self._transport.is_disconnected:
            return
        if not self._closing and (self._paused or self._connection is None):
            self._transport.underlying_transport.pause_reading()
        else:
            self._transport.underlying_transport.resume_reading()

    def _may_queue(self, message: bytes) -> bool:
        self._queued_bytes += len(message)
        self._queued_messages += 1
        fits = self._queued_bytes <= _MOST_QUEUED_BYTES or self._queued_messages == 1
        return fits and self._queued_messages <= _MOST_QUEUED_MESSAGES

    async def _join(self) -> None:
        try:
            connection = await self._browser.attach(self, self._access)
        except FleetError as error:
            self.close(WSCloseCode.GOING_AWAY.value, error.message)
            return
        if self._closing:
            connection.leave()
            return
        self._connection = connection
        early, self._early = self._early, []
        for message in early:
            connection.receive(message)
        self._pace_reading()

    def _take(self, message: bytes) -> None:
        if self._closing:
            return
        if self._connection is None:
            self._early.append(message)
        else:
            self._connection.receive(message)

    def _take_part(self, frame: WSFrame) -> None:
        part = frame.get_payload_as_bytes()
        self._parts.append(part)
        self._parts_bytes += len(part)
        if self._parts_bytes > MAX_MESSAGE_BYTES:
            self._parts = []
            self.close(WSCloseCode.MESSAGE_TOO_BIG.value, "message too big")
        elif frame.fin:
            message = b"".join(self._parts)
            self._parts, self._parts_bytes = [], 0
            self._take(message)
