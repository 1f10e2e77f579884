"""CONNECT, as a client says it to an HTTP proxy."""

import asyncio
from dataclasses import dataclass

import h11

_MOST_HEADER_BYTES = 64 * 1024
_ACCEPTED = range(200, 300)


@dataclass(frozen=True, slots=True)
class ConnectAnswer:
    """What the proxy said; `early` is what came behind it from the destination."""

    status: int
    early: bytes

    @property
    def accepted(self) -> bool:
        return self.status in _ACCEPTED


class ConnectHandshake(asyncio.Protocol):
    """One CONNECT over an open connection."""

    def __init__(self, authority: str, authorization: bytes | None) -> None:
        headers = [(b"Host", authority.encode())]
        if authorization is not None:
            headers.append((b"Proxy-Authorization", authorization))
        self._request = h11.Request(method=b"CONNECT", target=authority.encode(), headers=headers)
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEADER_BYTES)
        self._answer: asyncio.Future[ConnectAnswer] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    async def over(self, transport: asyncio.Transport) -> ConnectAnswer:
        """Say it and return the answer, with reading paused again. Raises OSError when it is none."""
        if transport.is_closing():
            raise ConnectionResetError("closed before the handshake")
        self._transport = transport
        transport.set_protocol(self)
        transport.write((self._http.send(self._request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))
        transport.resume_reading()
        try:
            return await self._answer
        finally:
            if not transport.is_closing():
                transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self._answer.done():
            return
        self._http.receive_data(data)
        self._read()

    def eof_received(self) -> None:
        self._fail()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail()

    def _read(self) -> None:
        try:
            event = self._http.next_event()
            while isinstance(event, h11.InformationalResponse):
                event = self._http.next_event()
        except h11.RemoteProtocolError:
            self._fail()
            return
        if isinstance(event, h11.Response):
            if self._transport is not None:
                self._transport.pause_reading()
            early = self._http.trailing_data[0] if event.status_code in _ACCEPTED else b""
            self._answer.set_result(ConnectAnswer(event.status_code, early))

    def _fail(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the proxy's answer is not HTTP"))
