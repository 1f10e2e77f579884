"""A session-api in memory behind the reaper's ports."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from fleetkit.errors import FleetError, NotFound
from reaper.policy import SessionId
from reaper.ports import NodeReport

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def session_id(number: int) -> SessionId:
    return SessionId(f"pbs_{number:0>26}")


class FakeSessions:
    """Sessions with the instant at which something is due for them, on a database's clock that tests step.

    `failing` says which sessions cannot be reaped, and why; `list_failure` what ends a list behind its sessions.
    """

    def __init__(self) -> None:
        self.now = NOON
        self.due_times: dict[SessionId, datetime] = {}
        self.calls: list[SessionId] = []
        self.failing: dict[SessionId, Exception] = {}
        self.list_failure: FleetError | None = None
        self.most_at_once = 0
        self._running = 0

    def add(self, number: int, *, due_time: datetime) -> SessionId:
        name = session_id(number)
        self.due_times[name] = due_time
        return name

    def step(self, span: timedelta) -> None:
        self.now += span

    def waits(self, number: int) -> bool:
        """Whether something is still to be done for the session."""
        return session_id(number) in self.due_times

    async def reap(self, session_id: SessionId) -> None:
        self.calls.append(session_id)
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        await asyncio.sleep(0)
        self._running -= 1
        if session_id in self.failing:
            raise self.failing[session_id]
        if session_id not in self.due_times:
            raise NotFound("There is no such session.")
        if self.due_times[session_id] <= self.now:
            del self.due_times[session_id]

    async def due(self) -> AsyncIterator[SessionId]:
        for name, due_time in list(self.due_times.items()):
            if due_time <= self.now:
                yield name
        if self.list_failure is not None:
            raise self.list_failure


class FakeNodes:
    """Answers with `report`, or fails."""

    def __init__(self) -> None:
        self.report = NodeReport()
        self.failure: FleetError | None = None
        self.calls = 0

    async def reap(self) -> NodeReport:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return self.report
