"""Where clients attach: WebSockets at `/attach/<session id>`, straight to the session's browser.

A request that is not good is refused before the upgrade, with a JSON body of `reason` and `message`.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import picows
from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

from browser_node.domain.browser import SessionId
from browser_node.domain.errors import BrowserNotFound, SessionNotOpen, StaleEpoch
from browser_node.usecases.ports import CdpConnection, LiveBrowser
from fleetkit.errors import FleetError, NotFound, ResourceExhausted, Unauthenticated, Unavailable
from fleetkit.tokens import TokenInvalid

log = logging.getLogger(__name__)

_PATH = "/attach/"
_PING_INTERVAL = timedelta(seconds=20)
_PING_TIMEOUT = timedelta(seconds=20)
_MAX_MESSAGE_BYTES = 256 * 1024 * 1024
# What may wait for a client that reads slowly: once passed, its next message ends it.
_MAX_QUEUED_BYTES = 32 * 1024 * 1024
# After a close frame the client has this long to answer.
_CLOSE_TIMEOUT = timedelta(seconds=5)


class AttachGate(Protocol):
    """Says which browser a token leads to."""

    def find_attachable(self, session_id: SessionId, token: str) -> LiveBrowser:
        """Raises Unauthenticated, BrowserNotFound, SessionNotOpen, StaleEpoch, ClientLimit."""
        ...


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that runs."""

    port: int


class _ClientSocket(WSListener):
    """One client's WebSocket: a CdpClient for the browser, and a listener for picows."""

    def __init__(self, browser: LiveBrowser, keep: Callable[["asyncio.Task[None]"], None]) -> None:
        super().__init__()
        self._browser = browser
        self._keep = keep
        self._transport: WSTransport | None = None
        self._connection: CdpConnection | None = None
        self._early: list[bytes] = []
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._slow = False
        self._closing = False

    # ---- picows calls these

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.underlying_transport.set_write_buffer_limits(high=_MAX_QUEUED_BYTES)
        # Nothing is read before the browser is joined: what has been read already waits in `_early`.
        self.pause_reading()
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
        self._slow = True

    def resume_writing(self) -> None:
        self._slow = False

    # ---- the browser calls these

    def send(self, message: bytes) -> None:
        if self._closing or self._transport is None:
            return
        if self._slow:
            # One message may be larger than the limit; the next one behind it may not.
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
        self.resume_reading()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()

    # ---- its own

    async def _join(self) -> None:
        try:
            connection = await self._browser.attach(self)
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
        self.resume_reading()

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
        if self._parts_bytes > _MAX_MESSAGE_BYTES:
            self._parts = []
            self.close(WSCloseCode.MESSAGE_TOO_BIG.value, "message too big")
        elif frame.fin:
            message = b"".join(self._parts)
            self._parts, self._parts_bytes = [], 0
            self._take(message)


class AttachServer:
    """Accepts clients for the browsers behind a gate."""

    def __init__(self, gate: AttachGate) -> None:
        self._gate = gate
        self._joining: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self, address: str) -> AsyncIterator[Listening]:
        """Listen on `host:port` (port 0: any free one) within the block. Raises OSError."""
        # Its lines for each connection say nothing that ours do not, and its debug lines hold tokens.
        logging.getLogger("picows").setLevel(logging.WARNING)
        host, _, port = address.rpartition(":")
        server = await picows.ws_create_server(
            self._accept,
            host.strip("[]") or None,
            int(port),
            enable_auto_ping=True,
            auto_ping_idle_timeout=_PING_INTERVAL.total_seconds(),
            auto_ping_reply_timeout=_PING_TIMEOUT.total_seconds(),
            max_frame_size=_MAX_MESSAGE_BYTES,
        )
        try:
            yield Listening(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for task in self._joining:
                task.cancel()

    def _accept(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        try:
            target = urlsplit(request.path.decode("ascii", "replace"))
            session_id = SessionId(target.path.removeprefix(_PATH))
            if not target.path.startswith(_PATH) or "/" in session_id:
                raise BrowserNotFound("There is nothing at this address.")
            token = _token_of(request, target.query)
            return _ClientSocket(self._gate.find_attachable(session_id, token), self._keep)
        except FleetError as error:
            return _refusal(error)
        except Exception:
            log.exception("an attach failed")
            return _refusal(FleetError("An internal error happened."))

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)


def _token_of(request: WSUpgradeRequest, query: str) -> str:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credential:
        return credential
    tokens = parse_qs(query).get("token", [])
    if len(tokens) != 1:
        raise TokenInvalid("Send a token as `Authorization: Bearer …` or as `?token=…`.")
    return tokens[0]


def _refusal(error: FleetError) -> WSUpgradeResponseWithListener:
    body = json.dumps({"reason": error.reason, "message": error.message}).encode()
    headers = {"Content-Type": "application/json"}
    response = WSUpgradeResponse.create_error_response(_status_of(error), body, headers)
    return WSUpgradeResponseWithListener(response, None)


def _status_of(error: FleetError) -> HTTPStatus:
    match error:
        case Unauthenticated():
            return HTTPStatus.UNAUTHORIZED
        case NotFound():
            return HTTPStatus.NOT_FOUND
        case SessionNotOpen() | StaleEpoch():
            return HTTPStatus.GONE
        case ResourceExhausted():
            return HTTPStatus.TOO_MANY_REQUESTS
        case Unavailable():
            return HTTPStatus.SERVICE_UNAVAILABLE
        case _:
            return HTTPStatus.INTERNAL_SERVER_ERROR
