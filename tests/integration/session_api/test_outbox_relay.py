"""From the outbox to JetStream: events in order, deadlines on time, through outages of NATS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry import trace

from browserfleet.event.v1 import session_event_pb2
from browserfleet.session.v1 import session_pb2
from fleetkit.bus import DEADLINES_STREAM, EVENTS_STREAM, ensure_streams
from fleetkit.lifecycle import background
from fleetkit.settings import Secret
from local_stack.servers.nats import RunningNats, running_nats
from session_api.adapters.nats_relay import OutboxRelay
from session_api.adapters.postgres.outbox import OutboxReader
from session_api.domain.session import SessionId
from tests.integration.session_api.fleet import RealFleet
from tests.support.waiting import eventually

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Bus:
    """A reader of the bus."""

    client: Client

    async def messages(self, stream: str, subject: str, *, number: int, timeout: float = 20) -> list[Msg]:
        """Return the first messages on a subject, from the beginning of the stream."""
        subscription = await self.client.jetstream().subscribe(subject, stream=stream, ordered_consumer=True)
        try:
            async with asyncio.timeout(timeout):
                return [await subscription.next_msg(timeout=timeout) for _ in range(number)]
        finally:
            await subscription.unsubscribe()

    async def events(self, session_id: SessionId, *, number: int) -> list[session_event_pb2.SessionEvent]:
        found = await self.messages(EVENTS_STREAM, f"fleet.v1.session.{session_id}.>", number=number)
        return [session_event_pb2.SessionEvent.FromString(message.data) for message in found]

    async def due(self, session_id: SessionId) -> session_event_pb2.DeadlineDue:
        (message,) = await self.messages(DEADLINES_STREAM, f"due.session.{session_id}", number=1)
        return session_event_pb2.DeadlineDue.FromString(message.data)

    async def number_of(self, stream: str, subject: str) -> int:
        found = await self.client.jetstream().stream_info(stream, subjects_filter=subject)
        return sum((found.state.subjects or {}).values())


def _relay(fleet: RealFleet, server: RunningNats) -> OutboxRelay:
    return OutboxRelay(
        outbox=OutboxReader(fleet.pool),
        nats_url=server.url,
        nats_token=Secret(server.token),
        wake=fleet.wake,
        interval=timedelta(milliseconds=200),
    )


@contextlib.asynccontextmanager
async def _listening(server: RunningNats) -> AsyncIterator[Bus]:
    client = await nats.connect(server.url, token=server.token, reconnect_time_wait=0.1, max_reconnect_attempts=-1)
    await ensure_streams(client.jetstream())
    try:
        yield Bus(client)
    finally:
        await client.close()


@pytest.fixture
async def bus(nats_server: RunningNats) -> AsyncIterator[Bus]:
    async with _listening(nats_server) as bus:
        yield bus


@pytest.fixture
async def relayed(fleet: RealFleet, nats_server: RunningNats) -> AsyncIterator[RealFleet]:
    """A fleet with a node, whose outbox is being relayed."""
    await fleet.with_node(slots=10)
    async with background(_relay(fleet, nats_server).run()):
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
    session = await relayed.create(timeout=_SECOND)
    due = await bus.due(session.id)
    late = datetime.now(UTC) - (session.expire_time or datetime.max.replace(tzinfo=UTC))
    assert due.session_id == session.id
    assert due.expire_time.ToDatetime(UTC) == session.expire_time
    assert timedelta(0) <= late < timedelta(seconds=5)


async def test_an_extension_moves_the_deadline(relayed: RealFleet, bus: Bus) -> None:
    session = await relayed.create(timeout=2 * _SECOND)
    extended = await relayed.sessions.extend(relayed.caller, session.id, by=2 * _SECOND)
    due = await bus.due(session.id)
    assert due.expire_time.ToDatetime(UTC) == extended.expire_time
    assert await bus.number_of(DEADLINES_STREAM, f"due.session.{session.id}") == 1


async def test_a_close_cancels_the_deadline(relayed: RealFleet, bus: Bus) -> None:
    closed = await relayed.create(timeout=2 * _SECOND)
    await relayed.sessions.close(relayed.caller, closed.id)
    other = await relayed.create(timeout=3 * _SECOND)
    await bus.due(other.id)
    assert await bus.number_of(DEADLINES_STREAM, f"*.session.{closed.id}") == 0


async def test_two_relays_deliver_once(fleet: RealFleet, nats_server: RunningNats, bus: Bus) -> None:
    await fleet.with_node(slots=10)
    async with background(_relay(fleet, nats_server).run(), _relay(fleet, nats_server).run()):
        sessions = [await fleet.create() for _ in range(5)]
        for session in sessions:
            assert [event.sequence for event in await bus.events(session.id, number=2)] == [1, 2]
            assert await bus.number_of(EVENTS_STREAM, f"fleet.v1.session.{session.id}.>") == 2


async def _drained(fleet: RealFleet) -> None:
    async def check() -> bool:
        return await fleet.waiting_rows() == 0

    await eventually(check, within=30, what="the outbox is empty")


async def test_news_wait_while_nats_is_away_and_flow_when_it_comes(fleet: RealFleet, tmp_path: Path) -> None:
    await fleet.with_node()
    async with running_nats(tmp_path) as server:
        async with background(_relay(fleet, server).run()):
            first = await fleet.create()
            await _drained(fleet)
            server.process.kill()
            # Its deadline passes while nobody can be told of it.
            second = await fleet.create(timeout=timedelta(milliseconds=1))
            await fleet.sessions.close(fleet.caller, first.id)
            await server.process.wait_ready()
            await _drained(fleet)
        async with _listening(server) as bus:
            events = await bus.events(first.id, number=4)
            assert [event.type for event in events] == ["created", "started", "closing", "closed"]
            assert (await bus.due(second.id)).session_id == second.id
            assert await bus.number_of(DEADLINES_STREAM, f"*.session.{first.id}") == 0


async def test_a_deadline_survives_a_killed_server(fleet: RealFleet, tmp_path: Path) -> None:
    await fleet.with_node()
    async with running_nats(tmp_path) as server, background(_relay(fleet, server).run()):
        session = await fleet.create(timeout=4 * _SECOND)
        await _drained(fleet)
        server.process.kill()
        await server.process.wait_ready()
        async with _listening(server) as bus:
            assert (await bus.due(session.id)).session_id == session.id


async def test_streams_that_are_gone_are_made_again(fleet: RealFleet, tmp_path: Path) -> None:
    await fleet.with_node()
    async with running_nats(tmp_path) as server, background(_relay(fleet, server).run()), _listening(server) as bus:
        for stream in (EVENTS_STREAM, DEADLINES_STREAM):
            await bus.client.jetstream().delete_stream(stream)
        session = await fleet.create()
        await _drained(fleet)
        assert len(await bus.events(session.id, number=2)) == 2
