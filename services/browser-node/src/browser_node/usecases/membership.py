"""The node's place in the fleet: it registers, reports, does what the answers say, and gives up alone."""

import asyncio
import contextlib
import logging
from datetime import timedelta

from browser_node.domain.browser import BrowserEnd, CloseReason
from browser_node.domain.errors import RegistrationEnded
from browser_node.usecases.browsers import Browsers
from browser_node.usecases.ports import FleetGateway, Machine, NodeProfile, Registration, Report, TokenKeys
from fleetkit.clock import Clock
from fleetkit.errors import FleetError

log = logging.getLogger(__name__)

_FIRST_RETRY = timedelta(milliseconds=500)
_LAST_RETRY = timedelta(seconds=5)
# By so much the used share of the disk has to fall below its limit before sessions are taken again.
_DISK_MARGIN = 0.02


class Membership:
    """One node's dealings with session-api."""

    def __init__(
        self,
        *,
        browsers: Browsers,
        machine: Machine,
        gateway: FleetGateway,
        profile: NodeProfile,
        keys: TokenKeys,
        clock: Clock,
        disk_limit: float = 0.85,
    ) -> None:
        self._browsers = browsers
        self._machine = machine
        self._gateway = gateway
        self._profile = profile
        self._keys = keys
        self._clock = clock
        self._disk_limit = disk_limit
        self._registration: Registration | None = None
        # Monotonic seconds of the last answer.
        self._heard = clock.monotonic()

    async def run(self) -> None:
        """Stay a member for ever: register, report in time, register anew when session-api says so."""
        while True:
            registration = await self._register()
            try:
                await self._report_forever(registration)
            except RegistrationEnded:
                log.warning("the registration has ended: all browsers end, then the node registers anew")
                self._registration = None
                await self._browsers.evict(BrowserEnd(CloseReason.NODE_LOST, "The node was declared lost."))

    async def _register(self) -> Registration:
        pause = _FIRST_RETRY
        while True:
            try:
                registration = await self._gateway.register(self._profile)
            except FleetError as error:
                log.warning("session-api does not register this node yet: %s", error.message)
                await asyncio.sleep(pause.total_seconds())
                pause = min(pause * 2, _LAST_RETRY)
                continue
            self._keys.trust(registration.token_public_key, node_id=registration.node_id)
            self._registration = registration
            self._heard = self._clock.monotonic()
            log.info("registered", extra={"node_id": registration.node_id})
            return registration

    async def _report_forever(self, registration: Registration) -> None:
        interval, answered = registration.heartbeat_interval, True
        while True:
            self._browsers.news.clear()
            try:
                interval = await self.report(registration)
                answered = True
            except RegistrationEnded:
                raise
            except FleetError as error:
                if answered:
                    log.warning("heartbeats are not answered: %s", error.message)
                answered = False
                interval = min(interval, _LAST_RETRY)
            # Not wait_for: before Python 3.12 it forgets a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval.total_seconds()):
                    await self._browsers.news.wait()

    async def report(self, registration: Registration) -> timedelta:
        """Send one heartbeat, do what the answer says, return when to send the next. Raises FleetError."""
        self._heed_disk()
        running = self._browsers.running()
        ended = self._browsers.unreported()
        report = Report(
            running=running,
            ended=ended,
            draining=self._browsers.draining or self._browsers.crowded,
            pressure=self._machine.pressure,
            warm_count=self._browsers.warm_count,
        )
        sent = self._clock.monotonic()
        instructions = await self._gateway.heartbeat(registration, report)
        self._heard = self._clock.monotonic()
        self._browsers.reported(ended)
        self._browsers.apply(running, instructions.assignments, sent=sent)
        return instructions.heartbeat_interval

    def _heed_disk(self) -> None:
        """A node whose disk is nearly full takes nothing new, until there is room again."""
        used = self._machine.disk_used
        crowded = used >= self._disk_limit - (_DISK_MARGIN if self._browsers.crowded else 0.0)
        if crowded != self._browsers.crowded:
            what = "no new sessions are taken" if crowded else "sessions are taken again"
            log.warning("the disk is %d %% full: %s", used * 100, what)
            self._browsers.crowded = crowded

    async def enforce_isolation(self) -> None:
        """Do one pass: a node that nobody has answered for its isolation budget ends its browsers."""
        if self._registration is None:
            return
        silence = timedelta(seconds=self._clock.monotonic() - self._heard)
        if silence > self._registration.isolation_budget and self._browsers.running():
            log.error("nobody has answered for %s: all browsers end", silence)
            self._browsers.end_all(BrowserEnd(CloseReason.NODE_LOST, "The node was cut off."))

    async def drain(self, *, within: timedelta, at_once: asyncio.Event) -> None:
        """The node stops: take nothing new, let what runs live on until the time is up or `at_once` is set, end it.

        Heartbeats, by `run`, go on meanwhile. Returns when nothing is hosted any more; `leave` then says so.
        """
        self._browsers.draining = True
        self._browsers.news.set()
        empty = asyncio.ensure_future(self._browsers.wait_empty())
        hurry = asyncio.ensure_future(at_once.wait())
        try:
            log.info("draining: %d browsers have %s to end", len(self._browsers.running()), within)
            await asyncio.wait({empty, hurry}, timeout=within.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
            self._browsers.end_all(BrowserEnd(CloseReason.NODE_DRAINED, "The node was drained."))
            await empty
        finally:
            empty.cancel()
            hurry.cancel()

    async def leave(self) -> None:
        """Say how the last browsers ended, when `run` does not any more. Bounded by the call's deadline."""
        await self._report_once()

    async def _report_once(self) -> None:
        if self._registration is not None:
            with contextlib.suppress(FleetError):
                await self.report(self._registration)
