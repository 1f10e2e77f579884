"""What becomes of an event: it ends a session, is of no interest, comes again, or is a dead letter."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from artifact_store.adapters.nats_session_events import PLAN, NatsSessionEvents
from artifact_store.usecases.session_ends import EndedSessions
from fleetkit.durable_consumer import Delivery
from fleetkit.errors import Aborted, FleetError, InvalidArgument, PermissionDenied, Unavailable
from fleetkit.verdicts import MAX_DELIVERIES, Outcome, Verdict
from tests.support.artifact_ends import SESSION, a_session_end, an_event
from tests.support.artifact_fakes import MemoryDatabase, MemoryTransaction, SteppedClock

# Field 127, which no schema has yet.
_FIELD_OF_THE_FUTURE = b"\xfa\x07\x03abc"


class FailingDatabase(MemoryDatabase):
    """A database whose transactions fail, with `error`."""

    error: FleetError = Unavailable("down")

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        raise self.error
        yield


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


async def _receive(database: MemoryDatabase, payload: bytes, *, deliveries: int = 1) -> Verdict:
    events = NatsSessionEvents(EndedSessions(database=database, clock=SteppedClock()))
    return await events.receive(Delivery(subject=PLAN.subject, payload=payload, deliveries=deliveries))


@pytest.mark.parametrize("what", ["closed", "failed"])
async def test_the_end_of_a_session_is_known_from_then_on(database: MemoryDatabase, what: str) -> None:
    assert (await _receive(database, an_event(what).SerializeToString())).outcome is Outcome.DONE
    assert database.ends == {SESSION: a_session_end()}


@pytest.mark.parametrize("what", ["started", "closing", "of_the_future"])
async def test_events_that_end_nothing_and_unknown_types_are_ignored(database: MemoryDatabase, what: str) -> None:
    assert (await _receive(database, an_event(what).SerializeToString())).outcome is Outcome.IGNORED
    assert (database.ends, database.received) == ({}, {})


async def test_an_end_of_a_newer_schema_is_understood(database: MemoryDatabase) -> None:
    event = an_event("closed")
    event.type = "closed_in_a_new_way"
    assert (await _receive(database, event.SerializeToString() + _FIELD_OF_THE_FUTURE)).outcome is Outcome.DONE
    assert database.ends == {SESSION: a_session_end()}


async def test_a_state_of_a_newer_schema_is_ignored(database: MemoryDatabase) -> None:
    # Field 7, `state`, once more, as 99: the last one counts.
    payload = an_event("closed").SerializeToString() + b"\x38\x63"
    assert (await _receive(database, payload)).outcome is Outcome.IGNORED


def _without(*fields: str, **other: int) -> bytes:
    event = an_event()
    for field in fields:
        event.ClearField(field)  # type: ignore[arg-type]  # fields by name
    for name, value in other.items():
        setattr(event, name, value)
    return event.SerializeToString()


def _at(seconds: int) -> bytes:
    event = an_event()
    event.event_time.seconds = seconds
    return event.SerializeToString()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff\xff",
        _without("id"),
        _without("session_id"),
        _without("organization_id"),
        _without("sequence"),
        _without("event_time"),
        _without(sequence=-1),
        _at(10**15),
        _at(-(10**15)),
    ],
    ids=lambda payload: f"{len(payload)} bytes",
)
async def test_what_is_no_whole_event_is_given_up(database: MemoryDatabase, payload: bytes) -> None:
    assert (await _receive(database, payload)).outcome is Outcome.GIVEN_UP
    assert (database.ends, database.received) == ({}, {})


@pytest.mark.parametrize("error", [Unavailable("down"), Aborted("raced")])
async def test_a_database_that_is_away_never_costs_an_event(error: FleetError) -> None:
    database = FailingDatabase()
    database.error = error
    for deliveries in (1, MAX_DELIVERIES, 10_000):
        verdict = await _receive(database, an_event().SerializeToString(), deliveries=deliveries)
        assert verdict.outcome is Outcome.RETRY
    assert verdict.delay.total_seconds() == 30


async def test_other_failures_end_as_dead_letters() -> None:
    database = FailingDatabase()
    event = an_event().SerializeToString()
    database.error = PermissionDenied("no")
    assert (await _receive(database, event)).outcome is Outcome.RETRY
    assert (await _receive(database, event, deliveries=MAX_DELIVERIES)).outcome is Outcome.GIVEN_UP
    database.error = InvalidArgument("text that cannot be stored")
    assert (await _receive(database, event)).outcome is Outcome.GIVEN_UP
