"""The pages of a browser as people see them: a list of tabs, what each shows and what it asks.

Open only while somebody watches. It reads, and enables nothing that a client could notice but one thing: a JavaScript
dialog is told, and stays open for whoever answers it first.
"""

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from browser_node.adapters.chromium.cdp.multiplexer import CdpError, Multiplexer
from browser_node.adapters.chromium.cdp.node_session import NodeSession

log = logging.getLogger(__name__)

_PAGES = [{"type": "page"}]
# What a page calls itself is data of any length.
_MAX_TITLE, _MAX_URL, _MAX_MESSAGE = 200, 2048, 4000
_MAX_TABS = 100

Event = dict[str, object]


class _TargetInfo(msgspec.Struct, gc=False):
    targetId: str = ""  # noqa: N815  # the protocol's name
    type: str = ""
    title: str = ""
    url: str = ""
    browserContextId: str = ""  # noqa: N815  # the protocol's name


class _Params(msgspec.Struct, gc=False):
    """The parameters of every event that is looked at here."""

    sessionId: str = ""  # noqa: N815  # the protocol's name
    targetInfo: _TargetInfo | None = None  # noqa: N815  # the protocol's name
    targetId: str = ""  # noqa: N815  # the protocol's name
    frameId: str = ""  # noqa: N815  # the protocol's name
    type: str = ""
    message: str = ""
    defaultPrompt: str = ""  # noqa: N815  # the protocol's name
    mode: str = ""


class _Event(msgspec.Struct, gc=False):
    method: str
    params: _Params
    sessionId: str = ""  # noqa: N815  # the protocol's name


_decode = msgspec.json.Decoder(_Event).decode


@dataclass(slots=True, eq=False)
class Tab:
    """One page. Numbers are given once in a browser's life."""

    number: int
    target_id: str
    context_id: str
    # Empty until it is attached to.
    session_id: str = ""
    title: str = ""
    url: str = ""
    loading: bool = False
    crashed: bool = False
    dialog: Event | None = None


