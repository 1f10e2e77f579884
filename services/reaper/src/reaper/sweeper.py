"""Passes that find what no message told of: sessions with something due, nodes that were lost or drained."""

import asyncio
import functools
import itertools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from fleetkit.errors import FleetError, NotFound
from reaper.policy import SessionId
from reaper.ports import NodeGateway, NodeReport, SessionGateway

log = logging.getLogger(__name__)

_PAUSE = timedelta(seconds=1)
# Tries between two lines of the log while session-api does not answer.
_LOGGED_TRIES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLimits:
    """How much a pass asks of session-api at the same time, however much is due."""

    at_once: int = 8


@dataclass(slots=True, kw_only=True)
class SweepReport:
    """How many sessions a pass found due, and how many of them were not reaped."""

    found: int = 0
    failed: int = 0


class Sweeper:
    """A pass goes once through what is due, so it ends. It is idempotent and safe beside another copy."""

    def __init__(self, *, sessions: SessionGateway, limits: SweepLimits) -> None:
        self._sessions = sessions
        self._limits = limits

    async def sweep(self) -> SweepReport:
        """Make one pass. Raises a FleetError when session-api cannot be asked what is due."""
        report, failure = SweepReport(), None
        room = asyncio.Semaphore(self._limits.at_once)
        async with asyncio.TaskGroup() as group:
            try:
                # A session that takes long holds up neither the others nor the next page.
                async for session_id in self._sessions.due():
                    await room.acquire()
                    group.create_task(self._reap(session_id, report)).add_done_callback(lambda _: room.release())
            except FleetError as error:
                # What was found is still reaped.
                failure = error
        log.debug("sweep: %d due, %d failed", report.found, report.failed)
        if failure is not None:
            raise failure
        return report

    async def _reap(self, session_id: SessionId, report: SweepReport) -> None:
        report.found += 1
        try:
            await self._sessions.reap(session_id)
        except NotFound:
            return
        except FleetError as error:
            report.failed += 1
            log.warning("%s was not reaped: %s: %s", session_id, error.reason, error.message)
        except Exception:
            # One session must not keep the others open, whatever is wrong with it.
            report.failed += 1
            log.exception("%s was not reaped", session_id)


class NodeSweeper:
    """session-api knows which nodes are lost; somebody has to ask it to act. Any number may."""

    def __init__(self, nodes: NodeGateway) -> None:
        self._nodes = nodes

    async def sweep(self) -> NodeReport:
        """Make one pass. Raises a FleetError when session-api cannot be asked."""
        report = await self._nodes.reap()
        if report != NodeReport():
            log.info(
                "nodes: %d lost, %d sessions failed with them, %d sessions drained",
                report.lost,
                report.failed_sessions,
                report.drained_sessions,
            )
        return report


def until_answered(
    sweep: Callable[[], Awaitable[object]], *, pause: timedelta = _PAUSE
) -> Callable[[], Awaitable[None]]:
    """Return `sweep` as an action that lasts until session-api answers.

    So the pass after an outage comes when the outage is over, however long the interval between passes is.
    """

    @functools.wraps(sweep)
    async def insist() -> None:
        for tries in itertools.count():
            try:
                await sweep()
            except FleetError as error:
                if tries % _LOGGED_TRIES == 0:
                    log.warning("%s waits for session-api: %s: %s", insist.__qualname__, error.reason, error.message)
            else:
                if tries:
                    log.info("%s: session-api answers again", insist.__qualname__)
                return
            await asyncio.sleep(pause.total_seconds())

    return insist
