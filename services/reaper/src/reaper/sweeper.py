"""Finds the sessions that a lost message left open past their deadline."""

import asyncio
import logging
from dataclasses import dataclass

from fleetkit.clock import Clock
from fleetkit.errors import FleetError, NotFound
from fleetkit.telemetry import log_context
from reaper.policy import SessionId
from reaper.ports import SessionGateway

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLimits:
    """How much one pass takes on; what is left waits for the next."""

    sessions: int = 1000
    at_once: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """How many sessions a pass found overdue, ended, and failed to end."""

    found: int
    ended: int
    failed: int


class Sweeper:
    """A pass is bounded, idempotent, and safe beside another copy: session-api closes by compare-and-set."""

    def __init__(self, *, sessions: SessionGateway, clock: Clock, limits: SweepLimits) -> None:
        self._sessions = sessions
        self._clock = clock
        self._limits = limits

    async def sweep(self) -> SweepReport:
        """Make one pass. Raises a FleetError when session-api cannot be asked what is overdue."""
        overdue = await self._overdue()
        room = asyncio.Semaphore(self._limits.at_once)

        async def reaped(session_id: SessionId) -> bool | None:
            async with room:
                return await self._reap(session_id)

        results = await asyncio.gather(*(reaped(session_id) for session_id in overdue))
        report = SweepReport(found=len(overdue), ended=results.count(True), failed=results.count(None))
        if report.found:
            log.info("sweep: %d overdue, %d ended, %d failed", report.found, report.ended, report.failed)
        return report

    async def _overdue(self) -> list[SessionId]:
        found: list[SessionId] = []
        async for session_id in self._sessions.overdue(before=self._clock.now()):
            found.append(session_id)
            if len(found) == self._limits.sessions:
                break
        return found

    async def _reap(self, session_id: SessionId) -> bool | None:
        """Return whether the session has ended; None when that could not be found out."""
        with log_context(session_id=session_id):
            try:
                session = await self._sessions.reap(session_id)
            except NotFound:
                return True
            except FleetError as error:
                log.warning("the session was not reaped: %s: %s", error.reason, error.message)
                return None
        return not session.open