class Tabs:
    """`on_change` is called when the list says something new, `on_event` with what a tab asks or tells."""

    def __init__(
        self, multiplexer: Multiplexer, *, on_change: Callable[[], None], on_event: Callable[[Event], None]
    ) -> None:
        self._multiplexer = multiplexer
        self._on_change = on_change
        self._on_event = on_event
        self._session: NodeSession | None = None
        self._numbers = itertools.count(1)
        # Numbers stay the same for who comes back.
        self._known: dict[str, int] = {}
        self._tabs: dict[str, Tab] = {}
        self._choosers = False
        self._closing = False

    async def open(self) -> None:
        """Begin to look. Raises CdpError."""
        self._closing = False
        if self._session is not None:
            return
        session = self._session = NodeSession(self._multiplexer, self._on_message)
        await session.open()
        await session.call("Target.setDiscoverTargets", {"discover": True, "filter": _PAGES})
        await session.call(
            "Target.setAutoAttach",
            {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": True, "filter": _PAGES},
        )

    async def refresh(self) -> None:
        """Look at the titles: Chrome does not tell of each that changes. Raises CdpError."""
        if self._session is None:
            return
        result = await self._session.call("Target.getTargets", {"filter": _PAGES})
        for info in msgspec.convert(result["targetInfos"], list[_TargetInfo]):
            if info.targetId in self._tabs:
                self._describe(info)

    def close(self) -> None:
        """Look no more; not yet while a client has a dialog to answer: Chrome dismisses it with any look that ends."""
        self._closing = True
        session = self._session
        if session is not None and any(
            tab.dialog is not None and self._multiplexer.has_answerer(tab.target_id, besides=session)
            for tab in self._tabs.values()
        ):
            return
        self._session = None
        self._tabs.clear()
        if session is not None:
            session.close()

    def all(self) -> list[Tab]:
        """The tabs in the order of their coming; so many as can be told."""
        return list(self._tabs.values())[:_MAX_TABS]

    def find(self, number: int) -> Tab | None:
        return next((tab for tab in self._tabs.values() if tab.number == number), None)

    def number_of(self, target_id: str) -> int:
        """Return a page's number, whether its tab was told already or not."""
        if target_id not in self._known:
            self._known[target_id] = next(self._numbers)
        return self._known[target_id]

    @property
    def unanswered(self) -> int:
        """How many commands the browser has not answered yet."""
        return self._session.pending if self._session is not None else 0

    def tell(self, tab: Tab, method: str, params: dict[str, object]) -> None:
        """Send a command to a tab; nobody waits for the answer."""
        if self._session is not None and tab.session_id:
            self._session.tell(method, params, tab.session_id)

    async def call(
        self, tab: Tab | None, method: str, params: dict[str, object]
    ) -> dict[str, Any]:  # the result of any command
        """Run a command in a tab, or in the browser itself, and return its result. Raises CdpError."""
        if self._session is None or (tab is not None and not tab.session_id):
            raise CdpError("there is nothing to talk to")
        return await self._session.call(method, params, tab.session_id if tab is not None else None)

    def tell_choosers(self, wanted: bool) -> None:
        """Take file choosers away from the browser, and tell of them; only while a person could be asking for one."""
        self._choosers = wanted
        for tab in self._tabs.values():
            self.tell(tab, "Page.setInterceptFileChooserDialog", {"enabled": wanted})

    # ---- what the browser says

    def _on_message(self, message: bytes) -> None:
        # Of what a page's session says most is of no interest: it is not decoded.
        if not message.startswith(_INTERESTING):
            return
        try:
            event = _decode(message)
        except msgspec.DecodeError:
            log.warning("an event of a page is not understood", exc_info=True)
            return
        if event.method.startswith("Target."):
            self._on_target(event)
            return
        tab = next((tab for tab in self._tabs.values() if tab.session_id == event.sessionId), None)
        if tab is not None:
            self._on_page(tab, event.method, event.params)

    def _on_target(self, event: _Event) -> None:
        info, params = event.params.targetInfo, event.params
        match event.method:
            case "Target.targetCreated" | "Target.targetInfoChanged" if info is not None:
                self._describe(info)
            case "Target.attachedToTarget" if info is not None:
                tab = self._describe(info)
                tab.session_id = params.sessionId
                self.tell(tab, "Page.enable", {})
                self.tell(tab, "Inspector.enable", {})
                if self._choosers:
                    self.tell_choosers(True)
            case "Target.targetDestroyed":
                self._known.pop(params.targetId, None)
                if self._tabs.pop(params.targetId, None) is not None:
                    self._on_change()
            case _:
                pass

    def _describe(self, info: _TargetInfo) -> Tab:
        tab = self._tabs.get(info.targetId)
        title, url = info.title[:_MAX_TITLE], info.url[:_MAX_URL]
        if tab is None:
            tab = Tab(self.number_of(info.targetId), info.targetId, info.browserContextId)
            self._tabs[info.targetId] = tab
        elif (tab.title, tab.url) == (title, url):
            return tab
        tab.title, tab.url = title, url
        self._on_change()
        return tab

    def _on_page(self, tab: Tab, method: str, params: _Params) -> None:
        # The main frame of a page has its target's ID.
        is_main = params.frameId == tab.target_id
        match method:
            case "Page.frameStartedLoading" | "Page.frameStoppedLoading" if is_main:
                tab.loading = method.endswith("StartedLoading")
                self._on_change()
            case "Inspector.targetCrashed":
                tab.crashed, tab.loading = True, False
                self._on_change()
            case "Inspector.targetReloadedAfterCrash":
                tab.crashed = False
                self._on_change()
            case "Page.javascriptDialogOpening":
                tab.dialog = {
                    "type": "dialog",
                    "tab": tab.number,
                    "kind": params.type,
                    "message": params.message[:_MAX_MESSAGE],
                    "default_text": params.defaultPrompt[:_MAX_MESSAGE],
                }
                self._on_event(tab.dialog)
            case "Page.javascriptDialogClosed":
                tab.dialog = None
                self._on_event({"type": "dialog_closed", "tab": tab.number})
                if self._closing:
                    self.close()
            case "Page.fileChooserOpened":
                self._on_event({"type": "file_chooser", "tab": tab.number, "multiple": params.mode == "selectMultiple"})
            case _:
                pass


_INTERESTING = tuple(
    b'{"method":"%b"' % name
    for name in (
        b"Target.targetCreated",
        b"Target.targetInfoChanged",
        b"Target.targetDestroyed",
        b"Target.attachedToTarget",
        b"Page.frameStartedLoading",
        b"Page.frameStoppedLoading",
        b"Inspector.targetCrashed",
        b"Inspector.targetReloadedAfterCrash",
        b"Page.javascriptDialogOpening",
        b"Page.javascriptDialogClosed",
        b"Page.fileChooserOpened",
    )
)
