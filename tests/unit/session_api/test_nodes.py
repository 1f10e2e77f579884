"""Nodes register, report, fall silent, on fakes."""

from datetime import timedelta

import pytest

from fleetkit.errors import FleetError
from fleetkit.postgres import DatabaseUnavailable
from session_api.domain.errors import RegistrationEnded
from session_api.domain.node import NodeState
from session_api.domain.session import CloseReason, Session, SessionState
from tests.support.fleet_builders import a_report, a_session
from tests.unit.session_api.fleet import LEASE, Fleet

_SECOND = timedelta(seconds=1)


def _ended(fleet: Fleet, session: Session) -> tuple[SessionState, CloseReason | None]:
    now = fleet.database.session(session.id)
    return now.state, now.close_reason


async def test_sessions_of_a_node_that_registers_anew_fail_with_node_lost(fleet: Fleet) -> None:
    first = await fleet.with_node()
    session = await fleet.create()
    second = await fleet.with_node()
    assert second.node_id == first.node_id
    assert second.registration_id != first.registration_id
    assert _ended(fleet, session) == (SessionState.FAILED, CloseReason.NODE_LOST)
    assert fleet.slots_used(second) == 0


async def test_a_heartbeat_of_an_earlier_registration_is_refused(fleet: Fleet) -> None:
    first = await fleet.with_node()
    await fleet.with_node()
    with pytest.raises(RegistrationEnded):
        await fleet.nodes.heartbeat(a_report(first))


async def test_a_heartbeat_tells_what_should_run_and_for_how_long(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create(timeout=timedelta(minutes=5))
    fleet.clock.step(timedelta(minutes=1))
    (assignment,) = await fleet.nodes.heartbeat(a_report(registration, running=(session,), clients=2))
    assert (assignment.session_id, assignment.epoch) == (session.id, 1)
    assert assignment.remaining == timedelta(minutes=4)
    assert fleet.database.session(session.id).client_count == 2


async def test_a_browser_that_ended_by_itself_fails_its_session_and_frees_the_slot(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    report = a_report(registration, ended=((session, CloseReason.OUT_OF_MEMORY),))
    assert await fleet.nodes.heartbeat(report) == []
    assert _ended(fleet, session) == (SessionState.FAILED, CloseReason.OUT_OF_MEMORY)
    assert fleet.database.session(session.id).close_message == "It fell over."
    assert fleet.slots_used(registration) == 0
    # A node repeats itself until it was answered.
    await fleet.nodes.heartbeat(report)
    assert fleet.slots_used(registration) == 0
    assert fleet.database.types_of(session.id).count("failed") == 1


async def test_a_report_of_an_earlier_epoch_ends_nothing(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    stale = a_session(session_id=session.id).allocated(a_session().require_running())
    await fleet.nodes.heartbeat(a_report(registration, ended=((stale, CloseReason.BROWSER_CRASHED),)))
    assert fleet.database.session(session.id).state is SessionState.RUNNING


async def test_a_node_cannot_end_another_nodes_session(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    intruder = await fleet.with_node(name="node-b")
    await fleet.nodes.heartbeat(a_report(intruder, ended=((session, CloseReason.BROWSER_CRASHED),)))
    assert fleet.database.session(session.id).state is SessionState.RUNNING


async def test_a_report_of_a_session_that_never_was_does_no_harm(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    unknown = a_session()
    report = a_report(registration, running=(unknown,), ended=((unknown, CloseReason.BROWSER_CRASHED),))
    assert await fleet.nodes.heartbeat(report) == []


async def test_a_browser_of_an_ended_session_is_not_assigned(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    fleet.database.put(a_session(state=SessionState.CLOSED, session_id=session.id, allocation=session.allocation))
    assert await fleet.nodes.heartbeat(a_report(registration, running=(session,))) == []


async def test_a_browser_that_is_missing_for_long_has_crashed(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    fleet.clock.step(15 * _SECOND)
    assert len(await fleet.nodes.heartbeat(a_report(registration))) == 1
    fleet.clock.step(_SECOND)
    assert await fleet.nodes.heartbeat(a_report(registration)) == []
    assert _ended(fleet, session) == (SessionState.FAILED, CloseReason.BROWSER_CRASHED)


async def test_a_browser_that_is_still_starting_is_not_missing(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    allocation = (await fleet.create()).allocation
    starting = a_session(state=SessionState.STARTING, allocation=allocation)
    fleet.database.put(starting)
    fleet.clock.step(30 * _SECOND)
    assignments = await fleet.nodes.heartbeat(a_report(registration))
    assert [assignment.session_id for assignment in assignments] == [starting.id]
    assert assignments[0].remaining == starting.timeout


async def test_a_draining_node_keeps_its_sessions_and_gets_no_new_ones(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    assert len(await fleet.nodes.heartbeat(a_report(registration, running=(session,), draining=True))) == 1
    assert fleet.database.node(registration.node_id).state is NodeState.DRAINING
    with pytest.raises(FleetError) as refusal:
        await fleet.create()
    assert refusal.value.reason == "NO_CAPACITY"


async def test_a_silent_node_is_lost_after_its_lease_and_its_sessions_fail(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    await fleet.nodes.give_up_lost()
    fleet.clock.step(LEASE)
    await fleet.nodes.give_up_lost()
    assert fleet.database.node(registration.node_id).state is NodeState.ACTIVE
    fleet.clock.step(_SECOND)
    await fleet.nodes.give_up_lost()
    assert fleet.database.node(registration.node_id).state is NodeState.LOST
    assert _ended(fleet, session) == (SessionState.FAILED, CloseReason.NODE_LOST)
    with pytest.raises(RegistrationEnded):
        await fleet.nodes.heartbeat(a_report(registration))


async def test_silence_proves_nothing_until_the_database_has_answered_for_a_whole_lease(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    fleet.clock.step(10 * LEASE)
    await fleet.nodes.give_up_lost()
    assert fleet.database.node(registration.node_id).state is NodeState.ACTIVE
    fleet.clock.step(LEASE - _SECOND)
    fleet.database.fails_with = DatabaseUnavailable("The database does not answer.")
    with pytest.raises(DatabaseUnavailable):
        await fleet.nodes.give_up_lost()
    fleet.database.fails_with = None
    for step in (_SECOND, LEASE - _SECOND):
        fleet.clock.step(step)
        await fleet.nodes.give_up_lost()
        assert fleet.database.node(registration.node_id).state is NodeState.ACTIVE
    fleet.clock.step(_SECOND)
    await fleet.nodes.give_up_lost()
    assert fleet.database.node(registration.node_id).state is NodeState.LOST


async def test_a_node_that_beats_is_never_lost(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    for _ in range(10):
        fleet.clock.step(5 * _SECOND)
        await fleet.nodes.heartbeat(a_report(registration))
        await fleet.nodes.give_up_lost()
    assert fleet.database.node(registration.node_id).state is NodeState.ACTIVE


async def test_a_lost_node_comes_back_by_registering(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    await fleet.nodes.give_up_lost()
    fleet.clock.step(2 * LEASE)
    await fleet.nodes.give_up_lost()
    assert fleet.database.node(registration.node_id).state is NodeState.LOST
    again = await fleet.with_node()
    assert again.node_id == registration.node_id
    assert (await fleet.create()).state is SessionState.RUNNING
