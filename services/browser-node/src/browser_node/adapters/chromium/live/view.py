"""The live view of one browser: its viewers, what they are told, and who of them may type."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from datetime import timedelta

from browser_node.adapters.chromium.cdp.multiplexer import CdpError, Multiplexer
from browser_node.adapters.chromium.live import messages as live
from browser_node.adapters.chromium.live.control import Control
from browser_node.adapters.chromium.live.input import InputRefused, LiveInput, refused_by_browser
from browser_node.adapters.chromium.live.tabs import Event, Tabs
from browser_node.adapters.chromium.live.viewer import MOST_UNDER_WAY, LiveViewer
from browser_node.adapters.chromium.pictures.screencast import Screencast
from browser_node.domain.errors import SessionNotOpen
from browser_node.usecases.ports import ViewerConnection, ViewerSocket

log = logging.getLogger(__name__)

MAX_VIEWERS = 16
# A page that loads says much about itself; people are told the last of it.
_TABS_INTERVAL = timedelta(milliseconds=50)
_TITLES_INTERVAL = timedelta(seconds=1)
# Commands of one browser that wait for an answer of it.
_MOST_CHORES = 50

# WebSocket close code: the service goes away under the viewer.
_GOING_AWAY = 1001


class LiveView:
    """Viewers of one browser. Costs nothing while there is none."""

    def __init__(self, *, multiplexer: Multiplexer, screencast: Screencast, control: Control) -> None:
        self._multiplexer = multiplexer
        self._screencast = screencast
        self._control = control
        self._viewers: list[LiveViewer] = []
        self._tabs = Tabs(multiplexer, on_change=self._tabs_changed, on_event=self._tell_all)
        self._input = LiveInput(tabs=self._tabs, screencast=screencast)
        self._tabs_timer: asyncio.TimerHandle | None = None
        self._titles: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        screencast.on_active = lambda target_id: self._tabs_changed()
        control.on_change = self._control_changed

    @property
    def viewer_count(self) -> int:
        return len(self._viewers)

    async def join(self, socket: ViewerSocket, *, generation: int | None) -> ViewerConnection:
        """Let somebody watch, and act while this lease is held. Raises SessionNotOpen."""
        viewer = LiveViewer(host=self, socket=socket, generation=generation)
        self._viewers.append(viewer)
        try:
            self._greet(viewer)
            await self._tabs.open()
            self._control_is_told()
            self._describe(viewer)
            if self._titles is None:
                self._titles = asyncio.create_task(self._follow_titles())
            await self._screencast.add(viewer)
        except CdpError as error:
            viewer.leave()
            raise SessionNotOpen("The session's browser has ended.") from error
        except BaseException:
            viewer.leave()
            raise
        log.info("a viewer came")
        return viewer

    def end(self, why: str) -> None:
        """The browser ends: tell everybody why."""
        for viewer in list(self._viewers):
            viewer.tell({"type": "ended", "reason": why})
            viewer.close(_GOING_AWAY, why)
        for chore in self._chores:
            chore.cancel()

    # ---- viewers call these

    def tab_of(self, target_id: str) -> int:
        return self._tabs.number_of(target_id)

    def watch(self, viewer: LiveViewer, tab: int | None) -> None:
        found = self._tabs.find(tab) if tab is not None else None
        if tab is not None and found is None:
            raise InputRefused("no_such_tab", "There is no such tab any more.")
        viewer.target_id = found.target_id if found is not None else None
        self._screencast.turn(viewer)

    def turn(self, viewer: LiveViewer) -> None:
        self._screencast.turn(viewer)

    def ask(self, viewer: LiveViewer, command: live.ControlCommand) -> None:
        if not self._control.allows(viewer.generation):
            raise InputRefused("control_not_held", "This needs control of the browser; take it first.")
        self._multiplexer.last_input = time.monotonic()
        if self._input.press(command):
            return
        if len(self._chores) >= _MOST_CHORES:
            raise InputRefused("page_busy", "The browser does not react; the command was dropped.")
        self._do(self._answer(viewer, command))

    def gone(self, viewer: LiveViewer) -> None:
        if viewer in self._viewers:
            self._viewers.remove(viewer)
        self._screencast.remove(viewer)
        if not self._viewers:
            if self._titles is not None:
                self._titles.cancel()
                self._titles = None
            self._tabs.close()
            self._input.close()
        log.info("a viewer left")

    async def _answer(self, viewer: LiveViewer, command: live.ControlCommand) -> None:
        try:
            await self._input.do(command, viewer.tell)
        except InputRefused as error:
            viewer.refuse(error)
        except CdpError as error:
            viewer.refuse(refused_by_browser(error))

    def _do(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    # ---- what viewers are told

    def _greet(self, viewer: LiveViewer) -> None:
        viewer.tell(
            {
                "type": "hello",
                "protocol": live.PROTOCOL,
                "max_fps": live.MAX_FRAME_RATE,
                "most_under_way": MOST_UNDER_WAY,
            }
        )
        viewer.tell(self._control_event(viewer))

    def _describe(self, viewer: LiveViewer) -> None:
        viewer.tell(self._tabs_event())
        for tab in self._tabs.all():
            if tab.dialog is not None:
                viewer.tell(tab.dialog)

    async def _follow_titles(self) -> None:
        while True:
            await asyncio.sleep(_TITLES_INTERVAL.total_seconds())
            with contextlib.suppress(CdpError):
                await self._tabs.refresh()

    def _tell_all(self, event: Event) -> None:
        for viewer in list(self._viewers):
            viewer.tell(event)

    def _tabs_changed(self) -> None:
        if self._tabs_timer is None and self._viewers:
            loop = asyncio.get_running_loop()
            self._tabs_timer = loop.call_later(_TABS_INTERVAL.total_seconds(), self._tell_tabs)

    def _tell_tabs(self) -> None:
        self._tabs_timer = None
        self._tell_all(self._tabs_event())

    def _tabs_event(self) -> Event:
        active = self._screencast.active
        return {
            "type": "tabs",
            "tabs": [
                {
                    "tab": tab.number,
                    "title": tab.title,
                    "url": tab.url,
                    "loading": tab.loading,
                    "crashed": tab.crashed,
                    "active": tab.target_id == active,
                }
                for tab in self._tabs.all()
            ],
        }

    def _control_event(self, viewer: LiveViewer) -> Event:
        return {"type": "control", "held": self._control.is_held, "yours": self._control.allows(viewer.generation)}

    def _control_changed(self) -> None:
        self._control_is_told()
        for viewer in list(self._viewers):
            viewer.tell(self._control_event(viewer))

    def _control_is_told(self) -> None:
        self._tabs.tell_choosers(self._control.is_held and bool(self._viewers))
