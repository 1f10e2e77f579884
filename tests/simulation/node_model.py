"""A node's place in the fleet as the contract has it: it registers, reports, does as it is told, and gives up alone."""

import contextlib
import random
from collections.abc import Callable
from typing import Protocol

from fleetkit.errors import FleetError
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import RegistrationEnded
from session_api.domain.node import Assignment, NodeReport, Registration
from tests.simulation.browser import BrowserHabits, BrowserWitness
from tests.simulation.browser_model import HostedBrowsers
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Process

HEARTBEAT_INTERVAL = 5.0
# A quarter of the service's own, so that short schedules see it.
ISOLATION_BUDGET = 30.0
_ISOLATION_PASS = 0.5
_FIRST_RETRY = 0.5
_LAST_RETRY = 5.0


class NodeWitness(BrowserWitness, Protocol):
    """Sees also what becomes of a node's reports."""

    def heartbeat_failed(self, node_name: str, error: FleetError) -> None: ...


class FleetDoor(Protocol):
    """What a node asks of session-api. Raises FleetErrors."""

    async def register(self, source: Process) -> Registration: ...
    async def heartbeat(self, source: Process, report: NodeReport) -> list[Assignment]: ...


class NodeModel:
    """One life of a node's process. `own_time` is its monotonic clock, in seconds."""

    def __init__(
        self,
        *,
        loop: VirtualLoop,
        chance: random.Random,
        process: Process,
        slots: int,
        habits: BrowserHabits,
        fleet: FleetDoor,
        witness: NodeWitness,
        own_time: Callable[[], float],
    ) -> None:
        self.process = process
        self.registration: Registration | None = None
        self.browsers = HostedBrowsers(
            loop=loop,
            chance=chance,
            process=process,
            slots=slots,
            habits=habits,
            witness=witness,
            own_time=own_time,
        )
        self._loop = loop
        self._fleet = fleet
        self._witness = witness
        self._own_time = own_time
        self._heard = own_time()

    async def run(self) -> None:
        """Register, report in time, register anew when session-api says so."""
        while True:
            await self._register()
            _ = self.process.spawn(self._watch_isolation())
            with contextlib.suppress(RegistrationEnded):
                await self._report_forever()
            self.registration = None
            await self.browsers.evict(CloseReason.NODE_LOST)

    async def leave(self) -> None:
        """Stop in order: take nothing new, say so, end everything, say that too."""
        self.browsers.draining = True
        await self._report_once()
        await self.browsers.evict(CloseReason.NODE_DRAINED)
        await self._report_once()

    async def report(self) -> None:
        """Send one heartbeat and do what its answer says. Raises FleetErrors."""
        registration = self.registration
        if registration is None:
            return
        running, ended = self.browsers.running(), self.browsers.unreported()
        report = NodeReport(
            node_id=registration.node_id,
            registration_id=registration.registration_id,
            running=[browser.reported() for browser in running],
            ended=ended,
            draining=self.browsers.draining,
        )
        sent = self._own_time()
        assignments = await self._fleet.heartbeat(self.process, report)
        self._heard = self._own_time()
        self.browsers.reported(ended)
        self.browsers.apply(running, assignments, sent=sent)

    def wake(self) -> None:
        """Look at the clock after a pause."""
        self.browsers.enforce()
        self._enforce_isolation()

    async def _register(self) -> None:
        pause = _FIRST_RETRY
        while True:
            try:
                self.registration = await self._fleet.register(self.process)
            except FleetError:
                await self._loop.pause(pause)
                pause = min(pause * 2, _LAST_RETRY)
                continue
            self._heard = self._own_time()
            return

    async def _report_forever(self) -> None:
        while True:
            self.browsers.news.clear()
            try:
                await self.report()
            except RegistrationEnded:
                raise
            except FleetError as error:
                self._witness.heartbeat_failed(self.process.name, error)
            await self._loop.ring(self.browsers.news, within=HEARTBEAT_INTERVAL)

    async def _report_once(self) -> None:
        with contextlib.suppress(FleetError):
            await self.report()

    async def _watch_isolation(self) -> None:
        registration = self.registration
        while self.registration is registration:
            left = self._heard + ISOLATION_BUDGET - self._own_time()
            await self._loop.pause(max(left, 0.0) + _ISOLATION_PASS)
            await self.process.step()
            self._enforce_isolation()

    def _enforce_isolation(self) -> None:
        if self.registration is not None and self._own_time() - self._heard > ISOLATION_BUDGET:
            self.browsers.end_all(CloseReason.NODE_LOST)
