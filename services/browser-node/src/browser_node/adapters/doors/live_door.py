"""The door of people who watch: a WebSocket at `/live/<session id>`, as docs/live-view.md describes it."""

import asyncio
from collections.abc import Callable

from picows import WSListener, WSMsgType

from browser_node.adapters.chromium.live.view import MAX_VIEWERS
from browser_node.adapters.doors.browser_socket import BrowserSocket
from browser_node.adapters.doors.door import HttpAnswer, Visit
from browser_node.adapters.fleet_keys import Pass, Scope
from browser_node.domain.errors import BrowserNotFound, ViewerLimit
from browser_node.usecases.ports import LiveBrowser, ViewerConnection
from fleetkit.errors import PermissionDenied
from fleetkit.tokens import TokenInvalid

# Of pictures no more are ever under way than the protocol lets; events that pile up end their viewer.
_MAX_QUEUED_BYTES = 8 * 1024 * 1024
_MAX_MESSAGE_BYTES = 1024 * 1024


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


class LiveSocket(BrowserSocket):
    """A viewer's WebSocket: a ViewerSocket for the browser."""

    def __init__(
        self, browser: LiveBrowser, generation: int | None, keep: Callable[["asyncio.Task[None]"], None]
    ) -> None:
        super().__init__(
            keep, behind_bytes=_MAX_QUEUED_BYTES, most_bytes=_MAX_MESSAGE_BYTES, no_binary="commands are text"
        )
        self._browser = browser
        self._generation = generation

    def send_event(self, message: bytes) -> None:
        self._send(WSMsgType.TEXT, message)

    def send_picture(self, message: bytes) -> None:
        self._send(WSMsgType.BINARY, message)

    async def join(self) -> ViewerConnection:
        return await self._browser.watch(self, control_generation=self._generation)

    def may_queue(self, message: bytes) -> bool:
        return False
