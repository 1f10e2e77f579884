"""The browsers of a node: what starts, what ends, and why."""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from browser_node.domain.browser import (
    Assignment,
    BrowserEnd,
    BrowserFacts,
    CloseReason,
    EndedBrowser,
    RunningBrowser,
    SessionId,
    StartOrder,
)
from browser_node.domain.errors import (
    BrowserNotFound,
    BrowserStartFailed,
    NodeDraining,
    NodeFull,
    SessionNotOpen,
    StaleEpoch,
)
from browser_node.domain.reconciliation import reconcile
from browser_node.domain.roster import Roster
from browser_node.usecases.ports import BrowserLauncher, LiveBrowser
from fleetkit.clock import Clock
from fleetkit.errors import FleetError

log = logging.getLogger(__name__)

# The reaper acts at the deadline itself; the node only where nobody did.
_DEADLINE_GRACE = timedelta(seconds=2)
# How long a start waits for the place of a browser that is just ending: longer than its end may take.
_ROOM_TIMEOUT = timedelta(seconds=20)
# Ends that are remembered for clients that come too late.
_REMEMBERED_ENDS = 1000


class _Hosting:
    """One allocation on this node, from its start order to its last file."""

    def __init__(self, order: StartOrder) -> None:
        self.order = order
        self.up: asyncio.Future[BrowserFacts] = asyncio.get_running_loop().create_future()
        self.end: asyncio.Future[BrowserEnd] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self.browser: LiveBrowser | None = None
        # Monotonic seconds; set when the browser is up.
        self.deadline: float | None = None
        # When it was last set, by the same clock, and when control was.
        self.deadline_set = 0.0
        self.control_set = 0.0

    def reported(self) -> RunningBrowser:
        """Return what a heartbeat says of it."""
        session_id, epoch = self.order.session_id, self.order.epoch
        if self.browser is None:
            return RunningBrowser(session_id, epoch)
        return RunningBrowser(
            session_id,
            epoch,
            client_count=self.browser.client_count,
            viewer_count=self.browser.viewer_count,
            input_idle=self.browser.input_idle,
        )


