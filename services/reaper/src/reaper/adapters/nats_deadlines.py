"""The messages that something is due, as they come from JetStream."""

from collections.abc import Awaitable
from typing import Protocol

from google.protobuf.message import DecodeError

from browserfleet.event.v1 import session_event_pb2
from fleetkit.bus import DEADLINES_STREAM
from fleetkit.durable_consumer import ConsumerPlan, Delivery
from fleetkit.verdicts import MAX_DELIVERIES, Outcome, Verdict
from reaper.policy import SessionId, parse_session_id

# A message that is given up costs nothing: the sweep finds the session.
PLAN = ConsumerPlan(
    name="reaper",
    stream=DEADLINES_STREAM,
    subject="due.session.>",
    about="due.session",
    max_deliver=MAX_DELIVERIES,
)


class Handler(Protocol):
    def __call__(self, session_id: SessionId, *, deliveries: int) -> Awaitable[Verdict]: ...


class NatsDeadlines:
    """Hands each session with something due to `handle`; a message that names none is given up."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle

    async def receive(self, delivery: Delivery) -> Verdict:
        session_id = _parse(delivery.payload)
        if session_id is None:
            return Verdict(outcome=Outcome.GIVEN_UP, reason="it is not a DeadlineDue with a session's ID")
        return await self._handle(session_id, deliveries=delivery.deliveries)


def _parse(payload: bytes) -> SessionId | None:
    """Return whom the message is about: all that is needed, since session-api knows what is due and when."""
    try:
        due = session_event_pb2.DeadlineDue.FromString(payload)
    except DecodeError:
        return None
    return parse_session_id(due.session_id)
