"""One source of pictures per browser, whatever the number of viewers: the page that was shown or used last.

Chrome sends pictures of every visible page and waits for acknowledgements: up to three are under way. Holding an
acknowledgement back is what paces it; pictures of pages that nobody watches are not acknowledged at all, so that such
a page costs next to nothing. Pages are neither paused nor brought to the front.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from browser_node.adapters.chromium.multiplexer import CdpError, Multiplexer
from browser_node.adapters.chromium.node_session import NodeSession

log = logging.getLogger(__name__)

_MAX_WIDTH, _MAX_HEIGHT = 1280, 720
_QUALITY = 60
_FRAME_INTERVAL = timedelta(milliseconds=200)

Viewer = Callable[[bytes], None]


class _FrameParams(msgspec.Struct, gc=False):
    data: bytes  # base64 in JSON; msgspec decodes it
    sessionId: int  # noqa: N815  # the frame's number, by the protocol's name


class _FrameEvent(msgspec.Struct, gc=False):
    params: _FrameParams
    sessionId: str  # noqa: N815  # the protocol's name


class _VisibilityParams(msgspec.Struct, gc=False):
    visible: bool


class _VisibilityEvent(msgspec.Struct, gc=False):
    params: _VisibilityParams
    sessionId: str  # noqa: N815  # the protocol's name


class _TargetInfo(msgspec.Struct, frozen=True, gc=False):
    targetId: str = ""  # noqa: N815  # the protocol's name


class _TargetParams(msgspec.Struct, gc=False):
    sessionId: str  # noqa: N815  # the protocol's name
    targetInfo: _TargetInfo = _TargetInfo()  # noqa: N815  # the protocol's name


class _TargetEvent(msgspec.Struct, gc=False):
    params: _TargetParams


_decode_frame = msgspec.json.Decoder(_FrameEvent).decode
_decode_visibility = msgspec.json.Decoder(_VisibilityEvent).decode
_decode_target = msgspec.json.Decoder(_TargetEvent).decode


@dataclass(slots=True)
class _Page:
    target_id: str
    shown: int
    visible: bool = True
    latest: bytes | None = None
    held: deque[int] = field(default_factory=deque)
    next_ack: float = 0.0


class Screencast:
    """Pictures of a browser for any number of viewers. Costs nothing while there is none."""

    def __init__(self, multiplexer: Multiplexer) -> None:
        self._multiplexer = multiplexer
        self._session: NodeSession | None = None
        self._viewers: list[Viewer] = []
        self._pages: dict[str, _Page] = {}
        self._shown = itertools.count(1)

    async def add(self, viewer: Viewer) -> None:
        """Give a viewer the present picture, if there is one, and all that follow. Raises CdpError."""
        self._viewers.append(viewer)
        active = self._active()
        latest = self._pages[active].latest if active is not None else None
        if latest is not None:
            viewer(latest)
        if self._session is None:
            session = self._session = NodeSession(self._multiplexer, self._on_event)
            await session.open()
            await session.call(
                "Target.setAutoAttach",
                {
                    "autoAttach": True,
                    "waitForDebuggerOnStart": False,
                    "flatten": True,
                    "filter": [{"type": "page"}],
                },
            )

    def remove(self, viewer: Viewer) -> None:
        """Stop giving pictures to a viewer."""
        if viewer in self._viewers:
            self._viewers.remove(viewer)
        if not self._viewers:
            self.close()

    def follow(self, target_id: str) -> None:
        """Somebody is busy with a page: it is the one to watch now."""
        if not self._pages:
            return
        newest = max(self._pages.values(), key=lambda page: page.shown)
        if newest.target_id == target_id:
            return
        for page in self._pages.values():
            if page.target_id == target_id:
                page.shown = next(self._shown)
                self._show_active()

    def close(self) -> None:
        """End the source: its session ends, and with it every screencast."""
        session, self._session = self._session, None
        self._pages.clear()
        if session is not None:
            session.close()

    def _on_event(self, message: bytes) -> None:
        try:
            if message.startswith(b'{"method":"Page.screencastFrame"'):
                self._on_frame(_decode_frame(message))
            elif message.startswith(b'{"method":"Page.screencastVisibilityChanged"'):
                self._on_visibility(_decode_visibility(message))
            elif message.startswith(b'{"method":"Target.attachedToTarget"'):
                self._on_page(_decode_target(message).params)
            elif message.startswith(b'{"method":"Target.detachedFromTarget"'):
                self._pages.pop(_decode_target(message).params.sessionId, None)
                self._show_active()
        except (msgspec.DecodeError, CdpError):
            log.warning("a screencast event is not understood", exc_info=True)

    def _on_page(self, params: _TargetParams) -> None:
        session_id = params.sessionId
        self._pages[session_id] = _Page(params.targetInfo.targetId, next(self._shown))
        if self._session is not None:
            settings: dict[str, object] = {
                "format": "jpeg",
                "quality": _QUALITY,
                "maxWidth": _MAX_WIDTH,
                "maxHeight": _MAX_HEIGHT,
            }
            self._session.tell("Page.startScreencast", settings, session_id)

    def _on_visibility(self, event: _VisibilityEvent) -> None:
        page = self._pages.get(event.sessionId)
        if page is None or page.visible == event.params.visible:
            return
        page.visible = event.params.visible
        if page.visible:
            page.shown = next(self._shown)
        self._show_active()

    def _on_frame(self, event: _FrameEvent) -> None:
        page = self._pages.get(event.sessionId)
        if page is None:
            return
        page.latest = event.params.data
        page.held.append(event.params.sessionId)
        if self._active() != event.sessionId:
            return
        for viewer in list(self._viewers):
            viewer(page.latest)
        self._ack_in_time(event.sessionId, page)

    def _active(self) -> str | None:
        """Return the session of the page that was shown last, among those that have a picture."""
        candidates = [(page.shown, key) for key, page in self._pages.items() if page.visible and page.latest]
        return max(candidates)[1] if candidates else None

    def _show_active(self) -> None:
        """Another page may be the one to watch now: show what it looks like and let it go on."""
        active = self._active()
        if active is None:
            return
        page = self._pages[active]
        if page.held and page.latest is not None:
            for viewer in list(self._viewers):
                viewer(page.latest)
            self._ack_in_time(active, page)

    def _ack_in_time(self, session_id: str, page: _Page) -> None:
        loop = asyncio.get_running_loop()
        page.next_ack = max(page.next_ack + _FRAME_INTERVAL.total_seconds(), loop.time())
        loop.call_at(page.next_ack, self._ack, session_id)

    def _ack(self, session_id: str) -> None:
        page = self._pages.get(session_id)
        if page is not None and page.held and self._session is not None:
            number = page.held.popleft()
            self._session.tell("Page.screencastFrameAck", {"sessionId": number}, session_id)
