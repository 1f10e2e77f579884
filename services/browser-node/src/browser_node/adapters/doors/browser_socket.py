"""A WebSocket that joins a browser when it is connected, and leaves it when it is not any more."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from fleetkit.errors import FleetError

# After a close frame the other side has this long to answer.
_CLOSE_TIMEOUT = timedelta(seconds=5)


class Place(Protocol):
    """A socket's place in a browser."""

    def receive(self, message: bytes) -> None: ...
    def leave(self) -> None: ...


class BrowserSocket(WSListener):
    """What every door's socket does; a door says how to join, and when a message more is one too many.

    `behind_bytes` is how much may wait unread in the socket before it counts as slow; `most_bytes` is how large a text
    message may be; a binary one ends the socket with `no_binary`.
    """

    def __init__(
        self,
        keep: Callable[["asyncio.Task[None]"], None],
        *,
        behind_bytes: int,
        most_bytes: int,
        no_binary: str,
    ) -> None:
        super().__init__()
        self._keep = keep
        self._behind_bytes = behind_bytes
        self._most_bytes = most_bytes
        self._no_binary = no_binary
        self._transport: WSTransport | None = None
        self._place: Place | None = None
        self._early: list[bytes] = []
        self._partial = bytearray()
        self._paused = False
        self._behind = False
        self._closing = False

    @abstractmethod
    async def join(self) -> Place:
        """Take a place in the browser. Raises FleetError."""

    @abstractmethod
    def may_queue(self, message: bytes) -> bool:
        """Whether one more message may wait for a socket that is slow."""

    # ---- picows calls these

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.underlying_transport.set_write_buffer_limits(high=self._behind_bytes)
        # Nothing is read before the browser is joined: what has been read already waits in `_early`.
        self._pace_reading()
        self._keep(asyncio.create_task(self._join()))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind is WSMsgType.TEXT and frame.fin and not self._partial:
            self._take(frame.get_payload_as_bytes())
        elif kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._take_part(frame)
        elif kind is WSMsgType.CLOSE:
            if not self._closing:
                self._closing = True
                transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif kind is WSMsgType.BINARY:
            self.close(WSCloseCode.UNSUPPORTED_DATA.value, self._no_binary)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._closing = True
        if self._place is not None:
            self._place.leave()

    def pause_writing(self) -> None:
        self._behind = True

    def resume_writing(self) -> None:
        self._behind = False

    # ---- the browser calls these

    def close(self, code: int, reason: str) -> None:
        if self._closing or self._transport is None:
            return
        self._closing = True
        self._transport.send_close(WSCloseCode(code), reason.encode()[:123])
        if self._place is not None:
            self._place.leave()
        # Who does not answer is cut, and with it whatever it did not read.
        asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT.total_seconds(), self._transport.disconnect, False)
        self._pace_reading()

    def pause_reading(self) -> None:
        self._paused = True
        self._pace_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._pace_reading()

    # ---- its own

    def _send(self, kind: WSMsgType, message: bytes) -> None:
        if self._closing or self._transport is None:
            return
        if self._behind and not self.may_queue(message):
            self.close(WSCloseCode.TRY_AGAIN_LATER.value, "reads too slowly")
            return
        self._transport.send(kind, message)

    def _pace_reading(self) -> None:
        """Read or not, as things stand; a socket that closes is read, for the other side's answer to that."""
        if self._transport is None or self._transport.is_disconnected:
            return
        if not self._closing and (self._paused or self._place is None):
            self._transport.underlying_transport.pause_reading()
        else:
            self._transport.underlying_transport.resume_reading()

    async def _join(self) -> None:
        try:
            place = await self.join()
        except FleetError as error:
            self.close(WSCloseCode.GOING_AWAY.value, error.message)
            return
        if self._closing:
            place.leave()
            return
        self._place = place
        early, self._early = self._early, []
        for message in early:
            place.receive(message)
        self._pace_reading()

    def _take(self, message: bytes) -> None:
        if self._closing:
            return
        if len(message) > self._most_bytes:
            self.close(WSCloseCode.MESSAGE_TOO_BIG.value, "message too big")
        elif self._place is None:
            self._early.append(message)
        else:
            self._place.receive(message)

    def _take_part(self, frame: WSFrame) -> None:
        self._partial += frame.get_payload_as_bytes()
        if frame.fin or len(self._partial) > self._most_bytes:
            message, self._partial = bytes(self._partial), bytearray()
            self._take(message)
