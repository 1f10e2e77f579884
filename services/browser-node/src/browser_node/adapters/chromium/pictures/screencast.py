"""One source of pictures per browser, whatever the number of watchers.

Who names no page watches the one that was shown or used last. Pages are neither paused nor brought to the front; a
page behind others that somebody wants to watch is made to believe that it is in front.
"""

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from browser_node.adapters.chromium.cdp.multiplexer import CdpError, Multiplexer
from browser_node.adapters.chromium.cdp.node_session import NodeSession
from browser_node.adapters.chromium.pictures.page_cast import PageCast
from browser_node.adapters.chromium.pictures.pictures import Picture, PictureWish, Watcher

log = logging.getLogger(__name__)

# For first pictures of pages that nobody watches.
_GLANCE = PictureWish(width=1280, height=720, quality=60)


class _Metadata(msgspec.Struct, gc=False):
    deviceWidth: float = 0  # noqa: N815  # the protocol's name
    deviceHeight: float = 0  # noqa: N815  # the protocol's name
    offsetTop: float = 0  # noqa: N815  # the protocol's name
    pageScaleFactor: float = 1  # noqa: N815  # the protocol's name
    timestamp: float = 0


class _FrameParams(msgspec.Struct, gc=False):
    data: bytes  # base64 in JSON; msgspec decodes it
    sessionId: int  # noqa: N815  # the cast's number, by the protocol's name
    metadata: _Metadata = field(default_factory=_Metadata)


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


@dataclass(slots=True, eq=False)
class _Page:
    target_id: str
    cast: PageCast
    # Grows with each showing or use of a page.
    shown: int
    visible: bool = True
    # Made to believe that it is in front; what it says of its visibility means nothing meanwhile.
    kept_awake: bool = False


