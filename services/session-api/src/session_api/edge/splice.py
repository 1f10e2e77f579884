"""Attaching through the edge: after the handshake two sockets are joined, and no frame is read.

uvicorn hands every WebSocket upgrade to the protocol made here. The client's handshake goes on to the node, with
the node's token in place of the client's credentials; the node's answer comes back as it is.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qs, urlsplit

from opentelemetry import trace
from uvicorn.server import ServerState

from fleetkit.errors import FleetError, Internal, InvalidArgument, PermissionDenied, Unavailable
from fleetkit.telemetry import inject_headers, log_context
from session_api.domain.errors import NodeUnavailable, SessionNotFound
from session_api.domain.identifiers import SessionId
from session_api.edge.door import Admission, AttachDoor
from session_api.edge.problems import http_status, problem_body

log = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

# To CDP, and to the live view; a session's ID follows.
_DOORS = {"attach": False, "live": True}
_PAGE = re.compile(r"/devtools/page/[0-9A-F]{32}")
# What of the client's handshake the node needs. No cookie, key or extension goes on: the node may be hostile, and
# compression would only cost time.
_FORWARDED = ("sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "user-agent")
_DIAL_TIMEOUT_SECONDS = 5.0
# A client that talks before its handshake was answered may send this much.
_MAX_EARLY_BYTES = 64 * 1024


class _Joined(asyncio.Protocol):
    """One end of a joined pair: what it receives the other end sends, at the pace of the slower."""

    transport: asyncio.Transport
    other: "_Joined | None" = None
    is_connected = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its class.
        self.transport = cast("asyncio.Transport", transport)
        self.is_connected = True

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()


class AttachProtocol(_Joined):
    """The client's end: admits it, dials the node, joins the two."""

    def __init__(self, door: AttachDoor, server_state: ServerState) -> None:
        self._door = door
        self._server_state = server_state
        self._early = bytearray()
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # all that uvicorn needs is shutdown()

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)
        elif self._opening is None:
            # The first bytes are the whole request head, made up by uvicorn from what it parsed.
            self._opening = asyncio.get_running_loop().create_task(self._open(data))
        else:
            self._early += data
            if len(self._early) > _MAX_EARLY_BYTES:
                self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._server_state.connections.discard(self)
        if self._opening is not None:
            self._opening.cancel()

    def shutdown(self) -> None:
        """Called by uvicorn when the server ends. The browser stays; the client attaches again."""
        self.transport.close()

    async def _open(self, head: bytes) -> None:
        with tracer.start_as_current_span("attach", kind=trace.SpanKind.SERVER):
            try:
                await self._join(head)
            except FleetError as error:
                self._refuse(error)
            except Exception:
                log.exception("an attach failed unexpectedly")
                self._refuse(Internal("An internal error happened."))

    async def _join(self, head: bytes) -> None:
        target, headers = _parse(head)
        url = urlsplit(target)
        door, _, name = url.path.removeprefix("/").partition("/")
        if door not in _DOORS:
            raise SessionNotFound
        name, slash, below = name.partition("/")
        session_id, below = SessionId(name), f"{slash}{below}".removesuffix("/")
        if _DOORS[door]:
            if below:
                raise SessionNotFound
        else:
            _check_below(below, session_id)
            _check_origin(headers)
        token = next(iter(parse_qs(url.query, keep_blank_values=True).get("token", [])), None)
        with log_context(session_id=session_id):
            admission = await self._door.admit(session_id, headers, token, live=_DOORS[door])
            node = await self._dial(admission)
            node.transport.write(_handshake(admission, below, headers) + self._early)
            node.other, self.other = self, node
            log.info("a client attached through the edge")

    async def _dial(self, admission: Admission) -> _Joined:
        node, url = _Joined(), urlsplit(admission.endpoint.direct_url)
        secure = ssl.create_default_context() if url.scheme == "wss" else None
        port = url.port or (443 if secure else 80)
        try:
            async with asyncio.timeout(_DIAL_TIMEOUT_SECONDS):
                await asyncio.get_running_loop().create_connection(lambda: node, url.hostname or "", port, ssl=secure)
        except (OSError, TimeoutError) as error:
            raise NodeUnavailable("The node does not answer.") from error
        except asyncio.CancelledError:
            # The client left; the connection may have come about at the same moment.
            if node.is_connected:
                node.transport.abort()
            raise
        return node

    def _refuse(self, error: FleetError) -> None:
        status, body = HTTPStatus(http_status(error)), problem_body(error)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
        )
        if isinstance(error, Unavailable):
            head += "retry-after: 2\r\n"
        self.transport.write(head.encode() + b"\r\n" + body)
        self.transport.close()


def attach_protocol(door: AttachDoor) -> Callable[..., AttachProtocol]:
    """Return what uvicorn calls for each upgrade, in the place of its own WebSocket implementation."""

    def make(*, config: object, server_state: ServerState, app_state: object) -> AttachProtocol:
        return AttachProtocol(door, server_state)

    return make


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    request, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    try:
        _, target, _ = request.split(" ")
    except ValueError as error:
        raise InvalidArgument("The request line is not valid.") from error
    headers = (line.partition(":") for line in lines)
    return target, {name.strip().lower(): value.strip() for name, _, value in headers}


def _check_below(below: str, session_id: SessionId) -> None:
    """Raises SessionNotFound for what leads neither to the browser nor to one of its pages."""
    if below not in {"", f"/devtools/browser/{session_id}"} and not _PAGE.fullmatch(below):
        raise SessionNotFound


def _check_origin(headers: dict[str, str]) -> None:
    """No site's script speaks CDP, whatever credentials it got hold of; programs send no origin.

    Raises PermissionDenied.
    """
    origin, host = headers.get("origin", "").lower(), headers.get("host", "").lower()
    if origin and origin not in {f"http://{host}", f"https://{host}", "devtools://devtools"}:
        raise PermissionDenied("Scripts of this origin do not attach.")


def _handshake(admission: Admission, below: str, headers: dict[str, str]) -> bytes:
    url = urlsplit(admission.endpoint.direct_url)
    lines = [
        f"GET {url.path}{below} HTTP/1.1",
        f"host: {url.netloc}",
        "connection: Upgrade",
        "upgrade: websocket",
        f"authorization: Bearer {admission.endpoint.token}",
        *(f"{name}: {value}" for name, value in inject_headers().items()),
        *(f"{name}: {headers[name]}" for name in _FORWARDED if name in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
