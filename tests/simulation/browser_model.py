"""The browsers of a node as the contract has them: what starts and ends, and for which allocation."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import timedelta

from session_api.domain.browser import BrowserFacts
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import BrowserStartFailed
from session_api.domain.identifiers import SessionId
from session_api.domain.node import Assignment, EndedBrowser
from tests.simulation.browser import (
    Browser,
    BrowserHabits,
    BrowserNotFound,
    BrowserWitness,
    NodeDraining,
    NodeFull,
    StaleEpoch,
)
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Process

# Seconds: the reaper acts at the deadline itself, the node only where nobody did.
_DEADLINE_GRACE = 2.0
_FACTS = BrowserFacts(product="Chrome/150.0", user_agent="Mozilla/5.0", warm=False, sandboxed=True)


class HostedBrowsers:
    """What one life of a node hosts. `own_time` is the node's monotonic clock, in seconds."""

    def __init__(
        self,
        *,
        loop: VirtualLoop,
        chance: random.Random,
        process: Process,
        slots: int,
        habits: BrowserHabits,
        witness: BrowserWitness,
        own_time: Callable[[], float],
    ) -> None:
        self.draining = False
        # Set when session-api should hear from the node at once.
        self.news = asyncio.Event()
        self._loop = loop
        self._draw = chance.random
        self._process = process
        self._slots = slots
        self._habits = habits
        self._witness = witness
        self._own_time = own_time
        self._evicting = False
        self._hosted: dict[SessionId, Browser] = {}
        self._newest: dict[SessionId, int] = {}
        self._ends: dict[SessionId, int] = {}
        self._unreported: dict[tuple[SessionId, int], EndedBrowser] = {}

    # ---- what session-api asks

    async def start(self, session_id: SessionId, epoch: int, remaining: timedelta) -> BrowserFacts:
        """Start a browser, or return the one that runs for this session and epoch; it goes on without the caller."""
        if self.draining or self._evicting:
            raise NodeDraining("This node takes no sessions now.")
        self._check(session_id, epoch)
        browser = self._hosted.get(session_id)
        if browser is not None and browser.epoch < epoch:
            self._finish(browser, CloseReason.NODE_LOST, report=False)
            await browser.gone.wait()
            return await self.start(session_id, epoch, remaining)
        if browser is None:
            if self._ends.get(session_id) == epoch:
                raise BrowserStartFailed("The browser of this allocation has ended.")
            if len(self._hosted) >= self._slots:
                raise NodeFull("Every slot of this node is taken.")
            browser = self._begin(session_id, epoch, remaining)
        return await asyncio.shield(browser.up)

    async def stop(self, session_id: SessionId, epoch: int) -> None:
        """End a browser and wait until it is gone. No error when it does not run."""
        browser = self._hosted.get(session_id)
        if browser is not None and browser.epoch <= epoch:
            self._finish(browser, CloseReason.USER_REQUESTED, report=False)
            await browser.gone.wait()

    async def set_deadline(self, session_id: SessionId, epoch: int, remaining: timedelta) -> None:
        """Move the node's own deadline."""
        self._check(session_id, epoch)
        browser = self._hosted.get(session_id)
        if browser is None or browser.epoch != epoch or browser.deadline is None:
            raise BrowserNotFound("No browser of this session runs here.")
        browser.move_time = self._own_time()
        self._witness.deadline_moved(browser, remaining)
        self._limit(browser, remaining)

    async def set_control(self, session_id: SessionId, epoch: int, generation: int, *, held: bool) -> None:
        """Learn who has control. A lease that has ended does not come back, and an older one counts no more."""
        self._check(session_id, epoch)
        browser = self._hosted.get(session_id)
        if browser is None or browser.epoch != epoch:
            raise BrowserNotFound("No browser of this session runs here.")
        if generation > browser.control_told or (generation == browser.control_told and not held):
            browser.control_told, browser.control_time = generation, self._own_time()
            browser.control = generation if held else 0

    # ---- what a heartbeat says, and what its answer means

    def running(self) -> list[Browser]:
        """Return everything that runs, starting browsers included; what is about to end is not."""
        return [browser for browser in self._hosted.values() if not browser.end.done()]

    def unreported(self) -> list[EndedBrowser]:
        return list(self._unreported.values())

    def reported(self, ended: list[EndedBrowser]) -> None:
        for end in ended:
            self._unreported.pop((end.session_id, end.epoch), None)

    def apply(self, reported: list[Browser], assignments: list[Assignment], *, sent: float) -> None:
        """Bring what was reported in line with what session-api wants.

        An answer says nothing of a deadline that was moved, and of control that changed, after its report was sent.
        """
        wanted = {(assignment.session_id, assignment.epoch): assignment for assignment in assignments}
        for browser in reported:
            assignment = wanted.get(browser.key)
            if self._hosted.get(browser.session_id) is not browser:
                continue
            if assignment is None:
                self._finish(browser, CloseReason.NODE_LOST, report=False)
                continue
            if browser.control_time < sent:
                browser.control = assignment.control_generation
            if browser.deadline is not None and _is_heeded(browser, sent):
                self._limit(browser, assignment.remaining)

    # ---- ends

    def end_all(self, reason: CloseReason) -> None:
        for browser in list(self._hosted.values()):
            self._finish(browser, reason, report=True)

    async def evict(self, reason: CloseReason) -> None:
        """Let every browser end and wait until nothing is left; what is ordered meanwhile is refused."""
        self._evicting = True
        self.end_all(reason)
        while self._hosted:
            await next(iter(self._hosted.values())).gone.wait()
        self._evicting = False

    def crash_one(self, chance: random.Random) -> None:
        """Let some browser end by itself, at once."""
        if self._hosted:
            self._finish(chance.choice(list(self._hosted.values())), CloseReason.BROWSER_CRASHED, report=True)

    def vanish(self) -> None:
        """The node's process is gone, and with its end of the pipe every browser."""
        for browser in self._hosted.values():
            self._witness.browser_gone(browser)
        self._hosted.clear()

    def enforce(self) -> None:
        """End every browser whose deadline has passed."""
        for browser in list(self._hosted.values()):
            self._enforce(browser)

    # ---- the life of one browser

    def _check(self, session_id: SessionId, epoch: int) -> None:
        if epoch < self._newest.get(session_id, 0):
            raise StaleEpoch("A newer allocation of this session exists.")

    def _begin(self, session_id: SessionId, epoch: int, remaining: timedelta) -> Browser:
        browser = Browser(
            node_name=self._process.name,
            session_id=session_id,
            epoch=epoch,
            up=self._loop.create_future(),
            end=self._loop.create_future(),
        )
        self._hosted[session_id] = browser
        self._newest[session_id] = epoch
        self._witness.browser_began(browser)
        _ = self._process.spawn(self._host(browser, remaining))
        return browser

    async def _host(self, browser: Browser, remaining: timedelta) -> None:
        habits = self._habits
        try:
            if await self._bring_up(browser):
                self._limit(browser, remaining)
                self._witness.browser_up(browser)
                browser.up.set_result(_FACTS)
                reason = await asyncio.shield(browser.end)
                if reason is not CloseReason.BROWSER_CRASHED:
                    is_stubborn = habits.stubborn > 0 and self._draw() < habits.stubborn
                    await self._loop.pause(habits.stubborn_stop if is_stubborn else habits.stop * self._draw())
        finally:
            if self._process.alive:
                self._settle(browser)

    async def _bring_up(self, browser: Browser) -> bool:
        habits, draw = self._habits, self._draw
        hangs = habits.start_hangs > 0 and draw() < habits.start_hangs
        taken = habits.start_timeout if hangs else 0.05 + habits.start * draw()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(taken):
                await asyncio.shield(browser.end)
        await self._process.step()
        if browser.end.done():
            return False
        if hangs or (habits.start_fails > 0 and draw() < habits.start_fails):
            self._finish(browser, CloseReason.START_FAILED, report=False)
            return False
        return True

    def _finish(self, browser: Browser, reason: CloseReason, *, report: bool) -> None:
        """Let a browser end. The first reason stays, and is reported where session-api did not ask for the end."""
        if browser.end.done():
            return
        browser.end.set_result(reason)
        self._witness.browser_ends(browser, reason)
        if report:
            end = EndedBrowser(
                session_id=browser.session_id, epoch=browser.epoch, close_reason=reason, message="It ended."
            )
            self._unreported[browser.key] = end
            self.news.set()

    def _settle(self, browser: Browser) -> None:
        if not browser.up.done():
            browser.up.set_exception(BrowserStartFailed("The browser did not come up."))
            browser.up.exception()
        self._ends[browser.session_id] = browser.epoch
        if self._hosted.get(browser.session_id) is browser:
            del self._hosted[browser.session_id]
        self._witness.browser_gone(browser)
        browser.gone.set()

    def _limit(self, browser: Browser, remaining: timedelta) -> None:
        browser.deadline = self._own_time() + remaining.total_seconds() + _DEADLINE_GRACE
        self._enforce(browser)

    def _enforce(self, browser: Browser) -> None:
        """End a browser whose deadline has passed, or look again when it will have."""
        if browser.alarm is not None:
            browser.alarm.cancel()
        if browser.deadline is None or browser.end.done() or self._process.paused or not self._process.alive:
            return
        left = browser.deadline - self._own_time()
        if left <= 0.0:
            self._finish(browser, CloseReason.TIMED_OUT, report=True)
        else:
            # Rounded up, so that the clock has come there.
            browser.alarm = self._loop.call_later(left + 1e-6, self._enforce, browser)


def _is_heeded(browser: Browser, sent: float) -> bool:
    """Whether the answer to a report that was sent at that time counts for a browser's deadline."""
    return browser.move_time < sent
