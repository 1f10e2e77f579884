"""From the outbox to JetStream: events in order, deadlines on time, each of them once."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry import trace

from browserfleet.event.v1 import session_event_pb2
from browserfleet.session.v1 import session_pb2
from fleetkit.bus import DEADLINES_STREAM, EVENTS_STREAM
from fleetkit.lifecycle import background
from local_stack.servers.nats import RunningNats
from tests.integration.session_api.bus import Bus, DyingReader, a_relay, drained, listening
from tests.integration.session_api.fleet import RealFleet, a_request

_SECOND = timedelta(seconds=1)


@pytest.fixture
async def bus(nats_server: RunningNats) -> AsyncIterator[Bus]:
    async with listening(nats_server) as bus:
        yield bus


@pytest.fixture
async def relayed(fleet: RealFleet, nats_server: RunningNats) -> AsyncIterator[RealFleet]:
    """A fleet with a node, whose outbox is being relayed."""
    await fleet.with_node(slots=10)
    async with background(a_relay(fleet.replicas[0], nats_server).run()):
        yield fleet


async def test_the_events_of_a_session_arrive_in_order_and_complete(relayed: RealFleet, bus: Bus) -> None:
    session = await relayed.create()
    await relayed.sessions.extend(relayed.caller, session.id, by=timedelta(minutes=1))
    await relayed.sessions.close(relayed.caller, session.id)
    events = await bus.events(session.id, number=5)
    assert [event.type for event in events] == ["created", "started", "extended", "closing", "closed"]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    assert {event.session_id for event in events} == {session.id}
    assert events[-1].state == session_pb2.Session.STATE_CLOSED
    assert events[-1].close_reason == session_pb2.CLOSE_REASON_USER_REQUESTED
    assert session.allocation is not None
    assert {event.node_id for event in events} == {session.allocation.node_id}


async def test_a_message_carries_its_id_and_the_trace_that_caused_it(relayed: RealFleet, bus: Bus) -> None:
    context = trace.SpanContext(
        trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
    )
    with trace.use_span(trace.NonRecordingSpan(context)):
        session = await relayed.create()
    (message,) = await bus.messages(EVENTS_STREAM, f"fleet.v1.session.{session.id}.created", number=1)
    event = session_event_pb2.SessionEvent.FromString(message.data)
    assert message.headers is not None
    assert message.headers["Nats-Msg-Id"] == event.id
    assert message.headers["traceparent"] == f"00-{0xABC:032x}-{0xDEF:016x}-01"


async def test_a_deadline_falls_due_at_its_time(relayed: RealFleet, bus: Bus) -> None:
    session = await relayed.create(a_request(timeout=_SECOND))
    due = await bus.due(session.id)
    late = datetime.now(UTC) - (session.expire_time or datetime.max.replace(tzinfo=UTC))
    assert due.session_id == session.id
    assert due.expire_time.ToDatetime(UTC) == session.expire_time
    assert timedelta(0) <= late < timedelta(seconds=5)


async def test_an_extension_moves_the_deadline(relayed: RealFleet, bus: Bus) -> None:
    session = await relayed.create(a_request(timeout=2 * _SECOND))
    extended = await relayed.sessions.extend(relayed.caller, session.id, by=2 * _SECOND)
    due = await bus.due(session.id)
    assert due.expire_time.ToDatetime(UTC) == extended.expire_time
    assert await bus.number_of(DEADLINES_STREAM, f"due.session.{session.id}") == 1


async def test_a_close_cancels_the_deadline(relayed: RealFleet, bus: Bus) -> None:
    closed = await relayed.create(a_request(timeout=2 * _SECOND))
    await relayed.sessions.close(relayed.caller, closed.id)
    other = await relayed.create(a_request(timeout=3 * _SECOND))
    await bus.due(other.id)
    assert await bus.number_of(DEADLINES_STREAM, f"*.session.{closed.id}") == 0


async def test_two_relays_deliver_once(fleet: RealFleet, nats_server: RunningNats, bus: Bus) -> None:
    await fleet.with_node(slots=10)
    async with background(a_relay(fleet.replicas[0], nats_server).run(), a_relay(fleet.replicas[0], nats_server).run()):
        sessions = [await fleet.create() for _ in range(5)]
        for session in sessions:
            assert [event.sequence for event in await bus.events(session.id, number=2)] == [1, 2]
            assert await bus.number_of(EVENTS_STREAM, f"fleet.v1.session.{session.id}.>") == 2


async def test_what_a_relay_delivered_before_it_died_is_not_there_twice(
    fleet: RealFleet, nats_server: RunningNats, bus: Bus
) -> None:
    await fleet.with_node()
    outbox = DyingReader(fleet.pool)
    outbox.deaths = 2
    async with background(a_relay(fleet.replicas[0], nats_server, outbox=outbox).run()):
        session = await fleet.create()
        await fleet.sessions.extend(fleet.caller, session.id, by=timedelta(minutes=1))
        await drained(fleet)
    assert outbox.deaths == 0
    assert [event.type for event in await bus.events(session.id, number=3)] == ["created", "started", "extended"]
    assert await bus.number_of(EVENTS_STREAM, f"fleet.v1.session.{session.id}.>") == 3
    assert await bus.number_of(DEADLINES_STREAM, f"schedule.session.{session.id}") == 1
