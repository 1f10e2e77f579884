"""Options of a session that are held over every page of its browser, whoever opens it.

The node's own session in the browser is attached to each page, worker and frame of another site before it runs its
first script or sends its first request, tells it what to report, and lets it go on. Nothing of this happens in a
browser that nobody asked anything of.

Chrome applies the overrides of several sessions in the order in which these came: a client that sets one of its own
has its way on its pages, as long as it is attached.
"""

import asyncio
import logging
from typing import Any

import msgspec

from browser_node.adapters.chromium.cdp.multiplexer import CdpError, Multiplexer
from browser_node.adapters.chromium.cdp.node_session import NodeSession
from browser_node.adapters.chromium.options.client_hints import client_hints
from browser_node.adapters.chromium.options.receipts import Observation, question
from browser_node.domain.errors import OptionUnavailable
from browser_node.domain.options import BrowserOptions

log = logging.getLogger(__name__)

Commands = list[tuple[str, dict[str, object]]]

_ATTACHED = b'{"method":"Target.attachedToTarget"'
_DETACHED = b'{"method":"Target.detachedFromTarget"'
# A process has one for all its pages, and it goes with the page that set it first. Time zones are a process's too, but
# stay; set anew, they would be the machine's for a moment.
_OF_A_PROCESS = "Emulation.setLocaleOverride"
_NEW_PAGES: list[dict[str, object]] = [
    {"type": "page"},
    {"type": "service_worker"},
    {"type": "shared_worker"},
    {"exclude": True},
]
_BELOW_A_PAGE: list[dict[str, object]] = [{"type": "iframe"}, {"type": "worker"}, {"exclude": True}]
_DEFAULT_ACCURACY_METERS = 50.0
_ANNOUNCEMENT_SECONDS = 5
_SIZE_LOOKS, _SIZE_POLL_SECONDS = 20, 0.005


class _Target(msgspec.Struct, gc=False):
    targetId: str  # noqa: N815  # the protocol's name
    type: str


class _AttachedParams(msgspec.Struct, gc=False):
    sessionId: str  # noqa: N815  # the protocol's name
    targetInfo: _Target  # noqa: N815  # the protocol's name


class _Attached(msgspec.Struct, gc=False):
    params: _AttachedParams


class _DetachedParams(msgspec.Struct, gc=False):
    sessionId: str  # noqa: N815  # the protocol's name


class _Detached(msgspec.Struct, gc=False):
    params: _DetachedParams


_decode_attached = msgspec.json.Decoder(_Attached).decode
_decode_detached = msgspec.json.Decoder(_Detached).decode


def accept_language(locale: str) -> str:
    """Return the languages that a browser of this locale prefers."""
    language = locale.split("-", 1)[0]
    return locale if language == locale else f"{locale},{language}"


def page_commands(options: BrowserOptions) -> Commands:
    """Return what makes a page, worker or frame report what was asked."""
    commands: Commands = []
    if options.user_agent or options.locale:
        # Empty: the browser's own, with its own client hints.
        agent: dict[str, object] = {"userAgent": options.user_agent}
        if options.locale:
            agent["acceptLanguage"] = accept_language(options.locale)
        if (hints := client_hints(options.user_agent)) is not None:
            agent["userAgentMetadata"] = hints
        commands.append(("Emulation.setUserAgentOverride", agent))
    if options.locale:
        commands.append(("Emulation.setLocaleOverride", {"locale": options.locale}))
    if options.timezone:
        commands.append(("Emulation.setTimezoneOverride", {"timezoneId": options.timezone}))
    if options.geolocation is not None:
        place = options.geolocation
        commands.append(
            (
                "Emulation.setGeolocationOverride",
                {
                    "latitude": place.latitude,
                    "longitude": place.longitude,
                    "accuracy": place.accuracy_meters or _DEFAULT_ACCURACY_METERS,
                },
            )
        )
    if options.headers:
        # Extra headers belong to the network domain, which says a lot once it is on: its buffers are kept empty.
        commands.append(("Network.enable", {"maxTotalBufferSize": 0, "maxResourceBufferSize": 0, "maxPostDataSize": 0}))
        commands.append(("Network.setExtraHTTPHeaders", {"headers": dict(options.headers)}))
    return commands


