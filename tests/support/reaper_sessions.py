"""A session-api in memory behind the reaper's port."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from fleetkit.errors import FleetError, NotFound
from reaper.policy import SessionId, SessionView

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def session_id(number: int) -> SessionId:
    return SessionId(f"pbs_{number:0>26}")


class FakeSessions:
    """Sessions by ID; reaping ends those whose deadline is before `now`. `failing` says which calls fail, and how."""

    def __init__(self) -> None:
        self.now = NOON
        self.sessions: dict[SessionId, SessionView] = {}
        self.reaped: list[SessionId] = []
        self.failing: dict[SessionId, FleetError] = {}
        self.list_failure: FleetError | None = None

    def add(self, number: int, *, expire_time: datetime) -> SessionId:
        name = session_id(number)
        self.sessions[name] = SessionView(id=name, open=True, expire_time=expire_time)
        return name

    def is_open(self, number: int) -> bool:
        return self.sessions[session_id(number)].open

    async def reap(self, session_id: SessionId) -> SessionView:
        self.reaped.append(session_id)
        if session_id in self.failing:
            raise self.failing[session_id]
        if session_id not in self.sessions:
            raise NotFound("There is no such session.")
        session = self.sessions[session_id]
        if session.expire_time is not None and session.expire_time <= self.now:
            session = SessionView(id=session_id, open=False, expire_time=session.expire_time)
            self.sessions[session_id] = session
        return session

    async def overdue(self, *, before: datetime) -> AsyncIterator[SessionId]:
        if self.list_failure is not None:
            raise self.list_failure
        for session in list(self.sessions.values()):
            if session.open and session.expire_time is not None and session.expire_time < before:
                yield session.id
