"""The queue over several replicas: any of them gives slots away, and whoever waits is answered where they asked."""

import asyncio
from datetime import timedelta

from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import QueueTimedOut, SessionNotOpen
from session_api.domain.organization import Limits
from session_api.domain.session import SessionState
from tests.integration.session_api.fleet import PATIENCE, RealFleet, a_request, an_organization, outcomes
from tests.integration.session_api.invariants import assert_held, held_throughout
from tests.support.waiting import eventually

_WAITING = a_request(queue_timeout=timedelta(minutes=5))


async def test_a_create_that_waits_at_one_replica_is_started_by_another_and_answered_where_it_waits(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    node = await fleet.with_node(slots=1)
    first = await fleet.create()
    waiting = asyncio.ensure_future(fleet.create(_WAITING, at=0))
    await fleet.queued(1)
    async with fleet.giving_slots_away(fleet.replicas[1]):
        await fleet.close(first, at=2)
        async with asyncio.timeout(5):
            session = await waiting
    assert session.state is SessionState.RUNNING
    assert session.allocation is not None
    assert session.allocation.node_id == node.node_id
    assert await fleet.announced(session.id) == ["queued", "created", "started"]


async def test_those_who_wait_at_different_replicas_are_served_in_the_order_in_which_they_came(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=1)
    holding = await fleet.create()
    waiting = []
    for number in range(6):
        waiting.append(asyncio.ensure_future(fleet.create(_WAITING, at=number)))
        await fleet.queued(number + 1)
    async with held_throughout(fleet.pool), fleet.giving_slots_away():
        for number, next_one in enumerate(waiting):
            await fleet.close(holding, at=number)
            async with asyncio.timeout(10):
                holding = await next_one
            assert [later.done() for later in waiting[number + 1 :]] == [False] * (5 - number)


async def test_a_session_that_is_closed_in_the_queue_never_gets_a_slot_and_its_caller_is_told(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=1)
    first = await fleet.create()
    waiting = asyncio.ensure_future(outcomes(fleet.create(_WAITING)))
    await fleet.queued(1)
    (row,) = await fleet.pool.fetch("SELECT id FROM fleet.session WHERE state = 'QUEUED'")
    closed = await fleet.plane(1).sessions.close(fleet.caller, row["id"])
    assert (closed.state, closed.close_reason) == (SessionState.CLOSED, CloseReason.USER_REQUESTED)
    async with asyncio.timeout(5):
        _, (refused,) = await waiting
    assert isinstance(refused, SessionNotOpen)
    await fleet.close(first)
    assert await fleet.dispatching.dispatch() == 0
    await assert_held(fleet.pool)


async def test_a_session_whose_time_in_the_queue_runs_out_is_ended_once_and_its_caller_is_told(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=1)
    await fleet.create()
    waiting = asyncio.ensure_future(outcomes(fleet.create(a_request(queue_timeout=timedelta(milliseconds=50)))))
    await fleet.queued(1)
    (row,) = await fleet.pool.fetch("SELECT id FROM fleet.session WHERE state = 'QUEUED'")
    await asyncio.sleep(0.05)
    reaped = await asyncio.gather(*(fleet.plane(number).reaping.reap(row["id"]) for number in range(3)))
    assert {(session.state, session.close_reason) for session in reaped} == {
        (SessionState.FAILED, CloseReason.QUEUE_TIMED_OUT)
    }
    async with asyncio.timeout(5):
        _, (refused,) = await waiting
    assert isinstance(refused, QueueTimedOut)
    assert await fleet.announced(row["id"]) == ["queued", "failed"]


async def test_a_slot_is_given_to_a_session_or_its_time_in_the_queue_runs_out_and_never_both(
    three_replicas: RealFleet,
) -> None:
    fleet = three_replicas
    node = await fleet.with_node(slots=1)
    async with held_throughout(fleet.pool):
        for time in range(20):
            first = await fleet.create()
            waiting = asyncio.ensure_future(outcomes(fleet.create(_WAITING, at=time)))
            await fleet.queued(1)
            (row,) = await fleet.pool.fetch(
                "UPDATE fleet.session SET queue_expire_time = at.deadline, due_time = at.deadline"
                " FROM (SELECT clock_timestamp() + $1::interval AS deadline) AS at WHERE state = 'QUEUED' RETURNING id",
                timedelta(milliseconds=time - 5),
            )
            await fleet.close(first)
            dispatch, reap = fleet.plane(1).dispatching.dispatch, fleet.plane(2).reaping.reap
            await asyncio.gather(reap(row["id"]), dispatch(), fleet.dispatching.dispatch(), reap(row["id"]))
            created, refused = await waiting
            assert len(created) + len(refused) == 1
            assert {type(error) for error in refused} <= {QueueTimedOut}
            for session in created:
                await fleet.close(session)
            ended = await fleet.stored(row["id"])
            assert (ended.close_reason is CloseReason.QUEUE_TIMED_OUT) == bool(refused) == (ended.allocation is None)
    assert await fleet.slots_used(node.node_id) == 0


async def test_an_organization_at_its_quota_waits_and_holds_nobody_up(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=10)
    small = an_organization("o_small", limits=Limits(max_open_sessions=1))
    await fleet.with_organization(small)
    first = await fleet.create(caller=small)
    waiting = [asyncio.ensure_future(fleet.create(_WAITING, at=number, caller=small)) for number in range(3)]
    await fleet.queued(3)
    async with held_throughout(fleet.pool), fleet.giving_slots_away():
        created, refused = await outcomes(*(fleet.create(at=number) for number in range(6)))
        assert (len(created), refused) == (6, [])
        assert not any(call.done() for call in waiting)
        for _ in range(3):
            await fleet.plane(1).sessions.close(small, first.id)
            async with asyncio.timeout(PATIENCE.total_seconds()):
                done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1
            waiting = list(pending)
            first = done.pop().result()


async def test_a_caller_who_leaves_the_queue_leaves_no_session_behind(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    await fleet.with_node(slots=1)
    await fleet.create()
    waiting = asyncio.ensure_future(fleet.create(_WAITING))
    await fleet.queued(1)
    waiting.cancel()
    await asyncio.wait([waiting])

    async def gone() -> bool:
        rows = await fleet.pool.fetch("SELECT close_reason FROM fleet.session WHERE end_time IS NOT NULL")
        return [row["close_reason"] for row in rows] == [CloseReason.CLIENT_GONE.value]

    await eventually(gone, within=10, what="the session whose caller left has ended")
