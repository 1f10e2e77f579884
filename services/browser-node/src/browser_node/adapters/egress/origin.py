"""A connection to a server, or to an HTTP upstream, that takes one request after the other."""

import asyncio
from typing import Protocol

import h11

from browser_node.adapters.egress.dialer import Link
from browser_node.adapters.egress.messages import Target
from browser_node.adapters.egress.tunnel import Traffic
from browser_node.domain.proxies import Upstream

# As much as Chrome takes.
_MOST_HEADER_BYTES = 256 * 1024
Event = h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage


class OriginReader(Protocol):
    """Who gets what a server answers."""

    def origin_said(self, event: Event) -> None: ...

    def origin_lost(self) -> None:
        """The connection broke, or what came over it is not HTTP."""
        ...

    def origin_full(self, full: bool) -> None:
        """It takes no more for now, or takes again."""
        ...


class OriginConnection(asyncio.Protocol):
    """HTTP/1.1 as a client, without a buffer of its own."""

    def __init__(self, link: Link, target: Target, reader: OriginReader, traffic: Traffic) -> None:
        self._transport = link.transport
        self._target = target
        self._reader = reader
        self._traffic = traffic
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEADER_BYTES)
        self._done = False
        self.proxied: Upstream | None = link.proxied
        self.used = 0

    def take_over(self) -> None:
        """Begin. Raises ConnectionResetError when the connection has ended already."""
        if self._transport.is_closing():
            raise ConnectionResetError("closed before the first request")
        self._transport.set_protocol(self)
        self._transport.resume_reading()

    def fits(self, target: Target) -> bool:
        """Tell whether the next request for `target` can go this way."""
        return (
            target.destination == self._target.destination
            and not self._done
            and not self._transport.is_closing()
            and self._http.our_state is h11.IDLE
        )

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    def send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        """Send a piece of a request. Raises h11.LocalProtocolError."""
        data = self._http.send(event)
        if data and not self._transport.is_closing():
            self._traffic.sent += len(data)
            self._transport.write(data)

    def next_cycle(self) -> bool:
        """Get ready for a next request; False when there cannot be one."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    def release(self) -> bytes:
        """Stop reading HTTP after a switch of protocols, and return what was read beyond it."""
        self._done = True
        self._transport.pause_reading()
        return self._http.trailing_data[0]

    def abandon(self) -> None:
        """Close, and say nothing more to the reader."""
        self._done = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._traffic.received += len(data)
        if not self._done:
            self._http.receive_data(data)
            self._read()

    def eof_received(self) -> None:
        if not self._done:
            # A body without a length ends here.
            self._http.receive_data(b"")
            self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done:
            self._done = True
            self._reader.origin_lost()

    def pause_writing(self) -> None:
        self._reader.origin_full(True)

    def resume_writing(self) -> None:
        self._reader.origin_full(False)

    def _read(self) -> None:
        while not self._done:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self.abandon()
                self._reader.origin_lost()
                return
            if not isinstance(event, Event):
                # Nothing more for now; after ConnectionClosed `connection_lost` follows.
                return
            self._reader.origin_said(event)
