"""The door of CDP clients: a WebSocket at `/attach/<session id>`."""

import asyncio

from picows import WSListener

from browser_node.adapters.chromium.browser import MAX_CLIENTS
from browser_node.adapters.doors.client_socket import ClientSocket
from browser_node.adapters.doors.door import HttpAnswer, Visit
from browser_node.adapters.fleet_keys import Scope
from browser_node.domain.errors import BrowserNotFound, ClientLimit
from fleetkit.errors import PermissionDenied


class CdpDoor:
    """Lets CDP clients join a session's browser."""

    def __init__(self) -> None:
        self._joining: set[asyncio.Task[None]] = set()

    def open(self, visit: Visit) -> WSListener | HttpAnswer:
        if visit.admission.scope is not Scope.FULL:
            raise PermissionDenied("The token is for the live view alone.", scope=visit.admission.scope)
        if visit.below:
            raise BrowserNotFound("There is nothing at this address.")
        browser = visit.admission.browser
        if browser.client_count >= MAX_CLIENTS:
            raise ClientLimit(f"At most {MAX_CLIENTS} clients can be attached.", limit=str(MAX_CLIENTS))
        return ClientSocket(browser, self._keep)

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)
