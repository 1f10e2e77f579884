"""Blocks close what they opened; attaching closes nothing."""

import asyncio

import grpc
import pytest
from opentelemetry import trace

from browserfleet.client import (
    CloseReason,
    Fleet,
    FleetUnavailable,
    QueueTimedOut,
    SessionEnded,
    SessionNotReady,
    SessionState,
    WaitTimedOut,
)
from browserfleet.session.v1 import session_pb2, session_service_pb2
from tests.unit.client.fleet_double import (
    END_TIME,
    SESSION_ID,
    UNAVAILABLE,
    FleetDouble,
    a_session,
    an_artifact,
    refusal,
)


async def test_leaving_a_block_closes_the_session(fleet: Fleet, double: FleetDouble) -> None:
    async with fleet.session(timeout="30m") as session:
        assert session.state is SessionState.RUNNING
    assert double.asked("CloseSession") == 1
    assert session.close_reason is CloseReason.USER_REQUESTED


async def test_an_error_in_the_block_closes_the_session_and_is_not_hidden(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["CloseSession"] = [UNAVAILABLE] * 4
    with pytest.raises(ZeroDivisionError) as caught:
        async with fleet.session():
            raise ZeroDivisionError
    assert double.asked("CloseSession") == 4
    assert "stays open until its deadline" in caught.value.__notes__[0]


async def test_a_close_that_fails_is_told(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["CloseSession"] = [refusal(grpc.StatusCode.INTERNAL, "INTERNAL")]
    with pytest.raises(FleetUnavailable, match="stays open until its deadline"):
        async with fleet.session():
            pass


async def test_a_cancel_inside_the_block_closes_the_session(fleet: Fleet, double: FleetDouble) -> None:
    inside, closing, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow_close() -> None:
        closing.set()
        await closed.wait()

    async def use() -> None:
        async with fleet.session():
            inside.set()
            await asyncio.Event().wait()

    double.before["CloseSession"] = slow_close
    task = asyncio.create_task(use())
    await inside.wait()
    task.cancel()
    await closing.wait()
    # A second cancel, during the close, does not break it off either.
    task.cancel()
    closed.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert double.asked("CloseSession") == 1


async def test_a_cancel_during_the_create_leaves_no_session(fleet: Fleet, double: FleetDouble) -> None:
    creating, go_on = asyncio.Event(), asyncio.Event()

    async def slow_create() -> None:
        creating.set()
        await go_on.wait()

    async def use() -> None:
        async with fleet.session():
            pytest.fail("the block must not start")

    double.before["CreateSession"] = slow_create
    task = asyncio.create_task(use())
    await creating.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert double.asked("CloseSession") == 1


async def test_keep_leaves_the_session_open(fleet: Fleet, double: FleetDouble) -> None:
    async with fleet.session(keep=True):
        pass
    assert double.asked("CloseSession") == 0


async def test_leaving_an_attached_session_does_not_close_it(fleet: Fleet, double: FleetDouble) -> None:
    async with await fleet.attach(SESSION_ID) as session:
        assert session.id == SESSION_ID
    assert double.asked("CloseSession") == 0


async def test_attaching_to_an_ended_session_says_why_and_when_it_ended(fleet: Fleet, double: FleetDouble) -> None:
    double.session = a_session(state="CLOSED", close_reason="TIMED_OUT")
    with pytest.raises(SessionEnded) as caught:
        await fleet.attach(SESSION_ID)
    assert (caught.value.close_reason, caught.value.at) == (CloseReason.TIMED_OUT, END_TIME)


async def test_a_created_session_that_failed_at_once_is_an_error(fleet: Fleet, double: FleetDouble) -> None:
    double.session = a_session(state="FAILED", close_reason="START_FAILED")
    with pytest.raises(SessionEnded) as caught:
        async with fleet.session():
            pass
    assert caught.value.close_reason is CloseReason.START_FAILED


def creates(double: FleetDouble) -> list[session_service_pb2.CreateSessionRequest]:
    return [request for _, request in double.calls if isinstance(request, session_service_pb2.CreateSessionRequest)]


async def test_a_session_that_is_not_up_yet_is_waited_for_under_one_request_id(
    fleet: Fleet, double: FleetDouble
) -> None:
    double.created = [a_session(state="QUEUED", queue_position=2), a_session(state="STARTING")]
    async with fleet.session() as session:
        assert session.state is SessionState.RUNNING
    assert len(creates(double)) == 3
    assert len({request.request_id for request in creates(double)}) == 1


async def test_a_session_that_is_not_up_in_time_is_closed_and_tells_its_place(
    fleet: Fleet, double: FleetDouble
) -> None:
    double.session = a_session(state="QUEUED", queue_position=4)
    with pytest.raises(SessionNotReady, match="in place 4 of the queue: Every slot is taken") as caught:
        async with fleet.session(wait="50ms"):
            pass
    assert (caught.value.state, caught.value.queue_position) == (SessionState.QUEUED, 4)
    assert double.asked("CloseSession") == 1


async def test_waiting_in_the_queue_outlasts_a_restart_of_the_fleet(fleet: Fleet, double: FleetDouble) -> None:
    double.created = [a_session(state="QUEUED", queue_position=1)]

    async def away_after_the_first_create() -> None:
        if double.asked("CreateSession") == 1:
            double.refusals["CreateSession"] = [UNAVAILABLE] * 6

    double.before["CreateSession"] = away_after_the_first_create
    async with fleet.session() as session:
        assert session.state is SessionState.RUNNING
    assert len(creates(double)) == 8


async def test_a_queue_that_times_out_is_an_error_of_its_own(fleet: Fleet, double: FleetDouble) -> None:
    double.refusals["CreateSession"] = [refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_TIMED_OUT")]
    with pytest.raises(QueueTimedOut):
        async with fleet.session():
            pass


async def test_a_cancel_while_the_session_waits_closes_it(fleet: Fleet, double: FleetDouble) -> None:
    double.session = a_session(state="QUEUED", queue_position=1)
    waiting = asyncio.Event()

    async def at_the_second_create() -> None:
        if double.asked("CreateSession") > 1:
            waiting.set()
            await asyncio.Event().wait()

    async def use() -> None:
        async with fleet.session():
            pytest.fail("the block must not start")

    double.before["CreateSession"] = at_the_second_create
    task = asyncio.create_task(use())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert double.asked("CloseSession") == 1


async def test_what_a_session_should_be_like_travels_with_the_create(fleet: Fleet, double: FleetDouble) -> None:
    async with fleet.session(labels={"team": "qa"}, idle_timeout="90s", queue_timeout=0):
        pass
    async with fleet.session():
        pass
    chosen, default = creates(double)
    assert (dict(chosen.labels), chosen.idle_timeout.seconds) == ({"team": "qa"}, 90)
    assert (chosen.HasField("queue_timeout"), chosen.queue_timeout.seconds) == (True, 0)
    assert not any(default.HasField(field) for field in ("idle_timeout", "queue_timeout"))


async def test_a_session_tells_its_labels_its_place_and_whether_it_is_occupied(
    fleet: Fleet, double: FleetDouble
) -> None:
    double.session = a_session(state="QUEUED", queue_position=3)
    double.session.labels["team"] = "qa"
    double.session.occupied = True
    session = await fleet.get(SESSION_ID)
    assert (session.labels, session.queue_position, session.occupied) == ({"team": "qa"}, 3, True)
    double.session = a_session()
    assert (await session.refresh()).queue_position is None


async def test_the_timeout_and_the_key_travel_with_the_create(fleet: Fleet, double: FleetDouble) -> None:
    async with fleet.session(timeout=30):
        pass
    request = double.calls[0][1]
    assert isinstance(request, session_service_pb2.CreateSessionRequest)
    assert request.timeout.seconds == 1800
    assert double.credentials == {"Bearer bf_key"}


async def test_calls_belong_to_the_callers_trace(fleet: Fleet, double: FleetDouble) -> None:
    await fleet.get(SESSION_ID)
    context = trace.SpanContext(trace_id=1, span_id=2, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        await fleet.get(SESSION_ID)
    assert double.traces == {None, f"00-{1:032x}-{2:016x}-01"}


async def test_a_list_runs_over_all_pages(fleet: Fleet, double: FleetDouble) -> None:
    ids = [f"pbs_{number:026}" for number in range(5)]
    sessions = [a_session(session_id=session_id) for session_id in ids]
    double.session_pages = [sessions[:2], [], sessions[2:]]
    found = fleet.list(states=["RUNNING"], labels={"team": "qa"}, page_size=2)
    assert [session.id async for session in found] == ids
    requests = [request for _, request in double.calls if isinstance(request, session_service_pb2.ListSessionsRequest)]
    assert [request.page_token for request in requests] == ["", "1", "2"]
    assert {(request.page_size, *request.filter.states) for request in requests} == {
        (2, session_pb2.Session.STATE_RUNNING)
    }
    assert all(dict(request.filter.labels) == {"team": "qa"} for request in requests)


async def test_downloads_run_over_all_pages(fleet: Fleet, double: FleetDouble) -> None:
    double.artifact_pages = [[an_artifact(name="a")], [an_artifact(name="b")]]
    session = await fleet.get(SESSION_ID)
    assert [artifact.name for artifact in await session.downloads()] == ["a", "b"]


async def test_waiting_for_recordings_ends_when_each_is_final(fleet: Fleet, double: FleetDouble) -> None:
    double.artifact_pages = [[an_artifact(state="PENDING")]]

    async def stored_at_the_second_look() -> None:
        if double.asked("ListArtifacts") > 1:
            double.artifact_pages = [[an_artifact(state="STORED"), an_artifact(state="FAILED")]]

    double.before["ListArtifacts"] = stored_at_the_second_look
    session = await fleet.get(SESSION_ID)
    found = await session.recordings(wait="30s", at_least=2)
    assert [artifact.state for artifact in found] == ["STORED", "FAILED"]


async def test_waiting_for_what_does_not_come_is_bounded(fleet: Fleet, double: FleetDouble) -> None:
    double.artifact_pages = [[]]
    session = await fleet.get(SESSION_ID)
    with pytest.raises(WaitTimedOut, match="0 of 1"):
        await session.downloads(wait="50ms")


async def test_a_fleet_outside_its_block_is_refused(double: FleetDouble, fleet: Fleet) -> None:
    await fleet.__aexit__(None, None, None)
    with pytest.raises(RuntimeError, match="inside its block"):
        await fleet.get(SESSION_ID)
