"""What is sent again, and what is not."""

from datetime import timedelta

import grpc
import pytest

from browserfleet.client import BrowserStartFailed, Fleet, FleetError, FleetUnavailable, Retries
from browserfleet.session.v1 import session_service_pb2
from tests.unit.client.fleet_double import SESSION_ID, UNAVAILABLE, FleetDouble, refusal


async def test_a_read_is_repeated_while_the_fleet_is_unavailable(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["GetSession"] = [UNAVAILABLE] * 3
    assert (await fleet.get(SESSION_ID)).id == SESSION_ID
    assert double.asked("GetSession") == 4


async def test_a_replica_that_stops_is_asked_again(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["GetSession"] = [refusal(grpc.StatusCode.UNAVAILABLE, "SERVICE_STOPPING")]
    assert (await fleet.get(SESSION_ID)).id == SESSION_ID


async def test_the_fourth_attempt_is_the_last(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["GetSession"] = [UNAVAILABLE] * 9
    with pytest.raises(FleetUnavailable):
        await fleet.get(SESSION_ID)
    assert double.asked("GetSession") == 4


async def test_other_faults_are_not_repeated(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["GetSession"] = [refusal(grpc.StatusCode.INTERNAL, "INTERNAL")]
    with pytest.raises(FleetError):
        await fleet.get(SESSION_ID)
    assert double.asked("GetSession") == 1


async def test_an_extend_is_never_repeated(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["ExtendSession"] = [UNAVAILABLE]
    session = await fleet.get(SESSION_ID)
    with pytest.raises(FleetUnavailable):
        await session.extend("10m")
    assert double.asked("ExtendSession") == 1


async def test_a_create_is_repeated_under_one_request_id(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["CreateSession"] = [UNAVAILABLE]
    async with fleet.session():
        pass
    async with fleet.session():
        pass
    ids = [
        request.request_id
        for _, request in double.calls
        if isinstance(request, session_service_pb2.CreateSessionRequest)
    ]
    assert ids[0] == ids[1] != ids[2]
    assert all(ids)


async def test_a_browser_that_did_not_start_is_not_asked_for_again(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["CreateSession"] = [refusal(grpc.StatusCode.UNAVAILABLE, "BROWSER_START_FAILED")]
    with pytest.raises(BrowserStartFailed):
        async with fleet.session():
            pass
    assert double.asked("CreateSession") == 1


def test_waits_grow_and_are_spread() -> None:
    calm, eager = Retries(draw=lambda: 1.0), Retries(draw=lambda: 0.0)
    assert [round(calm.wait(attempt), 3) for attempt in (1, 2, 3)] == [0.2, 0.6, 1.8]
    assert [round(eager.wait(attempt), 3) for attempt in (1, 2, 3)] == [0.1, 0.3, 0.9]


def test_the_fleets_own_wait_is_kept() -> None:
    assert Retries(draw=lambda: 0.0).wait(1, timedelta(seconds=3)) == 3
