"""What the doors of a node have in common.

A door is everything at `/<name of the door>/<session id>…`. The server reads the request, checks its token and asks
the door; the door says what becomes of it. Until then nothing was upgraded and nothing was answered.
"""

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from picows import WSListener

from browser_node.adapters.fleet_keys import Pass
from browser_node.domain.browser import SessionId

# The largest message that a client may send.
MAX_MESSAGE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request for one session, with a token that was found good for it.

    `below` is what follows the session's ID in the path, as it came (nothing in it is decoded): empty, or beginning
    with a slash. `origin` is that of the page whose script asks, empty for everybody else.
    """

    session_id: SessionId
    below: str
    admission: Pass
    token: str = field(repr=False)
    host: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An answer in place of a WebSocket."""

    status: HTTPStatus = HTTPStatus.OK
    body: object
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        return json.dumps(self.body).encode()


class Door(Protocol):
    """Decides what becomes of a visit."""

    def open(self, visit: Visit) -> WSListener | HttpAnswer:
        """Return who talks on the WebSocket from now on, or an answer without one. Does not block.

        Raises FleetError: refused, with a status and a JSON body of `reason` and `message`.
        """
        ...