class Browsers:
    """Starts, watches and ends the browsers of a node. Use it as a block: `async with browsers.hosting()`."""

    def __init__(self, *, launcher: BrowserLauncher, clock: Clock, slots: int, parallel_starts: int) -> None:
        self._launcher = launcher
        self._clock = clock
        self._roster = Roster(slots)
        self._starts = asyncio.Semaphore(parallel_starts)
        self._hostings: dict[SessionId, _Hosting] = {}
        self._unreported: dict[tuple[SessionId, int], EndedBrowser] = {}
        self._ends: OrderedDict[SessionId, tuple[int, BrowserEnd]] = OrderedDict()
        self._group: asyncio.TaskGroup | None = None
        self._evicting = False
        self.draining = False
        # The disk is too full for another session.
        self.crowded = False
        # Set when session-api should hear from the node at once.
        self.news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def hosting(self) -> AsyncIterator[None]:
        """Host browsers within the block; at its end every one of them ends."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                yield
            finally:
                self.end_all(BrowserEnd(CloseReason.NODE_DRAINED, "The node stopped."))

    async def start(self, order: StartOrder) -> BrowserFacts:
        """Start a browser, or return the one that runs for this session and epoch.

        The work goes on when the caller is gone. Raises NodeDraining, StaleEpoch, NodeFull, BrowserTypeUnavailable,
        BrowserStartFailed.
        """
        try:
            async with asyncio.timeout(_ROOM_TIMEOUT.total_seconds()):
                hosting = await self._hosting_for(order)
        except TimeoutError:
            raise NodeFull("Every slot of this node is taken, and what ends in one does not give it back.") from None
        return await asyncio.shield(hosting.up)

    async def _hosting_for(self, order: StartOrder) -> _Hosting:
        """Return the hosting of an allocation, with a place on the roster; what is ending keeps its own till then."""
        while True:
            if not self.takes_sessions or self._group is None:
                raise NodeDraining("This node takes no sessions now.")
            self._roster.check(order.session_id, order.epoch)
            hosting = self._hostings.get(order.session_id)
            if hosting is not None and hosting.order.epoch == order.epoch and not hosting.end.done():
                return hosting
            ended = self._ends.get(order.session_id)
            if (hosting is not None and hosting.order.epoch == order.epoch) or (ended and ended[0] == order.epoch):
                raise BrowserStartFailed("The browser of this allocation has ended.")
            if hosting is not None:
                self._finish(
                    hosting, BrowserEnd(CloseReason.NODE_LOST, "The session was given a new browser."), report=False
                )
                await hosting.gone.wait()
                continue
            if self._roster.is_full and (ending := [each for each in self._hostings.values() if each.end.done()]):
                await _first_gone(ending)
                continue
            self._roster.take(order.session_id, order.epoch)
            hosting = self._hostings[order.session_id] = _Hosting(order)
            self._group.create_task(self._host(hosting))
            return hosting

    async def stop(self, session_id: SessionId, epoch: int, reason: CloseReason) -> None:
        """End a browser: when this returns nobody can use it any more. No error when it does not run.

        Its processes and files go within moments, and until then it keeps its place: a start that needs the place
        waits for it.
        """
        hosting = self._hostings.get(session_id)
        if hosting is not None and hosting.order.epoch <= epoch:
            self._finish(hosting, BrowserEnd(reason), report=False)

    @property
    def takes_sessions(self) -> bool:
        """Whether a start has a chance."""
        return not (self.draining or self.crowded or self._evicting)

    def set_deadline(self, session_id: SessionId, epoch: int, remaining: timedelta) -> None:
        """Move the node's own deadline. Raises StaleEpoch, BrowserNotFound."""
        hosting, _ = self._up(session_id, epoch)
        self._limit(hosting, remaining)

    def set_control(self, session_id: SessionId, epoch: int, generation: int, *, held: bool) -> None:
        """Say that a person has taken control, or handed it back. Raises StaleEpoch, BrowserNotFound."""
        hosting, browser = self._up(session_id, epoch)
        hosting.control_set = self._clock.monotonic()
        browser.set_control(generation, held=held)

    def _up(self, session_id: SessionId, epoch: int) -> tuple[_Hosting, LiveBrowser]:
        self._roster.check(session_id, epoch)
        hosting = self._hostings.get(session_id)
        if hosting is None or hosting.order.epoch != epoch or hosting.browser is None:
            raise BrowserNotFound("No browser of this session runs here.")
        return hosting, hosting.browser

    async def enforce_deadlines(self) -> None:
        """Do one pass: end every browser whose deadline has passed."""
        now = self._clock.monotonic()
        for hosting in self._hostings.values():
            if hosting.deadline is not None and now >= hosting.deadline:
                self._finish(hosting, BrowserEnd(CloseReason.TIMED_OUT, "The session's time ran out."), report=True)

    def end_all(self, end: BrowserEnd) -> None:
        """Let every browser end."""
        for hosting in self._hostings.values():
            self._finish(hosting, end, report=True)

    async def evict(self, end: BrowserEnd) -> None:
        """Let every browser end and wait until nothing is left; what is ordered meanwhile is refused."""
        self._evicting = True
        try:
            self.end_all(end)
            await self.wait_empty()
        finally:
            self._evicting = False

    async def wait_empty(self) -> None:
        """Wait until nothing is hosted any more."""
        while self._hostings:
            await next(iter(self._hostings.values())).gone.wait()

    # ---- what a heartbeat says, and what its answer means

    @property
    def warm_count(self) -> int:
        """How many browsers stand ready for sessions to come."""
        return self._launcher.warm_count

    def running(self) -> list[RunningBrowser]:
        """Everything that runs, starting browsers included; what is about to end is not."""
        return [hosting.reported() for hosting in self._hostings.values() if not hosting.end.done()]

    def unreported(self) -> list[EndedBrowser]:
        """Browsers that ended by themselves and were not reported yet."""
        return list(self._unreported.values())

    def reported(self, ended: Sequence[EndedBrowser]) -> None:
        """session-api has heard of these."""
        for browser in ended:
            self._unreported.pop((browser.session_id, browser.epoch), None)

    def apply(self, reported: Sequence[RunningBrowser], assignments: Sequence[Assignment], *, sent: float) -> None:
        """Bring the browsers that were reported in line with what session-api wants.

        `sent` is when the report left, by the monotonic clock: the answer may be older than a deadline or a control
        that was set since, by an extension or a taking, and must not move it back.
        """
        wanted = reconcile(reported, assignments)
        for browser in wanted.stops:
            hosting = self._hostings.get(browser.session_id)
            if hosting is not None and hosting.order.epoch == browser.epoch:
                log.warning("a browser is not wanted any more", extra={"session_id": browser.session_id})
                self._finish(
                    hosting, BrowserEnd(CloseReason.NODE_LOST, "The session does not belong here."), report=False
                )
        for assignment in wanted.deadlines:
            with contextlib.suppress(BrowserNotFound, StaleEpoch):
                self._follow(assignment, *self._up(assignment.session_id, assignment.epoch), sent=sent)

    def _follow(self, assignment: Assignment, hosting: _Hosting, browser: LiveBrowser, *, sent: float) -> None:
        if hosting.deadline_set <= sent:
            self._limit(hosting, assignment.remaining)
        if hosting.control_set <= sent:
            if assignment.control_generation:
                browser.set_control(assignment.control_generation, held=True)
            else:
                browser.release_control()

    # ---- clients

    def find(self, session_id: SessionId, epoch: int) -> LiveBrowser:
        """Return the browser of an allocation. Raises BrowserNotFound, StaleEpoch, SessionNotOpen."""
        hosting = self._hostings.get(session_id)
        if hosting is None or hosting.end.done():
            ended = self._ends.get(session_id)
            if hosting is None and (ended is None or ended[0] < epoch):
                raise BrowserNotFound("No browser of this session runs here.")
            end = hosting.end.result() if hosting is not None else ended[1] if ended is not None else None
            reason = end.reason if end is not None else CloseReason.USER_REQUESTED
            raise SessionNotOpen(f"The session is closed: {reason}.", close_reason=reason)
        if hosting.order.epoch > epoch:
            raise StaleEpoch("A newer allocation of this session exists.", newest_epoch=str(hosting.order.epoch))
        if hosting.order.epoch < epoch or hosting.browser is None:
            raise BrowserNotFound("No browser of this session runs here.")
        return hosting.browser

    # ---- the life of one browser

    async def _host(self, hosting: _Hosting) -> None:
        order = hosting.order
        try:
            browser = await self._bring_up(hosting)
            if browser is not None:
                await self._watch(hosting, browser)
                await browser.close(hosting.end.result())
        except Exception:
            log.exception("hosting a browser failed", extra={"session_id": order.session_id})
        finally:
            self._settle(hosting)

    async def _bring_up(self, hosting: _Hosting) -> LiveBrowser | None:
        launch = asyncio.ensure_future(self._launch(hosting.order))
        waits: set[asyncio.Future[LiveBrowser] | asyncio.Future[BrowserEnd]] = {launch, hosting.end}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not launch.done():
                return None
            browser = launch.result()
        except FleetError as error:
            self._finish(hosting, BrowserEnd(CloseReason.START_FAILED, error.message), report=False)
            hosting.up.set_exception(error)
            # A caller that is gone must not make this an error that nobody looked at.
            hosting.up.exception()
            return None
        finally:
            if not launch.done():
                launch.cancel()
                await asyncio.wait({launch})
        hosting.browser = browser
        self._limit(hosting, hosting.order.remaining)
        hosting.up.set_result(browser.facts)
        return browser

    async def _launch(self, order: StartOrder) -> LiveBrowser:
        async with self._starts:
            return await self._launcher.launch(order)

    async def _watch(self, hosting: _Hosting, browser: LiveBrowser) -> None:
        ended = asyncio.ensure_future(browser.ended())
        try:
            await asyncio.wait({ended, hosting.end}, return_when=asyncio.FIRST_COMPLETED)
            if not hosting.end.done():
                self._finish(hosting, ended.result(), report=True)
        finally:
            ended.cancel()

    def _finish(self, hosting: _Hosting, end: BrowserEnd, *, report: bool) -> None:
        """Let a browser end. The first reason stays; session-api is told at once, before the files are dealt with."""
        if hosting.end.done():
            return
        hosting.end.set_result(end)
        if hosting.browser is not None:
            hosting.browser.dismiss(end)
        log.info("a browser ends: %s", end.reason, extra={"session_id": hosting.order.session_id})
        if report:
            key = (hosting.order.session_id, hosting.order.epoch)
            self._unreported[key] = EndedBrowser(*key, end)
            self.news.set()

    def _settle(self, hosting: _Hosting) -> None:
        order = hosting.order
        if not hosting.end.done():
            self._finish(hosting, BrowserEnd(CloseReason.BROWSER_CRASHED, "The node failed."), report=True)
        if not hosting.up.done():
            hosting.up.set_exception(BrowserStartFailed("The browser was stopped while it started."))
            hosting.up.exception()
        self._ends[order.session_id] = (order.epoch, hosting.end.result())
        while len(self._ends) > _REMEMBERED_ENDS:
            self._ends.popitem(last=False)
        if self._hostings.get(order.session_id) is hosting:
            del self._hostings[order.session_id]
        self._roster.give_back(order.session_id, order.epoch)
        hosting.gone.set()

    def _limit(self, hosting: _Hosting, remaining: timedelta) -> None:
        hosting.deadline_set = self._clock.monotonic()
        hosting.deadline = hosting.deadline_set + (remaining + _DEADLINE_GRACE).total_seconds()


async def _first_gone(hostings: Sequence[_Hosting]) -> None:
    waits = [asyncio.ensure_future(hosting.gone.wait()) for hosting in hostings]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
