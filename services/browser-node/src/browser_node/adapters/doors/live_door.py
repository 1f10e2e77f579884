"""The door of people who watch: a WebSocket at `/live/<session id>`, as docs/live-view.md describes it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from browser_node.adapters.chromium.live.view import MAX_VIEWERS
from browser_node.adapters.doors.door import HttpAnswer, Visit
from browser_node.adapters.fleet_keys import Pass, Scope
from browser_node.domain.errors import BrowserNotFound, ViewerLimit
from browser_node.usecases.ports import LiveBrowser, ViewerConnection
from fleetkit.errors import FleetError, PermissionDenied
from fleetkit.tokens import TokenInvalid

# Of pictures no more are ever under way than the protocol lets; events that pile up end their viewer.
_MAX_QUEUED_BYTES = 8 * 1024 * 1024
_MAX_MESSAGE_BYTES = 1024 * 1024
# After a close frame the viewer has this long to answer.
_CLOSE_TIMEOUT = timedelta(seconds=5)


class LiveDoor:
    """Lets people watch a session's browser, and act in it with a token for the control lease that is held.

    Pages of any origin may come: the token in the request is all that counts, no browser adds one by itself.
    """

    def __init__(self) -> None:
        self._joining: set[asyncio.Task[None]] = set()

    def open(self, visit: Visit) -> WSListener | HttpAnswer:
        generation = _generation(visit.admission)
        if visit.below:
            raise BrowserNotFound("There is nothing at this address.")
        browser = visit.admission.browser
        if browser.viewer_count >= MAX_VIEWERS:
            raise ViewerLimit(f"At most {MAX_VIEWERS} viewers can watch.", limit=str(MAX_VIEWERS))
        return LiveSocket(browser, generation, self._keep)

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)


def _generation(admission: Pass) -> int | None:
    """Return the control lease that a token was made for, None for one that may only watch."""
    if admission.scope is Scope.VIEW:
        return None
    if admission.scope is not Scope.CONTROL:
        raise PermissionDenied("The token is for CDP alone.", scope=admission.scope)
    generation = admission.claims.extra.get("control", "")
    if not (generation.isascii() and generation.isdecimal()):
        raise TokenInvalid("The token names no control lease.")
    return int(generation)


class LiveSocket(WSListener):
    """A viewer's WebSocket: a ViewerSocket for the browser, and a listener for picows."""

    def __init__(
        self, browser: LiveBrowser, generation: int | None, keep: Callable[["asyncio.Task[None]"], None]
    ) -> None:
        super().__init__()
        self._browser = browser
        self._generation = generation
        self._keep = keep
        self._transport: WSTransport | None = None
        self._connection: ViewerConnection | None = None
        self._early: list[bytes] = []
        self._message = bytearray()
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
        if kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._take(frame)
        elif kind is WSMsgType.CLOSE:
            if not self._closing:
                self._closing = True
                transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif kind is WSMsgType.BINARY:
            self.close(WSCloseCode.UNSUPPORTED_DATA.value, "commands are text")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._closing = True
        if self._connection is not None:
            self._connection.leave()

    def pause_writing(self) -> None:
        self._slow = True

    def resume_writing(self) -> None:
        self._slow = False

    # ---- the browser calls these

    def send_event(self, message: bytes) -> None:
        self._send(WSMsgType.TEXT, message)

    def send_picture(self, message: bytes) -> None:
        self._send(WSMsgType.BINARY, message)

    def close(self, code: int, reason: str) -> None:
        if self._closing or self._transport is None:
            return
        self._closing = True
        self._transport.send_close(WSCloseCode(code), reason.encode()[:123])
        if self._connection is not None:
            self._connection.leave()
        # A viewer that does not answer is cut, and with it whatever it did not read.
        asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT.total_seconds(), self._transport.disconnect, False)
        self.resume_reading()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()

    # ---- its own

    def _send(self, kind: WSMsgType, message: bytes) -> None:
        if self._closing or self._transport is None:
            return
        if self._slow:
            self.close(WSCloseCode.TRY_AGAIN_LATER.value, "reads too slowly")
            return
        self._transport.send(kind, message)

    async def _join(self) -> None:
        try:
            connection = await self._browser.watch(self, control_generation=self._generation)
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

    def _take(self, frame: WSFrame) -> None:
        if self._closing:
            return
        self._message += frame.get_payload_as_bytes()
        if len(self._message) > _MAX_MESSAGE_BYTES:
            self._message.clear()
            self.close(WSCloseCode.MESSAGE_TOO_BIG.value, "message too big")
        elif frame.fin:
            message = bytes(self._message)
            self._message.clear()
            if self._connection is None:
                self._early.append(message)
            else:
                self._connection.receive(message)
