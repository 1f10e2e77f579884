"""A full fleet: sessions wait for a slot, get it in their turn, or leave the queue."""

import asyncio
from datetime import timedelta

import pytest

from session_api.domain.browser import BrowserType
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import (
    BrowserStartFailed,
    NoCapableNode,
    NoCapacity,
    QueueFull,
    QueueTimedOut,
    SessionNotOpen,
)
from session_api.domain.organization import Limits
from session_api.domain.queue import QueuePlace, QueueReason
from session_api.domain.session import Session, SessionState
from session_api.usecases.admission import QueuePolicy
from tests.support.fleet_builders import NOON, OTHER_ORGANIZATION, a_caller
from tests.unit.session_api.fleet import LEASE, Fleet, a_fleet, a_request

_MINUTE = timedelta(minutes=1)
_OTHER = a_caller(organization_id=OTHER_ORGANIZATION)
_EDGE = a_request(browser_type=BrowserType.MSEDGE)


async def _place_of(fleet: Fleet, session: Session) -> QueuePlace | None:
    return await fleet.plane.dispatching.place_of(fleet.database.session(session.id))


# ---- the way in


async def test_a_full_fleet_gives_a_place_in_the_queue(fleet: Fleet) -> None:
    registration = await fleet.with_node(slots=1)
    await fleet.create()
    rung = fleet.queue_bell.rung
    queued = await fleet.queue()
    assert (queued.allocation, queued.epoch, queued.queue_expire_time) == (None, 0, NOON + 5 * _MINUTE)
    assert fleet.database.types_of(queued.id) == ["queued"]
    assert fleet.slots_used(registration) == 1
    # A slot may have come free meanwhile.
    assert fleet.queue_bell.rung > rung