class Screencast:
    """Pictures of a browser for any number of watchers. Costs nothing while there is none."""

    def __init__(self, multiplexer: Multiplexer) -> None:
        self._multiplexer = multiplexer
        self._session: NodeSession | None = None
        self._watchers: dict[Watcher, _Page | None] = {}
        # By the session that speaks to each.
        self._pages: dict[str, _Page] = {}
        self._shown = itertools.count(1)
        self._last_active: str | None = None
        # Told the page that is watched by whoever names none, whenever that changes.
        self.on_active: Callable[[str], None] = lambda target_id: None

    async def add(self, watcher: Watcher) -> None:
        """Give a watcher the present picture, if there is one, and those that follow. Raises CdpError."""
        self._watchers[watcher] = None
        self._seat_all()
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

    def remove(self, watcher: Watcher) -> None:
        """Stop giving pictures to a watcher."""
        page = self._watchers.pop(watcher, None)
        if not self._watchers:
            self.close()
        elif page is not None:
            page.cast.remove(watcher)
            self._seat_all()

    def turn(self, watcher: Watcher) -> None:
        """A watcher takes pictures again, or what it wishes has changed."""
        if watcher in self._watchers:
            self._seat_all()
            page = self._watchers[watcher]
            if page is not None:
                page.cast.turn()

    def follow(self, target_id: str) -> None:
        """Somebody is busy with a page: it is the one to watch now."""
        page = self._find(target_id)
        if page is None or page is max(self._pages.values(), key=lambda page: page.shown):
            return
        page.shown = next(self._shown)
        # Whether it is shown is heard only while it is cast.
        page.visible = True
        self._seat_all()

    @property
    def active(self) -> str | None:
        """The page that was shown or used last, among those that have a picture."""
        page = self._active()
        return page.target_id if page is not None else None

    def picture_of(self, target_id: str) -> Picture | None:
        """Return what a page looked like last."""
        page = self._find(target_id)
        return page.cast.latest if page is not None else None

    def close(self) -> None:
        """End the source: its session ends, and with it every screencast."""
        session, self._session = self._session, None
        for page in self._pages.values():
            page.cast.close()
        self._pages.clear()
        self._watchers = dict.fromkeys(self._watchers)
        self._last_active = None
        if session is not None:
            session.close()

    # ---- what the browser says

    def _on_event(self, message: bytes) -> None:
        try:
            if message.startswith(b'{"method":"Page.screencastFrame"'):
                if self._is_wanted(message):
                    self._on_frame(_decode_frame(message))
            elif message.startswith(b'{"method":"Page.screencastVisibilityChanged"'):
                self._on_visibility(_decode_visibility(message))
            elif message.startswith(b'{"method":"Target.attachedToTarget"'):
                self._on_page(_decode_target(message).params)
            elif message.startswith(b'{"method":"Target.detachedFromTarget"'):
                self._on_page_gone(_decode_target(message).params.sessionId)
        except (msgspec.DecodeError, CdpError):
            log.warning("a screencast event is not understood", exc_info=True)

    def _is_wanted(self, message: bytes) -> bool:
        """Tell whether a picture is worth reading: a cast that was stopped may have sent more."""
        page = self._pages.get(message[-34:-2].decode("ascii", "replace"))
        # Written in a way that Chrome does not today, the session is found by reading it.
        return page is None or page.cast.is_casting

    def _on_page(self, params: _TargetParams) -> None:
        session = self._session
        if session is None:
            return
        session_id = params.sessionId

        def tell(method: str, values: dict[str, object]) -> None:
            refused = cast.refused if method == "Page.startScreencast" else None
            session.tell(method, values, session_id, refused=refused)

        cast = PageCast(tell)
        self._pages[session_id] = _Page(params.targetInfo.targetId, cast, next(self._shown))
        cast.peek(_GLANCE)

    def _on_page_gone(self, session_id: str) -> None:
        page = self._pages.pop(session_id, None)
        if page is not None:
            page.cast.close()
            for other in self._pages.values():
                # What is in front now? A page that is kept awake tells only when it is not.
                self._keep_awake(other, wanted=False)
            self._watchers = {watcher: seat if seat is not page else None for watcher, seat in self._watchers.items()}
            self._seat_all()

    def _on_visibility(self, event: _VisibilityEvent) -> None:
        page = self._pages.get(event.sessionId)
        if page is None or page.kept_awake or page.visible == event.params.visible:
            return
        page.visible = event.params.visible
        if page.visible:
            page.shown = next(self._shown)
            page.cast.renew()
        self._seat_all()

    def _on_frame(self, event: _FrameEvent) -> None:
        page = self._pages.get(event.sessionId)
        if page is None:
            return
        metadata = event.params.metadata
        is_first = page.cast.latest is None
        picture = Picture(
            target_id=page.target_id,
            jpeg=event.params.data,
            taken_ms=int(metadata.timestamp * 1000),
            page_width=metadata.deviceWidth,
            page_height=metadata.deviceHeight,
            offset_top=metadata.offsetTop,
            page_scale=metadata.pageScaleFactor or 1,
        )
        page.cast.came(picture, event.params.sessionId)
        if is_first:
            self._seat_all()
        elif not page.cast.has_watchers:
            self._rest(page)

    # ---- who watches what

    def _active(self) -> _Page | None:
        candidates = [page for page in self._pages.values() if page.visible and page.cast.latest is not None]
        return max(candidates, key=lambda page: page.shown, default=None)

    def _find(self, target_id: str | None) -> _Page | None:
        return next((page for page in self._pages.values() if page.target_id == target_id), None)

    def _seat_all(self) -> None:
        """Let every watcher look at its page, and no page be cast that nobody looks at."""
        active = self._active()
        for watcher, seat in list(self._watchers.items()):
            page = self._find(watcher.target_id) or active
            if page is seat:
                continue
            self._watchers[watcher] = page
            if seat is not None:
                seat.cast.remove(watcher)
            if page is not None:
                page.cast.add(watcher)
        wanted = {watcher.target_id for watcher in self._watchers}
        for page in self._pages.values():
            self._keep_awake(page, wanted=page.target_id in wanted and not page.visible)
            if not page.cast.has_watchers:
                self._rest(page)
        if active is not None and active.target_id != self._last_active:
            self._last_active = active.target_id
            self.on_active(active.target_id)

    def _rest(self, page: _Page) -> None:
        """Nobody looks: a page that is seen was looked at already; a hidden one tells when it is shown."""
        if page.visible and page.cast.latest is not None:
            page.cast.turn()
        else:
            page.cast.peek(_GLANCE)

    def _keep_awake(self, page: _Page, *, wanted: bool) -> None:
        """Chrome draws what is in front; a page that somebody watches behind it is made to believe it is."""
        if page.kept_awake == wanted or self._session is None:
            return
        page.kept_awake = wanted
        session_id = next(key for key, other in self._pages.items() if other is page)
        self._session.tell("Emulation.setFocusEmulationEnabled", {"enabled": wanted}, session_id)
        if not wanted:
            # With a new cast it says whether it is visible, if it is not.
            page.visible = True
            page.cast.renew()
