"""The door of CDP clients, at `/attach/<session id>`; below it what Chrome's own port has at its root.

    (nothing), /devtools/browser/<session id>   WebSocket to the browser
    /devtools/page/<target id>                  WebSocket to one page
    /json, /json/list, /json/version            discovery; the addresses in it carry the caller's token

Paths are compared as they come: nothing in them is decoded, so `..` and `%2e` are names of nothing. Tokens for all
methods and for observing open it; those of the live view do not.
"""

import asyncio
import re

from picows import WSListener

from browser_node.adapters.chromium.browser import MAX_CLIENTS
from browser_node.adapters.doors.client_socket import ClientSocket
from browser_node.adapters.doors.discovery import Discovery
from browser_node.adapters.doors.door import HttpAnswer, Visit
from browser_node.adapters.doors.refusals import MethodNotAllowed
from browser_node.adapters.fleet_keys import Scope
from browser_node.domain.errors import BrowserNotFound, ClientLimit
from browser_node.usecases.ports import CdpAccess
from fleetkit.errors import PermissionDenied

_CDP_SCOPES = frozenset({Scope.FULL, Scope.OBSERVE})
_PAGE = re.compile(r"/devtools/page/([0-9A-F]{32})")
# DevTools itself is no page of a site.
_DEVTOOLS_ORIGIN = "devtools://devtools"


class CdpDoor:
    """Lets CDP clients join a session's browser. `scheme` is that of the node's own address."""

    def __init__(self, *, scheme: str = "ws") -> None:
        self._discovery = Discovery(scheme=scheme)
        self._joining: set[asyncio.Task[None]] = set()

    def open(self, visit: Visit) -> WSListener | HttpAnswer:
        if visit.admission.scope not in _CDP_SCOPES:
            raise PermissionDenied("The token is for the live view alone.", scope=visit.admission.scope)
        _check_origin(visit)
        match visit.below:
            case "/json/version" | "/json/version/":
                return self._discovery.version(visit)
            case "/json" | "/json/" | "/json/list" | "/json/list/":
                return self._discovery.targets(visit)
            case "" | "/":
                return self._join(visit, None)
        if visit.below.startswith(("/json/new", "/json/close", "/json/activate")):
            raise MethodNotAllowed("Pages are opened, closed and shown over CDP.")
        if visit.below == f"/devtools/browser/{visit.session_id}":
            return self._join(visit, None)
        page = _PAGE.fullmatch(visit.below)
        if page is None or page[1] not in {target.id for target in visit.admission.browser.targets}:
            raise BrowserNotFound("There is nothing at this address.")
        return self._join(visit, page[1])

    def _join(self, visit: Visit, target_id: str | None) -> ClientSocket:
        browser = visit.admission.browser
        if browser.client_count >= MAX_CLIENTS:
            raise ClientLimit(f"At most {MAX_CLIENTS} clients can be attached.", limit=str(MAX_CLIENTS))
        access = CdpAccess(is_observer=visit.admission.scope is Scope.OBSERVE, target_id=target_id)
        return ClientSocket(browser, access, self._keep)

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)


def _check_origin(visit: Visit) -> None:
    """No site's script speaks CDP, whatever token it got hold of. Programs send no origin."""
    own = {f"http://{visit.host}", f"https://{visit.host}", _DEVTOOLS_ORIGIN}
    if visit.origin and visit.origin.lower() not in own:
        raise PermissionDenied("Scripts of this origin do not attach.", scope=visit.admission.scope)
