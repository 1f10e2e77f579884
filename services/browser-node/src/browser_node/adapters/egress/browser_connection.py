"""One connection of a browser to its port: CONNECT, and HTTP requests with whole URLs one after the other."""

import asyncio
import logging
from datetime import timedelta
from typing import Protocol, cast

import h11

from browser_node.adapters.egress.dialer import Link, Unreachable, authorization
from browser_node.adapters.egress.limits import PortLimits
from browser_node.adapters.egress.messages import read_target, refusal, request_onward, response_back
from browser_node.adapters.egress.origin import Event, OriginConnection
from browser_node.adapters.egress.tunnel import Traffic, Tunnel
from browser_node.domain.egress import Destination, EgressDenied

log = logging.getLogger(__name__)

_MOST_HEADER_BYTES = 256 * 1024
# What may come while the connection to the outside is being opened, before the browser is no longer read.
_MOST_EARLY_BYTES = 64 * 1024
_PROXY_AUTHENTICATION_REQUIRED = 407
_SWITCHING = 101


class Gate(Protocol):
    """The port that a connection came in by."""

    @property
    def traffic(self) -> Traffic: ...

    @property
    def limits(self) -> PortLimits: ...

    def admits(self, transport: asyncio.Transport) -> bool:
        """Tell whether the process at the other end may use this port."""
        ...

    async def open(self, destination: Destination, *, clear: bool) -> Link:
        """Connect to the outside. Raises EgressDenied, Unreachable."""
        ...

    def add(self, member: "BrowserConnection | Tunnel") -> None:
        """Remember what is to be aborted with the port."""
        ...

    def remove(self, member: "BrowserConnection | Tunnel") -> None: ...