async def test_a_session_that_does_not_want_to_wait_is_refused_by_a_full_fleet(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    await fleet.create()
    with pytest.raises(NoCapacity) as refusal:
        await fleet.create(request=a_request(queue_timeout=timedelta(0)))
    assert refusal.value.retry_after == timedelta(seconds=5)
    assert len(fleet.database.sessions()) == 1


async def test_a_queue_that_is_full_takes_nobody_else() -> None:
    async with a_fleet(queue=QueuePolicy(limit=1)) as fleet:
        await fleet.with_node(slots=1)
        await fleet.create()
        await fleet.queue()
        with pytest.raises(QueueFull) as refusal:
            await fleet.create()
        assert refusal.value.retry_after == timedelta(seconds=5)
        assert len(fleet.database.sessions()) == 2


async def test_nothing_impossible_is_ever_queued(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    await fleet.create()
    await fleet.queue()
    with pytest.raises(NoCapableNode):
        await fleet.create(request=_EDGE)


async def test_a_browser_that_only_a_lost_node_had_is_not_waited_for(fleet: Fleet) -> None:
    await fleet.with_node()
    for _ in range(4):
        await fleet.plane.reaping.reap_nodes()
        fleet.clock.step(LEASE / 3 + timedelta(milliseconds=1))
    await fleet.plane.reaping.reap_nodes()
    with pytest.raises(NoCapableNode):
        await fleet.create()


# ---- places


async def test_a_place_says_who_is_before_and_what_is_waited_for(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    await fleet.create()
    first, second = await fleet.queue(), await fleet.queue(request=a_request(queue_timeout=_MINUTE))
    expected = QueuePlace(position=1, reason=QueueReason.FLEET_FULL, expire_time=NOON + 5 * _MINUTE)
    assert await _place_of(fleet, first) == expected
    expected = QueuePlace(position=2, reason=QueueReason.FLEET_FULL, expire_time=NOON + _MINUTE)
    assert await _place_of(fleet, second) == expected


async def test_a_newcomer_with_nothing_stands_before_whoever_holds_slots(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    await fleet.create()
    older, newcomer = await fleet.queue(), await fleet.queue(caller=_OTHER)
    places = [await _place_of(fleet, session) for session in (newcomer, older)]
    assert [place.position for place in places if place is not None] == [1, 2]


async def test_a_session_waits_for_a_node_while_all_are_closed_to_it(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    await fleet.plane.node_operations.cordon(registration.node_id)
    place = await _place_of(fleet, await fleet.queue())
    assert place is not None
    assert place.reason is QueueReason.NO_NODE


async def test_a_session_waits_for_its_organization_while_that_is_at_its_quota(fleet: Fleet) -> None:
    await fleet.with_node()
    caller = fleet.limit(Limits(max_open_sessions=1))
    await fleet.create(caller=caller)
    place = await _place_of(fleet, await fleet.queue(caller=caller))
    assert place is not None
    assert place.reason is QueueReason.QUOTA


async def test_a_session_that_does_not_wait_has_no_place(fleet: Fleet) -> None:
    await fleet.with_node()
    assert await _place_of(fleet, await fleet.create()) is None


# ---- its turn


async def test_a_slot_that_comes_free_goes_to_the_one_who_waits(fleet: Fleet) -> None:
    registration = await fleet.with_node(slots=1)
    first = await fleet.create()
    create = asyncio.create_task(fleet.create(request=a_request(timeout=5 * _MINUTE)))
    queued = await fleet.waiting_for_slot(create)
    assert await fleet.dispatch() == 0
    fleet.clock.step(_MINUTE)
    rung = fleet.queue_bell.rung
    await fleet.close(first)
    assert fleet.queue_bell.rung > rung
    assert await fleet.dispatch() == 1
    session = await create
    assert (session.id, session.state, session.holder) == (
        queued.id,
        SessionState.RUNNING,
        (registration.node_id, 1),
    )
    # The countdown does not begin in the queue.
    assert session.expire_time == NOON + 6 * _MINUTE
    assert fleet.database.types_of(session.id) == ["queued", "created", "started"]
    assert fleet.slots_used(registration) == 1


async def test_slots_are_given_in_fair_order(fleet: Fleet) -> None:
    await fleet.with_node(slots=2)
    held = [await fleet.create(), await fleet.create()]
    mine = [await fleet.queue(), await fleet.queue()]
    theirs = await fleet.queue(caller=_OTHER)
    await fleet.close(held[0])
    assert await fleet.dispatch() == 1
    assert fleet.database.session(theirs.id).state is SessionState.RUNNING
    await fleet.close(held[1])
    assert await fleet.dispatch() == 1
    states = [fleet.database.session(session.id).state for session in mine]
    assert states == [SessionState.RUNNING, SessionState.QUEUED]


async def test_an_organization_of_more_weight_gets_more(fleet: Fleet) -> None:
    heavy = fleet.limit(Limits(), OTHER_ORGANIZATION, weight=3.0)
    node = await fleet.with_node(slots=4)
    await fleet.plane.node_operations.cordon(node.node_id)
    for _ in range(4):
        await fleet.queue()
        await fleet.queue(caller=heavy)
    await fleet.plane.node_operations.uncordon(node.node_id)
    assert await fleet.dispatch() == 4
    running = [row.organization_id for row in fleet.database.sessions() if row.state is SessionState.RUNNING]
    assert running.count(OTHER_ORGANIZATION) == 3


async def test_two_replicas_that_look_at_once_place_a_session_once(fleet: Fleet) -> None:
    registration = await fleet.with_node(slots=2)
    first = await fleet.create()
    await fleet.create()
    await fleet.queue()
    await fleet.close(first)
    assert sum(await asyncio.gather(*(fleet.dispatch() for _ in range(3)))) == 1
    assert fleet.slots_used(registration) == 2


@pytest.mark.parametrize("close_first", [True, False])
async def test_a_session_that_is_closed_while_it_is_placed_keeps_no_slot(fleet: Fleet, close_first: bool) -> None:
    registration = await fleet.with_node(slots=1)
    first = await fleet.create()
    queued = await fleet.queue()
    await fleet.close(first)
    both = [fleet.close(queued), fleet.dispatch()]
    await asyncio.gather(*(both if close_first else reversed(both)))
    assert fleet.database.session(queued.id).close_reason is CloseReason.USER_REQUESTED
    assert fleet.slots_used(registration) == 0


async def test_a_placed_session_whose_browser_does_not_start_fails_and_says_so(fleet: Fleet) -> None:
    registration = await fleet.with_node(slots=1)
    first = await fleet.create()
    create = asyncio.create_task(fleet.create())
    queued = await fleet.waiting_for_slot(create)
    await fleet.close(first)
    fleet.gateway.start_fails_with = BrowserStartFailed("Chrome did not start.")
    assert await fleet.dispatch() == 1
    with pytest.raises(BrowserStartFailed, match="Chrome did not start") as refusal:
        await create
    assert refusal.value.metadata["session_id"] == queued.id
    assert fleet.slots_used(registration) == 0


# ---- nobody jumps the queue, and nobody is held up by it


async def test_a_newcomer_does_not_get_the_slot_that_an_older_one_waits_for(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    first = await fleet.create()
    older = await fleet.queue()
    await fleet.close(first)
    newcomer = await fleet.queue(caller=_OTHER)
    assert await fleet.dispatch() == 1
    states = [fleet.database.session(session.id).state for session in (older, newcomer)]
    assert states == [SessionState.RUNNING, SessionState.QUEUED]


async def test_a_newcomer_whose_turn_it_is_need_not_stand_in_the_queue(fleet: Fleet) -> None:
    await fleet.with_node(slots=2)
    first, _ = await fleet.create(), await fleet.create()
    await fleet.queue()
    await fleet.close(first)
    assert (await fleet.create(caller=_OTHER)).state is SessionState.RUNNING


async def test_those_who_wait_for_another_browser_hold_up_nobody(fleet: Fleet) -> None:
    await fleet.with_node(name="node-edge", slots=1, browsers=(BrowserType.MSEDGE,))
    await fleet.with_node()
    await fleet.create(request=_EDGE)
    await fleet.queue(request=_EDGE)
    assert (await fleet.create()).state is SessionState.RUNNING


async def test_those_who_wait_for_their_own_quota_hold_up_nobody(fleet: Fleet) -> None:
    await fleet.with_node(slots=3)
    caller = fleet.limit(Limits(max_open_sessions=1))
    await fleet.create(caller=caller)
    await fleet.queue(caller=caller)
    request = a_request(queue_timeout=timedelta(0))
    assert (await fleet.create(caller=_OTHER, request=request)).state is SessionState.RUNNING
    assert await fleet.dispatch() == 0


# ---- the way out


async def test_closing_a_queued_session_cancels_it(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    first = await fleet.create()
    create = asyncio.create_task(fleet.create())
    queued = await fleet.waiting_for_slot(create)
    closed = await fleet.close(queued)
    assert (closed.state, closed.close_reason) == (SessionState.CLOSED, CloseReason.USER_REQUESTED)
    with pytest.raises(SessionNotOpen) as refusal:
        await create
    assert refusal.value.metadata == {"session_id": queued.id, "state": "CLOSED", "close_reason": "USER_REQUESTED"}
    assert fleet.gateway.stopped == []
    assert fleet.database.types_of(queued.id) == ["queued", "closed"]
    await fleet.close(first)
    assert await fleet.dispatch() == 0


@pytest.mark.parametrize(("queue_timeout", "minutes"), [(None, 5), (2 * _MINUTE, 2)])
async def test_a_session_that_waits_too_long_fails_and_says_so(
    fleet: Fleet, queue_timeout: timedelta | None, minutes: int
) -> None:
    await fleet.with_node(slots=1)
    await fleet.create()
    create = asyncio.create_task(fleet.create(request=a_request(queue_timeout=queue_timeout)))
    queued = await fleet.waiting_for_slot(create)
    fleet.clock.step(minutes * _MINUTE - timedelta(microseconds=1))
    assert (await fleet.plane.reaping.reap(queued.id)).state is SessionState.QUEUED
    fleet.clock.step(timedelta(microseconds=1))
    reaped = await fleet.plane.reaping.reap(queued.id)
    assert (reaped.state, reaped.close_reason) == (SessionState.FAILED, CloseReason.QUEUE_TIMED_OUT)
    with pytest.raises(QueueTimedOut) as refusal:
        await create
    assert refusal.value.metadata == {"session_id": queued.id}
    assert fleet.database.types_of(queued.id) == ["queued", "failed"]
    assert fleet.database.usage() == []


@pytest.mark.parametrize("what", ["register", "uncordon", "close", "limits"])
async def test_whatever_makes_room_wakes_the_queue(fleet: Fleet, what: str) -> None:
    registration = await fleet.with_node(slots=1)
    first = await fleet.create()
    await fleet.queue()
    rung = fleet.queue_bell.rung
    match what:
        case "register":
            await fleet.with_node(name="node-b")
        case "uncordon":
            await fleet.plane.node_operations.uncordon(registration.node_id)
        case "close":
            await fleet.close(first)
        case _:
            changes = fleet.database.organization(OTHER_ORGANIZATION)
            await fleet.plane.organizations.update(changes, ["limits"])
    assert fleet.queue_bell.rung > rung
