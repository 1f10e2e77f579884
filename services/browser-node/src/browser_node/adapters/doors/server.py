"""One listener for all doors of the node: `/<door>/<session id>…`, straight to the session's browser.

A request that is not good is refused before the upgrade, with a JSON body of `reason` and `message`:

    400  no request that the node reads                426  a WebSocket is expected here
    401  no token, or not a good one for this session  421  no host name that can be
    403  the token or the page's origin does not do    429  too many clients
    404  no such address, or no such session here      503  not now
    410  the session has ended, or runs elsewhere
"""

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qs

import picows
from picows import WSListener, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener

from browser_node.adapters.doors.door import MAX_MESSAGE_BYTES, Door, HttpAnswer, Visit
from browser_node.adapters.doors.refusals import MisdirectedHost, UpgradeRequired, refusal
from browser_node.adapters.doors.visit_rate import VisitRate
from browser_node.adapters.fleet_keys import Pass
from browser_node.domain.browser import SessionId
from browser_node.domain.errors import BrowserNotFound
from fleetkit.errors import FleetError
from fleetkit.tokens import TokenInvalid

log = logging.getLogger(__name__)

# Less than the minute that balancers give a silent connection.
_PING_INTERVAL = timedelta(seconds=20)
_PING_TIMEOUT = timedelta(seconds=20)
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


class Gate(Protocol):
    """Says which browser a token leads to."""

    def admit(self, session_id: SessionId, token: str) -> Pass:
        """Raises Unauthenticated, BrowserNotFound, SessionNotOpen, StaleEpoch."""
        ...


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that runs."""

    port: int


class DoorServer:
    """Accepts requests for the browsers behind a gate, each at the door that its path begins with."""

    def __init__(self, *, gate: Gate, doors: Mapping[str, Door]) -> None:
        self._gate = gate
        self._doors = doors
        self._rate = VisitRate()

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
            max_frame_size=MAX_MESSAGE_BYTES,
        )
        try:
            yield Listening(server.sockets[0].getsockname()[1])
        finally:
            server.close()

    def _accept(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        try:
            door, visit = self._visit(request)
            opened = door.open(visit)
            if isinstance(opened, HttpAnswer):
                return _answer(opened)
            if request.headers.get("upgrade", "").lower() != "websocket":
                raise UpgradeRequired("Clients attach here with a WebSocket.")
            return opened
        except FleetError as error:
            return _answer(refusal(error))
        except Exception:
            log.exception("a request failed")
            return _answer(refusal(FleetError("An internal error happened.")))

    def _visit(self, request: WSUpgradeRequest) -> tuple[Door, Visit]:
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host) or len(request.headers.getall("host")) != 1:
            raise MisdirectedHost("The request names no host that can be.")
        # Not `urlsplit` of the whole: what begins with two slashes would be read as a host.
        path, _, query = request.path.decode("ascii", "replace").partition("?")
        name, _, rest = path.removeprefix("/").partition("/")
        session_id, slash, below = rest.partition("/")
        door = self._doors.get(name) if path.startswith("/") else None
        if door is None or not session_id:
            raise BrowserNotFound("There is nothing at this address.")
        token = _token_of(request, query)
        admission = self._gate.admit(SessionId(session_id), token)
        self._rate.count(SessionId(session_id))
        return door, Visit(
            session_id=SessionId(session_id),
            below=slash + below,
            admission=admission,
            token=token,
            host=host,
            origin=request.headers.get("origin", ""),
        )


def _token_of(request: WSUpgradeRequest, query: str) -> str:
    headers = request.headers.getall("authorization", [])
    if len(headers) > 1:
        raise TokenInvalid("Send one Authorization header.")
    scheme, _, credential = (headers[0] if headers else "").partition(" ")
    if scheme.lower() == "bearer" and credential:
        return credential
    tokens = parse_qs(query).get("token", [])
    if len(tokens) != 1:
        raise TokenInvalid("Send a token as `Authorization: Bearer …` or as `?token=…`.")
    return tokens[0]


def _answer(answer: HttpAnswer) -> WSUpgradeResponseWithListener:
    body = answer.encoded()
    headers = [
        ("Content-Type", "application/json; charset=UTF-8"),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
        *answer.headers,
    ]
    if answer.status < HTTPStatus.BAD_REQUEST:
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(body, headers), None)
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(answer.status, body, headers), None)
