"""Passes that need no message, against a session-api behind a real gRPC server."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import grpc
import pytest
from grpc_health.v1 import health_pb2

from fleetkit.errors import FleetError, Internal, NotFound, PermissionDenied, Unavailable
from fleetkit.rpc.client import channel
from fleetkit.rpc.server import serving
from fleetkit.settings import Secret
from local_stack.ports import PortBook
from reaper.adapters.node_client import GrpcNodeGateway
from reaper.adapters.session_client import GrpcSessionGateway
from reaper.ports import NodeReport
from tests.integration.reaper.fleet import Fleet, another, reaping
from tests.integration.reaper.session_api import KEY, FakeSessionApi, now
from tests.support.reaper_sessions import session_id
from tests.support.waiting import until


class WrongClock:
    """A clock that is off."""

    def __init__(self, off: timedelta) -> None:
        self._off = off

    def now(self) -> datetime:
        return now() + self._off

    def monotonic(self) -> float:
        return 0.0


async def test_without_nats_the_sweep_is_in_time_and_health_is_serving(fleet: Fleet) -> None:
    async with reaping(fleet.sweeping):
        name = fleet.api.add(1, in_seconds=1)
        await fleet.api.has_reaped(1)
        async with grpc.aio.insecure_channel(fleet.sweeping.grpc_listen) as opened:
            check = opened.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            answer = await check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert fleet.api.lateness(name) < timedelta(seconds=5)


async def test_a_sweep_turns_pages(fleet: Fleet) -> None:
    for number in range(5):
        fleet.api.add(number, in_seconds=-5)
    async with reaping(fleet.sweeping):
        await fleet.api.has_reaped(*range(5))
    assert fleet.api.lists >= 3


async def test_a_backlog_drains_without_a_pause_and_without_a_storm(fleet: Fleet) -> None:
    fleet.api.longest_page = 1000
    for number in range(2500):
        fleet.api.add(number, in_seconds=-5)
    # Whatever the pass at the start leaves would wait for an hour.
    async with reaping(replace(fleet.sweeping, sweep_interval=timedelta(hours=1))):
        await fleet.api.has_reaped(*range(2500), within=60)
    assert len(fleet.api.calls) == 2500
    assert fleet.api.most_at_once <= 8


async def test_two_reapers_that_sweep_at_once_do_no_harm(fleet: Fleet) -> None:
    async with reaping(fleet.sweeping), reaping(await another(fleet.sweeping)):
        for number in range(50):
            fleet.api.add(number, in_seconds=-5)
        await fleet.api.has_reaped(*range(50))


async def test_a_session_api_that_comes_late_is_swept_at_once(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    port = await asyncio.to_thread(lambda: PortBook().free("session-api"))
    api = FakeSessionApi()
    api.add(1, in_seconds=-5)
    settings = replace(fleet.settings, session_api_address=f"127.0.0.1:{port}")
    async with reaping(settings):
        await until(lambda: "sweep waits for session-api" in caplog.text)
        async with serving(f"127.0.0.1:{port}", api.services(), authenticator=api, grace=timedelta(0)):
            await api.has_reaped(1, within=5)


async def test_after_an_outage_of_session_api_sweeps_go_on(fleet: Fleet) -> None:
    async with reaping(fleet.sweeping):
        await until(lambda: fleet.api.lists > 0)
        for method in ("ListSessions", "ReapSession", "ReapNodes"):
            fleet.api.failing[method] = Unavailable("down for a moment")
        lists, passes = fleet.api.lists, fleet.api.node_passes
        name = fleet.api.add(1, in_seconds=0)
        await until(lambda: fleet.api.lists > lists and fleet.api.node_passes > passes)
        assert name not in fleet.api.reaped
        fleet.api.failing.clear()
        await fleet.api.has_reaped(1, within=5)


async def test_nodes_are_reaped_again_and_again(fleet: Fleet) -> None:
    async with reaping(fleet.settings):
        await until(lambda: fleet.api.node_passes >= 3, within=8)


@pytest.mark.parametrize("error", [Unavailable("down"), Internal("odd"), PermissionDenied("key")])
async def test_nodes_that_cannot_be_reaped_do_not_stop_the_rest(fleet: Fleet, error: FleetError) -> None:
    fleet.api.failing["ReapNodes"] = error
    async with reaping(fleet.sweeping):
        await until(lambda: fleet.api.node_passes >= 2)
        fleet.api.add(1, in_seconds=0)
        await fleet.api.has_reaped(1, within=5)


@pytest.mark.parametrize("off", [timedelta(minutes=-10), timedelta(minutes=10)])
async def test_a_reaper_with_a_wrong_clock_finds_the_same(fleet: Fleet, off: timedelta) -> None:
    due = {fleet.api.add(number, in_seconds=-1) for number in range(3)}
    fleet.api.add(9, in_seconds=60)
    async with channel(fleet.settings.session_api_address) as opened:
        sessions = GrpcSessionGateway(opened, service_key=Secret(KEY), clock=WrongClock(off))
        assert {name async for name in sessions.due()} == due


async def test_what_session_api_answers_arrives_as_typed_errors_and_counts(fleet: Fleet) -> None:
    async with channel(fleet.settings.session_api_address) as opened:
        sessions = GrpcSessionGateway(opened, service_key=Secret(KEY), clock=WrongClock(timedelta(0)))
        with pytest.raises(NotFound):
            await sessions.reap(session_id(7))
        fleet.api.failing["ListSessions"] = PermissionDenied("no")
        with pytest.raises(PermissionDenied):
            await anext(sessions.due())
        assert await GrpcNodeGateway(opened, service_key=Secret(KEY)).reap() == NodeReport(lost=1)
