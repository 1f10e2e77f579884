"""How long a create waits, and what becomes of the work when its caller is gone."""

import asyncio
from datetime import timedelta

import pytest

from session_api.domain.close_reason import CloseReason
from session_api.domain.session import SessionState
from tests.support.waiting import until
from tests.unit.session_api.fleet import Fleet, a_request
from tests.unit.session_api.virtual_time import settled

_SECOND = timedelta(seconds=1)
_ONCE = a_request(request_id="once")


async def test_a_create_answers_with_the_session_as_it_is_when_the_wait_is_over(fleet: Fleet) -> None:
    await fleet.with_node()
    fleet.gateway.may_start.clear()
    session = await fleet.create(wait=3 * _SECOND)
    assert session.state is SessionState.STARTING
    fleet.gateway.may_start.set()
    await fleet.in_state(session.id, SessionState.RUNNING)


async def test_a_create_that_does_not_wait_answers_at_once(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    fleet.gateway.may_start.clear()
    starting = await fleet.create(wait=timedelta(0))
    queued = await fleet.create(wait=timedelta(0))
    assert (starting.state, queued.state) == (SessionState.STARTING, SessionState.QUEUED)
    fleet.gateway.may_start.set()
    await fleet.in_state(starting.id, SessionState.RUNNING)


async def test_the_same_call_again_goes_on_waiting(fleet: Fleet) -> None:
    await fleet.with_node()
    fleet.gateway.may_start.clear()
    first = await fleet.create(request=_ONCE, wait=_SECOND)
    again = asyncio.create_task(fleet.create(request=_ONCE))
    await settled()
    fleet.gateway.may_start.set()
    session = await again
    assert (session.id, session.state) == (first.id, SessionState.RUNNING)


# ---- callers that are gone


async def test_a_create_whose_caller_left_is_ended_because_nobody_can_find_it(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    fleet.gateway.may_start.clear()
    create = asyncio.create_task(fleet.create())
    await fleet.gateway.starting.wait()
    create.cancel()
    fleet.gateway.may_start.set()
    with pytest.raises(asyncio.CancelledError):
        await create
    (session,) = fleet.database.sessions()
    ended = await fleet.in_state(session.id, SessionState.FAILED)
    assert ended.close_reason is CloseReason.CLIENT_GONE
    assert fleet.slots_used(registration) == 0


async def test_a_create_whose_caller_left_goes_on_under_its_request_id(fleet: Fleet) -> None:
    await fleet.with_node()
    fleet.gateway.may_start.clear()
    create = asyncio.create_task(fleet.create(request=_ONCE))
    await fleet.gateway.starting.wait()
    create.cancel()
    with pytest.raises(asyncio.CancelledError):
        await create
    fleet.gateway.may_start.set()
    (session,) = fleet.database.sessions()
    await fleet.in_state(session.id, SessionState.RUNNING)
    assert (await fleet.create(request=_ONCE)).id == session.id


@pytest.mark.parametrize("wait", [timedelta(0), 10 * _SECOND])
@pytest.mark.parametrize(("request_id", "end"), [("", SessionState.FAILED), ("once", SessionState.RUNNING)])
async def test_a_caller_who_leaves_during_the_allocation_leaves_no_half_made_session(
    fleet: Fleet, request_id: str, end: SessionState, wait: timedelta
) -> None:
    await fleet.with_node()
    async with fleet.database.transaction():
        create = asyncio.create_task(fleet.create(request=a_request(request_id=request_id), wait=wait))
        # The allocation is under way then and waits for this transaction to end.
        await until(lambda: fleet.database.waiting == 1)
        create.cancel()
        with pytest.raises(asyncio.CancelledError):
            await create
    await until(lambda: [session.state for session in fleet.database.sessions()] == [end])


async def test_a_caller_who_leaves_before_the_answer_leaves_no_session_that_nobody_knows(fleet: Fleet) -> None:
    await fleet.with_node()
    fleet.gateway.may_start.clear()
    create = asyncio.create_task(fleet.create(wait=_SECOND))
    await fleet.gateway.starting.wait()
    async with fleet.database.transaction():
        # The wait is over then, and the answer is being read.
        await until(lambda: fleet.database.waiting == 1)
        create.cancel()
        with pytest.raises(asyncio.CancelledError):
            await create
    fleet.gateway.may_start.set()
    (session,) = fleet.database.sessions()
    ended = await fleet.in_state(session.id, SessionState.FAILED)
    assert ended.close_reason is CloseReason.CLIENT_GONE


async def test_a_queued_create_whose_caller_left_leaves_the_queue(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    first = await fleet.create()
    create = asyncio.create_task(fleet.create())
    queued = await fleet.waiting_for_slot(create)
    create.cancel()
    ended = await fleet.in_state(queued.id, SessionState.FAILED)
    assert ended.close_reason is CloseReason.CLIENT_GONE
    await fleet.close(first)
    assert await fleet.dispatch() == 0


async def test_a_queued_create_whose_caller_left_keeps_its_place_under_its_request_id(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    first = await fleet.create()
    create = asyncio.create_task(fleet.create(request=_ONCE))
    queued = await fleet.waiting_for_slot(create)
    create.cancel()
    await fleet.close(first)
    assert await fleet.dispatch() == 1
    found = await fleet.create(request=_ONCE)
    assert (found.id, found.state) == (queued.id, SessionState.RUNNING)


@pytest.mark.parametrize(("request_id", "end"), [("", SessionState.FAILED), ("once", SessionState.QUEUED)])
async def test_a_replica_that_stops_leaves_no_session_that_nobody_knows(
    fleet: Fleet, request_id: str, end: SessionState
) -> None:
    await fleet.with_node(slots=1)
    await fleet.create()
    create = asyncio.create_task(fleet.create(request=a_request(request_id=request_id)))
    queued = await fleet.waiting_for_slot(create)
    fleet.plane.hub.stop()
    with pytest.raises(Exception, match="call again"):
        await create
    await fleet.in_state(queued.id, end)
