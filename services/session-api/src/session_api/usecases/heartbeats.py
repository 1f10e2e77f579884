"""Heartbeats, many to a statement."""

import asyncio

from fleetkit.lifecycle import OwnedTasks
from session_api.domain.identifiers import NodeId
from session_api.domain.node import NodeReport
from session_api.usecases.ports import Beat, Database

_MOST_AT_ONCE = 100


class Heartbeats:
    """Records heartbeats: those that come while a statement is under way are recorded together, by the next.

    A heartbeat that comes alone waits for no other, and none waits for a node that somebody is changing.
    """

    def __init__(self, *, database: Database, tasks: OwnedTasks) -> None:
        self._database = database
        self._tasks = tasks
        self._waiting: list[tuple[NodeReport, asyncio.Future[Beat | None]]] = []
        self._is_recording = False

    async def record(self, report: NodeReport) -> Beat | None:
        """Record a heartbeat; None when its registration is not the node's present one, or was given up."""
        recorded: asyncio.Future[Beat | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((report, recorded))
        if not self._is_recording:
            self._is_recording = True
            _ = self._tasks.start(self._record_waiting())
        return await recorded

    async def _record_waiting(self) -> None:
        try:
            while self._waiting:
                await self._record_some()
        finally:
            self._is_recording = False

    async def _record_some(self) -> None:
        taken = self._take()
        try:
            async with self._database.single() as tx:
                beats = await tx.nodes.beats([report for report, _ in taken.values()])
        except Exception as error:
            for _, recorded in taken.values():
                _settle(recorded, error)
            return
        for node_id, (report, recorded) in taken.items():
            if node_id in beats:
                _settle(recorded, beats[node_id])
            else:
                _ = self._tasks.start(self._record_alone(report, recorded))

    async def _record_alone(self, report: NodeReport, recorded: "asyncio.Future[Beat | None]") -> None:
        try:
            async with self._database.single() as tx:
                beat = await tx.nodes.beat(report)
        except Exception as error:
            _settle(recorded, error)
        else:
            _settle(recorded, beat)

    def _take(self) -> dict[NodeId, tuple[NodeReport, asyncio.Future[Beat | None]]]:
        """Return the oldest that wait, one of each node."""
        taken: dict[NodeId, tuple[NodeReport, asyncio.Future[Beat | None]]] = {}
        left = []
        for report, recorded in self._waiting:
            if report.node_id in taken or len(taken) == _MOST_AT_ONCE:
                left.append((report, recorded))
            elif not recorded.done():
                taken[report.node_id] = (report, recorded)
        self._waiting = left
        return taken


def _settle(recorded: "asyncio.Future[Beat | None]", outcome: Beat | Exception | None) -> None:
    if recorded.done():
        # Its caller is gone.
        return
    if isinstance(outcome, Exception):
        recorded.set_exception(outcome)
    else:
        recorded.set_result(outcome)
