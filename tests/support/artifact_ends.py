"""What artifact-store hears of sessions: fakes of its ports, and builders."""

from dataclasses import dataclass
from datetime import UTC, datetime

from artifact_store.domain.artifact import OrganizationId, SessionId
from artifact_store.domain.retention import SessionEnd
from browserfleet.event.v1 import session_event_pb2
from browserfleet.session.v1 import session_pb2
from fleetkit.rpc.times import timestamp

START_TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORGANIZATION = OrganizationId("o_one")
SESSION = SessionId(f"pbs_{'1':0>26}")


def a_session_end(
    *,
    session_id: SessionId = SESSION,
    organization_id: OrganizationId = ORGANIZATION,
    sequence: int = 5,
    end_time: datetime = START_TIME,
) -> SessionEnd:
    return SessionEnd(session_id=session_id, organization_id=organization_id, sequence=sequence, end_time=end_time)


def an_event(
    what: str = "closed",
    *,
    number: int = 1,
    session_id: str = SESSION,
    sequence: int = 5,
    event_time: datetime = START_TIME,
) -> session_event_pb2.SessionEvent:
    """An event as session-api publishes it; its ID is made of the session's and the number."""
    states = {"closed": session_pb2.Session.STATE_CLOSED, "failed": session_pb2.Session.STATE_FAILED}
    return session_event_pb2.SessionEvent(
        id=f"evt_{session_id[-13:]}{number:0>13}",
        type=what,
        session_id=session_id,
        organization_id=ORGANIZATION,
        sequence=sequence,
        epoch=1,
        state=states.get(what, session_pb2.Session.STATE_RUNNING),
        event_time=timestamp(event_time),
    )


@dataclass
class MemoryInbox:
    received: dict[str, datetime]

    async def receive(self, message_id: str, *, now: datetime) -> bool:
        if message_id in self.received:
            return False
        self.received[message_id] = now
        return True

    async def prune(self, *, before: datetime, limit: int) -> int:
        old = [name for name, time in self.received.items() if time < before][:limit]
        for name in old:
            del self.received[name]
        return len(old)


@dataclass
class MemorySessionEnds:
    """`used` are the sessions that have artifacts."""

    ends: dict[SessionId, SessionEnd]
    used: set[tuple[OrganizationId, SessionId]]

    async def find(self, session_id: SessionId) -> SessionEnd | None:
        return self.ends.get(session_id)

    async def put(self, end: SessionEnd) -> bool:
        known = self.ends.get(end.session_id)
        if known is not None and known.sequence >= end.sequence:
            return False
        self.ends[end.session_id] = end
        return True

    async def prune(self, *, before: datetime, limit: int) -> int:
        old = [
            end.session_id
            for end in self.ends.values()
            if end.end_time < before and (end.organization_id, end.session_id) not in self.used
        ][:limit]
        for name in old:
            del self.ends[name]
        return len(old)
