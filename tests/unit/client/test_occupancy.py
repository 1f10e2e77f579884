"""A block holds a session for one run, and gives it back."""

import asyncio

import grpc
import pytest
from google.rpc import status_pb2

from browserfleet.client import Fleet, FleetUnavailable, OccupancyLost, Session, SessionOccupied
from browserfleet.session.v1 import session_pb2, session_service_pb2
from tests.unit.client.fleet_double import SESSION_ID, UNAVAILABLE, FleetDouble, refusal

_OCCUPIED = refusal(grpc.StatusCode.FAILED_PRECONDITION, "SESSION_OCCUPIED", holder_kind="TASK", holder_id="other")


def releases(double: FleetDouble) -> list[session_service_pb2.ReleaseSessionRequest]:
    return [request for _, request in double.calls if isinstance(request, session_service_pb2.ReleaseSessionRequest)]


async def hold_for_ever(session: Session, double: FleetDouble, *, ttl: str, refusals: list[status_pb2.Status]) -> None:
    """Hold the session under a lease whose renewals are refused."""
    async with session.occupy(task="task-1", ttl=ttl):
        double.refusals["OccupySession"] = refusals
        await asyncio.Event().wait()


async def test_a_session_is_occupied_within_the_block(fleet: Fleet, double: FleetDouble) -> None:
    session = await fleet.get(SESSION_ID)
    async with session.occupy(task="task-1") as held:
        assert held is session
        assert session.occupied
    assert not session.occupied
    assert double.calls[1][1] == session_service_pb2.OccupySessionRequest(
        session_id=SESSION_ID, holder_kind=session_pb2.HOLDER_KIND_TASK, holder_id="task-1"
    )
    assert [release.generation for release in releases(double)] == [7]


async def test_an_agent_may_hold_it_too(fleet: Fleet, double: FleetDouble) -> None:
    session = await fleet.get(SESSION_ID)
    async with session.occupy(agent="agent-1", ttl="30s"):
        pass
    request = double.calls[1][1]
    assert isinstance(request, session_service_pb2.OccupySessionRequest)
    assert (request.holder_kind, request.ttl.seconds) == (session_pb2.HOLDER_KIND_AGENT, 30)


async def test_one_holder_is_named(fleet: Fleet, double: FleetDouble) -> None:
    session = await fleet.get(SESSION_ID)
    with pytest.raises(TypeError, match="one of the two"):
        session.occupy()
    with pytest.raises(TypeError, match="one of the two"):
        session.occupy(task="task-1", agent="agent-1")


async def test_an_error_in_the_block_releases_the_session_and_is_not_hidden(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["ReleaseSession"] = [UNAVAILABLE] * 4
    session = await fleet.get(SESSION_ID)
    with pytest.raises(ZeroDivisionError) as caught:
        async with session.occupy(task="task-1"):
            raise ZeroDivisionError
    assert double.asked("ReleaseSession") == 4
    assert "stays occupied until it ends" in caught.value.__notes__[0]


async def test_a_release_that_fails_is_told(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["ReleaseSession"] = [UNAVAILABLE] * 4
    session = await fleet.get(SESSION_ID)
    with pytest.raises(FleetUnavailable, match="until its lease ends"):
        async with session.occupy(task="task-1", ttl="30s"):
            pass


async def test_a_cancel_while_it_is_taken_leaves_the_session_free(fleet: Fleet, double: FleetDouble) -> None:
    taking, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        taking.set()
        await go_on.wait()

    async def use() -> None:
        async with session.occupy(task="task-1"):
            pytest.fail("the block must not start")

    double.before["OccupySession"] = slow
    session = await fleet.get(SESSION_ID)
    task = asyncio.create_task(use())
    await taking.wait()
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert double.asked("ReleaseSession") == 1


async def test_a_lease_is_renewed_while_the_block_goes_on(fleet: Fleet, double: FleetDouble) -> None:
    renewed = asyncio.Event()

    async def counted() -> None:
        if double.asked("OccupySession") == 4:
            renewed.set()

    double.before["OccupySession"] = counted
    session = await fleet.get(SESSION_ID)
    async with session.occupy(task="task-1", ttl="1500ms"):
        # At the fourth call the first lease has run out, and those after it hold the session.
        await renewed.wait()
    assert double.asked("ReleaseSession") == 1


async def test_a_holding_that_another_run_has_taken_over_ends_the_block(fleet: Fleet, double: FleetDouble) -> None:
    session = await fleet.get(SESSION_ID)
    with pytest.raises(OccupancyLost) as caught:
        await hold_for_ever(session, double, ttl="3s", refusals=[_OCCUPIED])
    assert isinstance(caught.value.__cause__, SessionOccupied)
    assert double.asked("ReleaseSession") == 1


async def test_a_lease_that_cannot_be_renewed_in_time_ends_the_block(fleet: Fleet, double: FleetDouble) -> None:
    session = await fleet.get(SESSION_ID)
    with pytest.raises(OccupancyLost):
        await hold_for_ever(session, double, ttl="300ms", refusals=[UNAVAILABLE] * 100)


async def test_a_timeout_of_the_blocks_own_stays_what_it_is(fleet: Fleet, double: FleetDouble) -> None:
    session = await fleet.get(SESSION_ID)
    with pytest.raises(TimeoutError):
        async with session.occupy(task="task-1", ttl="30s"):
            raise TimeoutError