class BrowserConnection(asyncio.Protocol):
    """Ends with the browser's socket, or becomes a Tunnel."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEADER_BYTES)
        self._origin: OriginConnection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._early = 0
        self._timer: asyncio.TimerHandle | None = None
        self._header_begun = False
        self._origin_full = False
        self._reading = True
        self._gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its class.
        self._transport = cast("asyncio.Transport", transport)
        if not self._gate.admits(self._transport):
            self._gone = True
            self._transport.abort()
            return
        self._gate.add(self)
        self._expect(self._gate.limits.idle_timeout)

    def abort(self) -> None:
        """Close both sides at once."""
        self._transport.abort()
        self._leave()

    def data_received(self, data: bytes) -> None:
        if self._gone:
            return
        self._http.receive_data(data)
        if self._opening is not None:
            self._early += len(data)
            self._update_reading()
            return
        if self._http.their_state is h11.IDLE and not self._header_begun:
            # Once for each header: a client that sends a byte now and then gains nothing.
            self._header_begun = True
            self._expect(self._gate.limits.header_timeout)
        self._read_request()

    def eof_received(self) -> None:
        """A browser that says no more has gone: it waits for no answer."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def pause_writing(self) -> None:
        if self._origin is not None and not self._origin.transport.is_closing():
            self._origin.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._origin is not None and not self._origin.transport.is_closing():
            self._origin.transport.resume_reading()

    # What the browser asks for.

    def _read_request(self) -> None:
        while not self._gone and self._opening is None:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint, "This is not a proper HTTP request.")
                return
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return
            if event is h11.PAUSED:
                self._update_reading()
                return
            if isinstance(event, h11.Request):
                self._expect(None)
                self._header_begun = False
                self._early = 0
                self._opening = asyncio.get_running_loop().create_task(self._serve(event))
                self._opening.add_done_callback(self._opened)
                return
            if isinstance(event, h11.Data | h11.EndOfMessage):
                self._send_body(event)

    def _send_body(self, event: h11.Data | h11.EndOfMessage) -> None:
        if self._origin is not None:
            try:
                self._origin.send(event)
            except h11.LocalProtocolError:
                # The server has answered something that ends the exchange.
                self.abort()

    async def _serve(self, request: h11.Request) -> None:
        try:
            if request.method == b"CONNECT":
                await self._connect(request)
            else:
                await self._forward(request)
        except EgressDenied as error:
            self._refuse(403, str(error))
        except Unreachable as error:
            self._refuse(504 if error.timed_out else 502, str(error))
        except ConnectionResetError:
            self._refuse(502, "The server ended the connection.")
        except h11.LocalProtocolError:
            self._refuse(400, "This is not a proper HTTP request.")

    def _opened(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if task.exception() is not None:
            log.error("a connection of a browser failed", exc_info=task.exception())
            self.abort()
            return
        self._opening = None
        if not self._gone:
            self._early = 0
            self._update_reading()
            self._read_request()

    async def _connect(self, request: h11.Request) -> None:
        destination = Destination.parse(request.target.decode("ascii"))
        link = await self._gate.open(destination, clear=False)
        # CONNECT has no body; its end has to be read before the answer may be sent.
        self._http.next_event()
        answer = self._http.send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
        self._transport.write(answer or b"")
        self._become_tunnel(link.transport, from_outside=link.early)

    async def _forward(self, request: h11.Request) -> None:
        target = read_target(request.target)
        if self._origin is None or not self._origin.fits(target):
            self._drop_origin()
            link = await self._gate.open(target.destination, clear=True)
            self._origin = OriginConnection(link, target, self, self._gate.traffic)
            self._origin.take_over()
        upstream = self._origin.proxied
        self._origin.used += 1
        self._origin.send(
            request_onward(
                request,
                target,
                whole=upstream is not None,
                proxy_authorization=authorization(upstream) if upstream is not None else None,
            )
        )

    # What the server answers.

    def origin_said(self, event: Event) -> None:
        if isinstance(event, h11.InformationalResponse):
            self._write(h11.InformationalResponse(status_code=event.status_code, headers=response_back(event)))
            if event.status_code == _SWITCHING and self._origin is not None:
                self._become_tunnel(self._origin.transport, from_outside=self._origin.release())
        elif isinstance(event, h11.Response):
            if event.status_code == _PROXY_AUTHENTICATION_REQUIRED:
                # The page would be asked for credentials that are not its own.
                self._refuse(502, "The proxy did not take the credentials (407).")
                return
            self._write(h11.Response(status_code=event.status_code, headers=response_back(event), reason=event.reason))
        elif isinstance(event, h11.Data):
            self._write(event)
        else:
            self._write(h11.EndOfMessage())
            self._finish_exchange()

    def origin_lost(self) -> None:
        origin, self._origin = self._origin, None
        if self._http.our_state is h11.SEND_RESPONSE and origin is not None and origin.used <= 1:
            self._refuse(502, "The server ended the connection.")
        elif self._http.our_state is not h11.IDLE:
            # Cut off in the middle, or a kept connection that ended as it was used again: the browser repeats that.
            self.abort()

    def origin_full(self, full: bool) -> None:
        self._origin_full = full
        self._update_reading()

    def _finish_exchange(self) -> None:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            if self._origin is not None and not self._origin.next_cycle():
                self._drop_origin()
            self._http.start_next_cycle()
            self._expect(self._gate.limits.idle_timeout)
            self._update_reading()
            asyncio.get_running_loop().call_soon(self._read_request)
        else:
            # The browser wants it closed, or is still sending what the server did not wait for.
            self._drop_origin()
            self._transport.close()

    # Both.

    def _become_tunnel(self, outside: asyncio.Transport, *, from_outside: bytes) -> None:
        self._expect(None)
        self._gone = True
        self._origin = None
        self._transport.pause_reading()
        tunnel = Tunnel(browser=self._transport, outside=outside, traffic=self._gate.traffic, ended=self._gate.remove)
        self._gate.remove(self)
        self._gate.add(tunnel)
        tunnel.join(from_browser=self._http.trailing_data[0], from_outside=from_outside)

    def _write(self, event: h11.Event) -> None:
        if self._gone or self._transport.is_closing():
            return
        try:
            # In pieces, so that the bytes of a body are not copied once more.
            pieces = self._http.send_with_data_passthrough(event)
        except h11.LocalProtocolError:
            # The server's answer cannot be said in HTTP/1.1 as it is.
            self.abort()
            return
        for piece in pieces or ():
            self._transport.write(piece)

    def _refuse(self, status: int, why: str) -> None:
        self._drop_origin()
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response, body = refusal(status, why)
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self._write(event)
        self._transport.close()
        self._expect(self._gate.limits.header_timeout)

    def _drop_origin(self) -> None:
        if self._origin is not None:
            self._origin.abandon()
            self._origin = None
        self._origin_full = False

    def _update_reading(self) -> None:
        if self._gone or self._transport.is_closing():
            return
        waiting = self._early > _MOST_EARLY_BYTES or self._origin_full or self._has_pipelined()
        if waiting and self._reading:
            self._transport.pause_reading()
        elif not waiting and not self._reading:
            self._transport.resume_reading()
        self._reading = not waiting

    def _has_pipelined(self) -> bool:
        return self._http.their_state not in (h11.IDLE, h11.SEND_BODY) and bool(self._http.trailing_data[0])

    def _expect(self, within: timedelta | None) -> None:
        """End the connection when nothing more comes for so long."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if within is not None:
            self._timer = asyncio.get_running_loop().call_later(within.total_seconds(), self.abort)

    def _leave(self) -> None:
        self._expect(None)
        if self._gone:
            return
        self._gone = True
        if self._opening is not None:
            self._opening.cancel()
        self._drop_origin()
        self._gate.remove(self)
