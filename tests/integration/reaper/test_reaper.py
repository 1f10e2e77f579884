"""The whole reaper on a real nats-server, with a session-api in memory behind a real gRPC server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from opentelemetry import trace

from browserfleet.event.v1 import session_event_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from fleetkit.bus import DEADLINES_STREAM, connect_bus, ensure_streams, schedule_headers
from fleetkit.errors import NotFound, Unauthenticated, Unavailable
from fleetkit.rpc.caller import bearer_token
from fleetkit.rpc.context import Context
from fleetkit.rpc.server import Service, serving
from fleetkit.rpc.times import timestamp
from fleetkit.settings import Secret
from local_stack.ports import PortBook
from local_stack.servers.nats import RunningNats, running_nats
from reaper import bootstrap
from reaper.settings import Settings
from tests.support.reaper_sessions import session_id
from tests.support.waiting import eventually, until

KEY = "bf_service"
Session = session_pb2.Session


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class FakeSessionService(session_service_pb2_grpc.SessionServiceServicer):
    """Ends what is due by its own clock; keeps the traces that calls came with."""

    expire_times: dict[str, datetime] = field(default_factory=dict)
    ended: dict[str, datetime] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    trace_ids: list[int] = field(default_factory=list)
    lists: int = 0
    down: bool = False

    async def ReapSession(self, request: session_service_pb2.ReapSessionRequest, context: Context) -> Session:
        self.calls.append(request.session_id)
        self.trace_ids.append(trace.get_current_span().get_span_context().trace_id)
        if self.down:
            raise Unavailable("down for a moment")
        if request.session_id not in self.expire_times:
            raise NotFound("There is no such session.")
        if self.expire_times[request.session_id] <= _now():
            self.ended.setdefault(request.session_id, _now())
        return self._session(request.session_id)

    async def ListSessions(
        self, request: session_service_pb2.ListSessionsRequest, context: Context
    ) -> session_service_pb2.ListSessionsResponse:
        self.lists += 1
        before = request.filter.expire_before.ToDatetime(UTC)
        due = sorted(name for name, time in self.expire_times.items() if time < before and name not in self.ended)
        # Two at a time, so that a sweep has to turn pages.
        start = int(request.page_token or 0)
        more = len(due) > start + 2
        return session_service_pb2.ListSessionsResponse(
            sessions=[self._session(name) for name in due[start : start + 2]],
            next_page_token=str(start + 2) if more else "",
        )

    async def CreateSession(self, request: session_service_pb2.CreateSessionRequest, context: Context) -> Session:
        raise NotImplementedError

    async def GetSession(self, request: session_service_pb2.GetSessionRequest, context: Context) -> Session:
        raise NotImplementedError

    async def ExtendSession(self, request: session_service_pb2.ExtendSessionRequest, context: Context) -> Session:
        raise NotImplementedError

    async def CloseSession(self, request: session_service_pb2.CloseSessionRequest, context: Context) -> Session:
        raise NotImplementedError

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        if bearer_token(metadata) != KEY:
            raise Unauthenticated("Not the service key.")
        return KEY

    def _session(self, name: str) -> Session:
        state = Session.STATE_CLOSED if name in self.ended else Session.STATE_RUNNING
        return Session(id=name, state=state, expire_time=timestamp(self.expire_times[name]))


@dataclass
class Fleet:
    sessions: FakeSessionService
    settings: Settings

    def add(self, number: int, *, in_seconds: float) -> str:
        name = session_id(number)
        self.sessions.expire_times[name] = _now() + timedelta(seconds=in_seconds)
        return name

    async def has_ended(self, *numbers: int, within: float = 15) -> None:
        async def check() -> bool:
            return all(session_id(number) in self.sessions.ended for number in numbers)

        await eventually(check, within=within, what=f"sessions {numbers} have ended")

    async def was_called(self, number: int, *, times: int = 1) -> None:
        async def check() -> bool:
            return self.sessions.calls.count(session_id(number)) >= times

        await eventually(check, within=15, what=f"session {number} was asked about {times} times")


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[RunningNats]:
    async with running_nats(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def fleet(nats: RunningNats) -> AsyncIterator[Fleet]:
    sessions = FakeSessionService()
    service = Service(
        "browserfleet.session.v1.SessionService",
        lambda server: session_service_pb2_grpc.add_SessionServiceServicer_to_server(sessions, server),
    )
    async with serving("127.0.0.1:0", [service], authenticator=sessions, grace=timedelta(0)) as server:
        yield Fleet(sessions, await asyncio.to_thread(_settings, f"127.0.0.1:{server.port}", nats))


def _settings(session_api: str, nats: RunningNats) -> Settings:
    return Settings.from_env(
        {
            "FLEET_SESSION_API_ADDRESS": session_api,
            "FLEET_SERVICE_KEY": KEY,
            "FLEET_NATS_URL": nats.url,
            "FLEET_NATS_TOKEN": nats.token,
            # Long: after the sweep at the start, only messages reap.
            "FLEET_SWEEP_INTERVAL": "1h",
            "FLEET_GRPC_LISTEN": f"127.0.0.1:{PortBook().free('grpc')}",
        }
    )


@contextlib.asynccontextmanager
async def _reaping(settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bootstrap.run(settings, stop))
        yield
        stop.set()


@pytest.fixture
async def bus(nats: RunningNats) -> AsyncIterator[Client]:
    async with connect_bus(nats.url, Secret(nats.token), name="test") as client:
        await ensure_streams(client.jetstream())
        yield client


@contextlib.asynccontextmanager
async def _consuming(fleet: Fleet, bus: Client) -> AsyncIterator[None]:
    """Reap by messages alone: the sweep at the start is over, and the consumer is there."""

    async def consumer_is_there() -> bool:
        with contextlib.suppress(NotFoundError):
            return bool(await bus.jetstream().consumer_info(DEADLINES_STREAM, "reaper"))
        return False

    async with _reaping(fleet.settings):
        await until(lambda: fleet.sessions.lists > 0)
        await eventually(consumer_is_there, within=15, what="the reaper consumes")
        yield


async def _schedule(bus: Client, name: str, due_time: datetime, **headers: str) -> None:
    due = session_event_pb2.DeadlineDue(session_id=name, expire_time=timestamp(due_time))
    await bus.jetstream().publish(
        f"schedule.session.{name}",
        due.SerializeToString(),
        headers={**schedule_headers(due_time=due_time, target=f"due.session.{name}"), **headers},
    )


async def test_a_session_is_reaped_soon_after_its_deadline(fleet: Fleet, bus: Client) -> None:
    async with _consuming(fleet, bus):
        name = fleet.add(1, in_seconds=1)
        await _schedule(bus, name, fleet.sessions.expire_times[name])
        await fleet.has_ended(1)
    lateness = fleet.sessions.ended[name] - fleet.sessions.expire_times[name]
    assert timedelta(0) <= lateness < timedelta(seconds=3)


async def test_what_fell_due_before_the_reaper_started_is_reaped_at_its_start(fleet: Fleet, bus: Client) -> None:
    name = fleet.add(1, in_seconds=-5)
    await _schedule(bus, name, _now())
    async with _reaping(fleet.settings):
        await fleet.has_ended(1)


async def test_the_sweep_ends_what_has_no_message_and_turns_pages(fleet: Fleet, bus: Client) -> None:
    for number in range(5):
        fleet.add(number, in_seconds=-5)
    async with _reaping(fleet.settings):
        await fleet.has_ended(*range(5))


async def test_the_process_span_continues_the_trace_that_scheduled_the_deadline(fleet: Fleet, bus: Client) -> None:
    trace_id = 0x0AF7651916CD43DD8448EB211C80319C
    async with _consuming(fleet, bus):
        name = fleet.add(1, in_seconds=0.5)
        parent = f"00-{trace_id:032x}-b7ad6b7169203331-01"
        await _schedule(bus, name, fleet.sessions.expire_times[name], traceparent=parent)
        await fleet.has_ended(1)
    assert set(fleet.sessions.trace_ids) == {trace_id}


async def test_garbage_is_thrown_away_and_does_not_block_what_follows(fleet: Fleet, bus: Client) -> None:
    async with _consuming(fleet, bus):
        for payload in (b"", b"\xff\xff\xff", b"\x0a\x03abc"):
            await bus.jetstream().publish("due.session.garbage", payload)
        name = fleet.add(1, in_seconds=0)
        await _schedule(bus, name, _now())
        await fleet.has_ended(1)

        async def all_settled() -> bool:
            info = await bus.jetstream().consumer_info(DEADLINES_STREAM, "reaper")
            return not info.num_ack_pending and not info.num_pending

        await eventually(all_settled, within=10, what="every message is settled")
    assert fleet.sessions.calls == [name]


async def test_a_message_for_an_unknown_session_comes_once(fleet: Fleet, bus: Client) -> None:
    async with _reaping(fleet.settings):
        await _schedule(bus, session_id(7), _now())
        known = fleet.add(1, in_seconds=0.5)
        await _schedule(bus, known, fleet.sessions.expire_times[known])
        await fleet.has_ended(1)
    assert fleet.sessions.calls.count(session_id(7)) == 1


async def test_an_extended_session_stays_until_its_new_deadline(fleet: Fleet, bus: Client) -> None:
    async with _consuming(fleet, bus):
        name = fleet.add(1, in_seconds=2)
        await _schedule(bus, name, _now())
        await fleet.was_called(1)
        assert name not in fleet.sessions.ended
        await _schedule(bus, name, fleet.sessions.expire_times[name])
        await fleet.has_ended(1)
    assert fleet.sessions.ended[name] >= fleet.sessions.expire_times[name]


async def test_while_session_api_is_down_the_message_comes_again(fleet: Fleet, bus: Client) -> None:
    fleet.sessions.down = True
    async with _consuming(fleet, bus):
        name = fleet.add(1, in_seconds=0)
        await _schedule(bus, name, _now())
        await fleet.was_called(1, times=2)
        fleet.sessions.down = False
        await fleet.has_ended(1)


async def test_a_killed_nats_server_is_found_again_and_what_fell_due_meanwhile_is_reaped(
    fleet: Fleet, nats: RunningNats, bus: Client
) -> None:
    async with _reaping(fleet.settings):
        first, second = fleet.add(1, in_seconds=0.2), fleet.add(2, in_seconds=1.5)
        for name in (first, second):
            await _schedule(bus, name, fleet.sessions.expire_times[name])
        await fleet.has_ended(1)
        nats.process.kill()
        await nats.process.wait_ready()
        await fleet.has_ended(2, within=30)


async def test_a_consumer_that_was_deleted_is_made_again(fleet: Fleet, bus: Client) -> None:
    async with _consuming(fleet, bus):
        first = fleet.add(1, in_seconds=0)
        await _schedule(bus, first, _now())
        await fleet.has_ended(1)
        await bus.jetstream().delete_consumer(DEADLINES_STREAM, "reaper")
        second = fleet.add(2, in_seconds=0.5)
        await _schedule(bus, second, fleet.sessions.expire_times[second])
        await fleet.has_ended(2, within=40)


async def test_without_nats_the_sweep_works_and_health_is_serving(fleet: Fleet, nats: RunningNats) -> None:
    fleet.add(1, in_seconds=-5)
    settings = replace(fleet.settings, nats_url="nats://127.0.0.1:1")
    async with _reaping(settings):
        await fleet.has_ended(1)
        async with grpc.aio.insecure_channel(settings.grpc_listen) as opened:
            check = opened.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            answer = await check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_two_reapers_share_the_work(fleet: Fleet, bus: Client) -> None:
    other = await asyncio.to_thread(_other_port, fleet.settings)
    async with _reaping(fleet.settings), _reaping(other):
        names = [fleet.add(number, in_seconds=1) for number in range(1, 11)]
        for name in names:
            await _schedule(bus, name, fleet.sessions.expire_times[name])
        await fleet.has_ended(*range(1, 11))


def _other_port(settings: Settings) -> Settings:
    return replace(settings, grpc_listen=f"127.0.0.1:{PortBook().free('grpc-other')}")
