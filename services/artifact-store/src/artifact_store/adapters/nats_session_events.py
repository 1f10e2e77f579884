"""The events of sessions, as they come from JetStream: of interest is that one has ended."""

from datetime import UTC

from google.protobuf.message import DecodeError

from artifact_store.domain.artifact import OrganizationId, SessionId
from artifact_store.domain.retention import SessionEnd
from artifact_store.usecases.session_ends import EndedSessions
from browserfleet.event.v1 import session_event_pb2
from browserfleet.session.v1 import session_pb2
from fleetkit.bus import EVENTS_STREAM
from fleetkit.durable_consumer import ConsumerPlan, Delivery
from fleetkit.errors import Aborted, FleetError, InvalidArgument, Unavailable
from fleetkit.telemetry import log_context
from fleetkit.verdicts import Outcome, Verdict, tried_again, waited_for

# The server gives no message up: a database that is away for hours must not cost the news of those hours.
PLAN = ConsumerPlan(name="artifact-store", stream=EVENTS_STREAM, subject="fleet.v1.session.>", about="fleet.v1.session")

# By the state, not the type: a type of end that a later version brings is understood too.
_ENDED = frozenset({session_pb2.Session.STATE_CLOSED, session_pb2.Session.STATE_FAILED})


class NatsSessionEvents:
    """Hands the end of each session to `sessions`, at least once. What is no event of a session is given up."""

    def __init__(self, sessions: EndedSessions) -> None:
        self._sessions = sessions

    async def receive(self, delivery: Delivery) -> Verdict:
        try:
            event = session_event_pb2.SessionEvent.FromString(delivery.payload)
            if event.state not in _ENDED and event.session_id:
                return Verdict(outcome=Outcome.IGNORED, reason="the session has not ended")
            end = _end(event)
        except (DecodeError, ValueError, OverflowError):
            return Verdict(outcome=Outcome.GIVEN_UP, reason="it is not a whole SessionEvent")
        with log_context(session_id=end.session_id):
            return await self._apply(end, message_id=event.id, deliveries=delivery.deliveries)

    async def _apply(self, end: SessionEnd, *, message_id: str, deliveries: int) -> Verdict:
        try:
            changed = await self._sessions.ended(end, message_id=message_id)
        except InvalidArgument as error:
            return Verdict(outcome=Outcome.GIVEN_UP, reason=error.message)
        except (Unavailable, Aborted) as error:
            return waited_for(f"{error.reason}: {error.message}", deliveries=deliveries, shortest=error.retry_after)
        except FleetError as error:
            return tried_again(f"{error.reason}: {error.message}", deliveries=deliveries)
        return Verdict(outcome=Outcome.DONE, reason="the end is known now" if changed else "the end was known")


def _end(event: session_event_pb2.SessionEvent) -> SessionEnd:
    """Raises ValueError or OverflowError when something that every event has is missing or out of range."""
    if not (event.id and event.session_id and event.organization_id and event.sequence > 0):
        raise ValueError("something is missing")
    if not event.HasField("event_time"):
        raise ValueError("the time is missing")
    return SessionEnd(
        session_id=SessionId(event.session_id),
        organization_id=OrganizationId(event.organization_id),
        sequence=event.sequence,
        end_time=event.event_time.ToDatetime(tzinfo=UTC),
    )