class Overrides:
    """The options of one session, on its browser. `page` is the target of its first page."""

    def __init__(
        self,
        multiplexer: Multiplexer,
        options: BrowserOptions,
        *,
        page: str,
    ) -> None:
        self._session = NodeSession(multiplexer, self._on_event)
        self._options = options
        self._page = page
        self._commands = page_commands(options)
        self._first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # What the node is attached to.
        self._attached: set[str] = set()
        self._chores: set[asyncio.Task[None]] = set()

    async def hold(self) -> None:
        """Apply everything, and see to it that every later page gets the same. Raises CdpError, OptionUnavailable."""
        await self._session.open()
        if self._options.permissions:
            await self._grant()
        if not self._commands and self._options.viewport is None:
            # Announces the session like auto-attaching does, before it answers.
            await self._session.call("Target.attachToTarget", {"targetId": self._page, "flatten": True})
            await self._announced()
            return
        # Answered when the pages that are there have been announced.
        await self._session.call("Target.setAutoAttach", _auto_attach(_NEW_PAGES))
        first = await self._announced()
        await asyncio.gather(
            self._resize_first(first), *(self._session.call(method, params, first) for method, params in self._commands)
        )

    async def _announced(self) -> str:
        async with asyncio.timeout(_ANNOUNCEMENT_SECONDS):
            return await asyncio.shield(self._first)

    async def _grant(self) -> None:
        permissions = list(self._options.permissions)
        try:
            await self._session.call("Browser.grantPermissions", {"permissions": permissions})
        except CdpError as error:
            message = f"This browser does not grant these permissions: {error}"
            raise OptionUnavailable(message, option="permissions", value=", ".join(permissions)) from error

    async def _resize_first(self, session_id: str) -> None:
        if self._options.viewport is not None:
            await self._resize(self._page)
            await self._until_resized(session_id)

    def cover(self, context_id: str) -> None:
        """A client has made a context: permissions are a context's own."""
        if self._options.permissions:
            self._session.tell(
                "Browser.grantPermissions",
                {"permissions": list(self._options.permissions), "browserContextId": context_id},
            )

    def restore(self) -> None:
        """A client has left, and what both had set went with it: say it again. Its own pages are going."""
        if self._options.permissions:
            self._session.tell("Browser.grantPermissions", {"permissions": list(self._options.permissions)})
        for session_id in self._attached:
            for method, params in self._commands:
                self._session.tell(method, params, session_id)

    async def observe(self) -> Observation:
        """Ask the first page, which is blank, what it reports. Raises CdpError."""
        world = await self.on_page("Page.createIsolatedWorld", {"frameId": self._page, "worldName": "receipts"})
        asked: dict[str, object] = {
            "expression": question(self._options),
            "contextId": world["executionContextId"],
            "awaitPromise": True,
            "returnByValue": True,
        }
        return Observation.parse((await self.on_page("Runtime.evaluate", asked))["result"]["value"])

    async def on_page(self, method: str, params: dict[str, object]) -> dict[str, Any]:  # the result of any command
        """Run a command on the first page, after `hold`. Raises CdpError."""
        return await self._session.call(method, params, self._first.result())

    def _on_event(self, message: bytes) -> None:
        if message.startswith(_ATTACHED):
            attached = _decode_attached(message).params
            self._on_attached(attached.sessionId, attached.targetInfo)
        elif message.startswith(_DETACHED):
            self._on_detached(_decode_detached(message).params.sessionId)

    def _on_detached(self, session_id: str) -> None:
        self._attached.discard(session_id)
        self._renew_locale()

    def _renew_locale(self) -> None:
        for method, params in self._commands:
            if method == _OF_A_PROCESS:
                for other in self._attached:
                    self._session.tell(method, params, other)

    def _on_attached(self, session_id: str, target: _Target) -> None:
        self._attached.add(session_id)
        self._session.tell("Target.setAutoAttach", _auto_attach(_BELOW_A_PAGE), session_id)
        if target.targetId == self._page and not self._first.done():
            self._first.set_result(session_id)
            return
        for method, params in self._commands:
            self._session.tell(method, params, session_id)
        if target.type == "page" and self._options.viewport is not None:
            task = asyncio.create_task(self._resize_and_release(target.targetId, session_id))
            self._chores.add(task)
            task.add_done_callback(self._chores.discard)
        else:
            self._session.tell("Runtime.runIfWaitingForDebugger", {}, session_id)

    async def _resize_and_release(self, target_id: str, session_id: str) -> None:
        try:
            await self._resize(target_id)
        except CdpError as error:
            log.debug("a page that was just opened has no window of the right size: %s", error)
        finally:
            self._session.tell("Runtime.runIfWaitingForDebugger", {}, session_id)

    async def _resize(self, target_id: str) -> None:
        """Give a page's window the size that was asked: a size of its own survives every client's emulation."""
        viewport = self._options.viewport
        if viewport is None:
            return
        window = await self._session.call("Browser.getWindowForTarget", {"targetId": target_id})
        size = {"width": viewport.width, "height": viewport.height}
        await self._session.call("Browser.setContentsSize", {"windowId": window["windowId"], **size})

    async def _until_resized(self, session_id: str) -> None:
        """Wait, a little, until a page knows of its window's new size. One that waits itself would not answer."""
        viewport = self._options.viewport
        for _ in range(_SIZE_LOOKS):
            seen = (await self._session.call("Page.getLayoutMetrics", {}, session_id))["cssLayoutViewport"]
            if viewport is None or (seen["clientWidth"], seen["clientHeight"]) == (viewport.width, viewport.height):
                return
            await asyncio.sleep(_SIZE_POLL_SECONDS)


def _auto_attach(kinds: list[dict[str, object]]) -> dict[str, object]:
    return {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True, "filter": kinds}
