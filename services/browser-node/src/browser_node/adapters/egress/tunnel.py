"""Two sockets joined: what one says the other hears, at the pace of the slower one."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

# How long one direction may go on after the other has ended.
_HALF_CLOSED = timedelta(seconds=30)


@dataclass(slots=True)
class Traffic:
    """Bytes between a browser and the outside."""

    sent: int = 0
    received: int = 0


class Tunnel:
    """A browser's socket and one to the outside. `ended` is called once, when both are closed."""

    def __init__(
        self,
        *,
        browser: asyncio.Transport,
        outside: asyncio.Transport,
        traffic: Traffic,
        ended: Callable[["Tunnel"], None],
    ) -> None:
        self._transports = (browser, outside)
        self._traffic = traffic
        self._ended = ended
        self._open = 2
        self._timer: asyncio.TimerHandle | None = None

    def join(self, *, from_browser: bytes = b"", from_outside: bytes = b"") -> None:
        """Take over both sockets, whose reading is paused, with what was read of each before."""
        browser, outside = self._transports
        if browser.is_closing() or outside.is_closing():
            # A protocol that was set now would never hear of the end.
            self.abort()
            self._open = 0
            self._ended(self)
            return
        ends = (_End(self, outside, self.count_sent), _End(self, browser, self.count_received))
        for transport, end in zip(self._transports, ends, strict=True):
            transport.set_protocol(end)
        if from_browser:
            ends[0].data_received(from_browser)
        if from_outside:
            ends[1].data_received(from_outside)
        for transport in self._transports:
            if not transport.is_closing():
                transport.resume_reading()

    def abort(self) -> None:
        """Close both at once; what was not sent yet is lost."""
        for transport in self._transports:
            transport.abort()

    def count_sent(self, count: int) -> None:
        self._traffic.sent += count

    def count_received(self, count: int) -> None:
        self._traffic.received += count

    def half_closed(self) -> bool:
        """One direction has ended; return whether the other one goes on."""
        if self._timer is not None:
            return False
        self._timer = asyncio.get_running_loop().call_later(_HALF_CLOSED.total_seconds(), self.abort)
        return True

    def lost(self) -> None:
        """One of the sockets is closed; the other gets what was still on its way to it."""
        self._open -= 1
        if self._open > 0:
            self.half_closed()
            for transport in self._transports:
                transport.close()
        elif self._open == 0:
            if self._timer is not None:
                self._timer.cancel()
            self._ended(self)


class _End(asyncio.Protocol):
    def __init__(self, tunnel: Tunnel, peer: asyncio.Transport, count: Callable[[int], None]) -> None:
        self._tunnel = tunnel
        self._peer = peer
        self._count = count

    def data_received(self, data: bytes) -> None:
        self._count(len(data))
        if not self._peer.is_closing():
            self._peer.write(data)

    # This end's own socket takes no more: the peer is where the bytes for it come from.
    def pause_writing(self) -> None:
        if not self._peer.is_closing():
            self._peer.pause_reading()

    def resume_writing(self) -> None:
        if not self._peer.is_closing():
            self._peer.resume_reading()

    def eof_received(self) -> bool:
        if self._peer.is_closing() or not self._peer.can_write_eof():
            return False
        self._peer.write_eof()
        return self._tunnel.half_closed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.lost()
