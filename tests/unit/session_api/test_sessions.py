"""Sessions from the first request to the final state, on fakes."""

import asyncio
from datetime import timedelta

import pytest

from fleetkit.errors import ResourceExhausted
from fleetkit.paging import PageRequest
from session_api.domain.caller import Scope
from session_api.domain.errors import (
    BrowserStartFailed,
    NoCapableNode,
    NoCapacity,
    NodeUnavailable,
    RequestIdReused,
    SessionNotFound,
    SessionNotOpen,
    TimeoutLimit,
)
from session_api.domain.session import BrowserSpec, BrowserType, CloseReason, SessionState
from session_api.usecases.ports import SessionQuery
from tests.support.fleet_builders import FACTS, NOON, OTHER_ORGANIZATION, a_caller, a_session, a_session_id
from tests.support.waiting import until
from tests.unit.session_api.fleet import Fleet, a_request

_MINUTE = timedelta(minutes=1)


async def test_a_created_session_runs_on_the_node_and_counts_down(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create(timeout=10 * _MINUTE)
    assert (session.state, session.browser, session.epoch) == (SessionState.RUNNING, FACTS, 1)
    assert session.expire_time == NOON + 10 * _MINUTE
    assert session.allocation is not None
    assert session.allocation.node_id == registration.node_id
    assert fleet.gateway.started == [session.id]
    assert fleet.slots_used(registration) == 1
    assert fleet.database.types_of(session.id) == ["created", "started"]
    assert f"schedule.session.{session.id}" in [news.subject for news in fleet.database.outbox]
    assert fleet.bell.rung > 0


async def test_a_session_without_a_timeout_lives_an_hour(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    assert (session.timeout, session.warnings) == (60 * _MINUTE, ())


async def test_the_same_request_id_returns_the_same_session(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    first = await fleet.create(request_id="once")
    second = await fleet.create(request_id="once")
    assert second.id == first.id
    assert fleet.slots_used(registration) == 1
    assert fleet.gateway.started == [first.id]


async def test_creates_with_one_request_id_at_the_same_time_make_one_session(fleet: Fleet) -> None:
    registration = await fleet.with_node(slots=5)
    created = await asyncio.gather(*(fleet.create(request_id="once") for _ in range(5)))
    assert len({session.id for session in created}) == 1
    assert {session.state for session in created} == {SessionState.RUNNING}
    assert fleet.slots_used(registration) == 1
    assert fleet.database.types_of(created[0].id) == ["created", "started"]


async def test_the_same_request_id_with_another_request_is_refused(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create(request_id="once")
    with pytest.raises(RequestIdReused) as refusal:
        await fleet.create(request_id="once", timeout=5 * _MINUTE)
    assert refusal.value.metadata == {"session_id": session.id}


async def test_another_organization_may_use_the_same_request_id(fleet: Fleet) -> None:
    await fleet.with_node()
    mine = await fleet.create(request_id="once")
    theirs = await fleet.sessions.create(a_caller(organization_id=OTHER_ORGANIZATION), a_request(request_id="once"))
    assert theirs.id != mine.id


async def test_a_timeout_above_the_organizations_cap_is_capped_with_a_warning(fleet: Fleet) -> None:
    await fleet.with_node()
    caller = a_caller(max_timeout=30 * _MINUTE)
    session = await fleet.sessions.create(caller, a_request(timeout=45 * _MINUTE))
    assert session.timeout == 30 * _MINUTE
    assert session.warnings == ("The timeout of 45 min was capped to this organization's limit of 30 min.",)
    by_default = await fleet.sessions.create(caller, a_request())
    assert (by_default.timeout, by_default.warnings) == (30 * _MINUTE, ())


async def test_a_browser_that_no_node_has_is_refused_at_once(fleet: Fleet) -> None:
    await fleet.with_node()
    edge = BrowserSpec(browser_type=BrowserType.MSEDGE)
    with pytest.raises(NoCapableNode):
        await fleet.sessions.create(a_caller(), a_request(spec=edge))


async def test_a_full_fleet_says_when_to_try_again(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    await fleet.create()
    with pytest.raises(NoCapacity) as refusal:
        await fleet.create()
    assert refusal.value.retry_after is not None
    assert len(fleet.database.sessions()) == 1


@pytest.mark.parametrize(
    "error", [BrowserStartFailed("Chrome did not start."), NodeUnavailable("The node does not answer.")]
)
async def test_a_failed_start_fails_the_session_and_gives_its_slot_back(
    fleet: Fleet, error: BrowserStartFailed | NodeUnavailable
) -> None:
    registration = await fleet.with_node()
    fleet.gateway.start_fails_with = error
    with pytest.raises(type(error)) as failure:
        await fleet.create(request_id="once")
    (session,) = fleet.database.sessions()
    assert (session.state, session.close_reason) == (SessionState.FAILED, CloseReason.START_FAILED)
    assert session.close_message == error.message
    assert failure.value.metadata["session_id"] == session.id
    assert fleet.slots_used(registration) == 0
    assert fleet.database.types_of(session.id) == ["created", "failed"]
    assert (await fleet.create(request_id="once")).state is SessionState.FAILED


async def test_a_session_moves_on_when_its_node_does_not_answer(fleet: Fleet) -> None:
    dead = await fleet.with_node(name="node-a", slots=3)
    alive = await fleet.with_node(name="node-b", slots=2)
    fleet.gateway.silent_nodes = {dead.node_id}
    session = await fleet.create()
    assert session.state is SessionState.RUNNING
    assert session.holder == (alive.node_id, 2)
    assert (fleet.slots_used(dead), fleet.slots_used(alive)) == (0, 1)
    assert fleet.database.types_of(session.id) == ["created", "started"]


async def test_a_session_fails_when_no_node_answers(fleet: Fleet) -> None:
    nodes = [await fleet.with_node(name=name) for name in ("node-a", "node-b", "node-c", "node-d")]
    fleet.gateway.silent_nodes = {node.node_id for node in nodes}
    with pytest.raises(NodeUnavailable):
        await fleet.create()
    (session,) = fleet.database.sessions()
    assert (session.state, session.close_reason) == (SessionState.FAILED, CloseReason.START_FAILED)
    assert session.epoch == 3
    assert [fleet.slots_used(node) for node in nodes] == [0, 0, 0, 0]


async def test_a_session_that_is_closed_while_it_moves_on_stays_closed(fleet: Fleet) -> None:
    dead = await fleet.with_node(name="node-a", slots=3)
    await fleet.with_node(name="node-b", slots=2)
    fleet.gateway.silent_nodes = {dead.node_id}
    fleet.gateway.may_start.clear()
    creating = asyncio.create_task(fleet.create())
    await fleet.gateway.starting.wait()
    (session,) = fleet.database.sessions()
    closed = await fleet.sessions.close(a_caller(), session.id)
    fleet.gateway.may_start.set()
    with pytest.raises(NodeUnavailable):
        await creating
    (final,) = fleet.database.sessions()
    assert (final.state, final.close_reason) == (closed.state, CloseReason.USER_REQUESTED)
    assert fleet.slots_used(dead) == 0


async def test_a_node_that_refuses_a_start_counts_as_a_failed_start(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    fleet.gateway.start_fails_with = ResourceExhausted("The node is full.")
    with pytest.raises(BrowserStartFailed):
        await fleet.create()
    assert fleet.slots_used(registration) == 0


async def test_closing_a_starting_session_ends_it_and_the_create_fails(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    fleet.gateway.may_start.clear()
    create = asyncio.create_task(fleet.create())
    await fleet.gateway.starting.wait()
    (starting,) = fleet.database.sessions()
    closed = await fleet.sessions.close(a_caller(), starting.id)
    assert (closed.state, closed.close_reason) == (SessionState.CLOSED, CloseReason.USER_REQUESTED)
    fleet.gateway.may_start.set()
    with pytest.raises(SessionNotOpen) as refusal:
        await create
    assert refusal.value.metadata["state"] == "CLOSED"
    assert refusal.value.metadata["close_reason"] == "USER_REQUESTED"
    # The browser that came up after all is stopped.
    assert fleet.gateway.stopped[-1] == (starting.id, CloseReason.USER_REQUESTED)
    assert fleet.slots_used(registration) == 0


async def test_a_closed_session_is_final_and_its_slot_is_free(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    closed = await fleet.sessions.close(a_caller(), session.id)
    assert (closed.state, closed.close_reason) == (SessionState.CLOSED, CloseReason.USER_REQUESTED)
    assert fleet.gateway.stopped == [(session.id, CloseReason.USER_REQUESTED)]
    assert fleet.slots_used(registration) == 0
    assert fleet.database.types_of(session.id) == ["created", "started", "closing", "closed"]
    assert fleet.database.outbox[-1].action == "PURGE"


async def test_closing_twice_changes_nothing(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    first = await fleet.sessions.close(a_caller(), session.id)
    fleet.clock.step(_MINUTE)
    assert (await fleet.sessions.close(a_caller(), session.id)).end_time == first.end_time
    assert fleet.slots_used(registration) == 0
    assert len(fleet.gateway.stopped) == 1


async def test_a_node_that_does_not_answer_does_not_hold_up_a_close(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    fleet.gateway.stop_fails_with = NodeUnavailable("The node does not answer.")
    assert (await fleet.sessions.close(a_caller(), session.id)).state is SessionState.CLOSED
    assert fleet.slots_used(registration) == 0


async def test_a_close_whose_caller_left_is_finished_all_the_same(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    fleet.gateway.may_stop.clear()
    close = asyncio.create_task(fleet.sessions.close(a_caller(), session.id))
    await fleet.gateway.stopping.wait()
    close.cancel()
    fleet.gateway.may_stop.set()
    await until(lambda: fleet.database.session(session.id).state is SessionState.CLOSED)


@pytest.mark.parametrize("verb", ["get", "close", "extend"])
async def test_another_organizations_session_does_not_exist(fleet: Fleet, verb: str) -> None:
    await fleet.with_node()
    session = await fleet.create()
    stranger = a_caller(organization_id=OTHER_ORGANIZATION)
    with pytest.raises(SessionNotFound) as foreign:  # noqa: PT012  # one call of three
        match verb:
            case "get":
                await fleet.sessions.get(stranger, session.id)
            case "close":
                await fleet.sessions.close(stranger, session.id)
            case _:
                await fleet.sessions.extend(stranger, session.id, by=_MINUTE)
    with pytest.raises(SessionNotFound) as absent:
        await fleet.sessions.get(stranger, a_session_id())
    assert foreign.value.message == absent.value.message
    assert fleet.database.session(session.id).state is SessionState.RUNNING


async def test_a_service_key_sees_every_organization(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    service = a_caller(organization_id=OTHER_ORGANIZATION, scope=Scope.SERVICE)
    assert (await fleet.sessions.get(service, session.id)).id == session.id


async def test_a_session_is_reaped_only_when_its_deadline_has_come_by_the_databases_clock(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create(timeout=5 * _MINUTE)
    fleet.clock.step(5 * _MINUTE - timedelta(microseconds=1))
    assert (await fleet.sessions.reap(session.id)).state is SessionState.RUNNING
    fleet.clock.step(timedelta(microseconds=1))
    reaped = await fleet.sessions.reap(session.id)
    assert (reaped.state, reaped.close_reason) == (SessionState.CLOSED, CloseReason.TIMED_OUT)
    assert fleet.slots_used(registration) == 0


async def test_an_old_deadline_does_nothing_to_an_extended_session(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create(timeout=5 * _MINUTE)
    extended = await fleet.sessions.extend(a_caller(), session.id, by=5 * _MINUTE)
    assert extended.expire_time == NOON + 10 * _MINUTE
    fleet.clock.step(5 * _MINUTE)
    assert (await fleet.sessions.reap(session.id)).state is SessionState.RUNNING
    fleet.clock.step(5 * _MINUTE)
    assert (await fleet.sessions.reap(session.id)).state is SessionState.CLOSED


async def test_an_extension_tells_the_node_and_schedules_the_new_deadline(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create(timeout=5 * _MINUTE)
    fleet.clock.step(_MINUTE)
    await fleet.sessions.extend(a_caller(), session.id, by=5 * _MINUTE)
    assert fleet.gateway.deadlines == {session.id: 9 * _MINUTE}
    subjects = [news.subject for news in fleet.database.outbox]
    assert subjects.count(f"schedule.session.{session.id}") == 2
    assert fleet.database.types_of(session.id)[-1] == "extended"


async def test_an_ended_session_is_not_extended_and_a_limit_is_kept(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create(timeout=1440 * _MINUTE)
    with pytest.raises(TimeoutLimit):
        await fleet.sessions.extend(a_caller(), session.id, by=_MINUTE)
    await fleet.sessions.close(a_caller(), session.id)
    with pytest.raises(SessionNotOpen):
        await fleet.sessions.extend(a_caller(), session.id, by=_MINUTE)


async def test_reaping_a_session_that_never_was_is_refused(fleet: Fleet) -> None:
    with pytest.raises(SessionNotFound):
        await fleet.sessions.reap(a_session_id())


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
    await until(lambda: fleet.database.session(session.id).state.is_final)
    assert fleet.database.session(session.id).close_reason is CloseReason.CLIENT_GONE
    assert fleet.slots_used(registration) == 0


async def test_a_create_whose_caller_left_goes_on_under_its_request_id(fleet: Fleet) -> None:
    await fleet.with_node()
    fleet.gateway.may_start.clear()
    create = asyncio.create_task(fleet.create(request_id="once"))
    await fleet.gateway.starting.wait()
    create.cancel()
    with pytest.raises(asyncio.CancelledError):
        await create
    fleet.gateway.may_start.set()
    (session,) = fleet.database.sessions()
    await until(lambda: fleet.database.session(session.id).state is SessionState.RUNNING)
    assert (await fleet.create(request_id="once")).id == session.id


@pytest.mark.parametrize(("request_id", "end"), [("", SessionState.FAILED), ("once", SessionState.RUNNING)])
async def test_a_caller_who_leaves_during_the_allocation_leaves_no_half_made_session(
    fleet: Fleet, request_id: str, end: SessionState
) -> None:
    await fleet.with_node()
    async with fleet.database.transaction():
        create = asyncio.create_task(fleet.create(request_id=request_id))
        # The allocation is under way then and waits for this transaction to end.
        await until(lambda: fleet.database.waiting == 1)
        create.cancel()
        with pytest.raises(asyncio.CancelledError):
            await create
    await until(lambda: [session.state for session in fleet.database.sessions()] == [end])


async def test_half_finished_starts_and_stops_are_ended_after_their_time(fleet: Fleet) -> None:
    registration = await fleet.with_node(slots=3)
    allocation = (await fleet.create()).allocation
    starting = a_session(state=SessionState.STARTING, allocation=allocation)
    closing = a_session(state=SessionState.CLOSING, allocation=allocation, reason=CloseReason.TIMED_OUT)
    fleet.database.put(starting, closing)
    fleet.clock.step(_MINUTE)
    await fleet.sessions.finish_stuck(start_timeout=2 * _MINUTE, stop_timeout=2 * _MINUTE)
    assert fleet.database.session(starting.id).state is SessionState.STARTING
    await fleet.sessions.finish_stuck(start_timeout=timedelta(seconds=59), stop_timeout=timedelta(seconds=59))
    ended = [fleet.database.session(session.id) for session in (starting, closing)]
    assert [session.close_reason for session in ended] == [CloseReason.START_FAILED, CloseReason.TIMED_OUT]
    assert [session.state for session in ended] == [SessionState.FAILED, SessionState.CLOSED]
    assert fleet.slots_used(registration) == 0


async def test_a_list_holds_only_what_the_query_asks_for(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    page = await fleet.sessions.list(SessionQuery(states=(SessionState.RUNNING,)), PageRequest())
    assert [row.id for row in page.items] == [session.id]
    assert (await fleet.sessions.list(SessionQuery(organization_id=OTHER_ORGANIZATION), PageRequest())).items == []
