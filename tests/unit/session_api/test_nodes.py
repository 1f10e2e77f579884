"""Nodes register and report, on fakes."""

from dataclasses import replace
from datetime import timedelta

import pytest

from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import NoCapacity, RegistrationEnded
from session_api.domain.node import NodeState, Pressure
from session_api.domain.session import IdlePolicy, Session, SessionState
from tests.support.fleet_builders import NOON, a_report, a_session
from tests.unit.session_api.fleet import Fleet, a_request

_SECOND = timedelta(seconds=1)


def _ended(fleet: Fleet, session: Session) -> tuple[SessionState, CloseReason | None]:
    now = fleet.database.session(session.id)
    return now.state, now.close_reason


# ---- registrations


async def test_a_node_that_registers_is_announced_and_wakes_the_queue(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    node = fleet.database.node(registration.node_id)
    assert (node.state, node.register_time, node.heartbeat_time) == (NodeState.ACTIVE, NOON, NOON)
    assert [news.subject for news in fleet.database.outbox] == [f"fleet.v1.node.{node.id}.registered"]
    assert fleet.queue_bell.rung > 0


async def test_sessions_of_a_node_that_registers_anew_fail_with_node_lost(fleet: Fleet) -> None:
    first = await fleet.with_node()
    session = await fleet.create()
    second = await fleet.with_node()
    assert second.node_id == first.node_id
    assert second.registration_id != first.registration_id
    assert _ended(fleet, session) == (SessionState.FAILED, CloseReason.NODE_LOST)
    assert fleet.slots_used(second) == 0


async def test_a_late_end_of_a_session_of_an_earlier_life_frees_no_slot_of_the_present_one(fleet: Fleet) -> None:
    await fleet.with_node()
    old = await fleet.create()
    fleet.gateway.may_stop.clear()
    second = await fleet.with_node()
    await fleet.create()
    fleet.gateway.may_stop.set()
    await fleet.close(old)
    assert fleet.slots_used(second) == 1


async def test_a_heartbeat_of_an_earlier_registration_is_refused(fleet: Fleet) -> None:
    first = await fleet.with_node()
    await fleet.with_node()
    with pytest.raises(RegistrationEnded):
        await fleet.plane.nodes.heartbeat(a_report(first))


# ---- what should run


async def test_a_heartbeat_tells_what_should_run_and_for_how_long(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create(request=a_request(timeout=timedelta(minutes=5)))
    fleet.clock.step(timedelta(minutes=1))
    (assignment,) = await fleet.plane.nodes.heartbeat(a_report(registration, running=(session,)))
    assert (assignment.session_id, assignment.epoch) == (session.id, 1)
    assert assignment.remaining == timedelta(minutes=4)


async def test_a_browser_that_the_fleet_does_not_know_is_not_assigned(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    unknown = a_session()
    report = a_report(registration, running=(unknown,), ended=((unknown, CloseReason.BROWSER_CRASHED),))
    assert await fleet.plane.nodes.heartbeat(report) == []


async def test_a_browser_of_an_ended_session_is_not_assigned(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    await fleet.close(session)
    assert await fleet.plane.nodes.heartbeat(a_report(registration, running=(session,))) == []


async def test_a_browser_of_an_earlier_epoch_is_not_the_one_that_should_run(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    stale = replace(session, epoch=7)
    (assignment,) = await fleet.plane.nodes.heartbeat(a_report(registration, running=(stale,), clients=3))
    assert assignment.epoch == 1
    assert fleet.database.session(session.id).client_count == 0


async def test_a_browser_that_is_missing_for_long_has_crashed(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    fleet.clock.step(15 * _SECOND)
    assert len(await fleet.plane.nodes.heartbeat(a_report(registration))) == 1
    fleet.clock.step(_SECOND)
    assert await fleet.plane.nodes.heartbeat(a_report(registration)) == []
    assert _ended(fleet, session) == (SessionState.FAILED, CloseReason.BROWSER_CRASHED)
    assert fleet.slots_used(registration) == 0


async def test_a_browser_that_is_still_starting_is_not_missing(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    allocation = (await fleet.create()).allocation
    starting = a_session(state=SessionState.STARTING, allocation=allocation)
    fleet.database.put(starting)
    fleet.clock.step(30 * _SECOND)
    assignments = await fleet.plane.nodes.heartbeat(a_report(registration))
    assert [assignment.session_id for assignment in assignments] == [starting.id]
    assert assignments[0].remaining == starting.timeout


async def test_a_browser_that_is_being_closed_is_neither_assigned_nor_missing(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    allocation = (await fleet.create()).allocation
    closing = a_session(state=SessionState.CLOSING, allocation=allocation)
    fleet.database.put(closing)
    fleet.clock.step(20 * _SECOND)
    await fleet.plane.nodes.heartbeat(a_report(registration))
    assert fleet.database.session(closing.id) == closing


# ---- what ended


async def test_a_browser_that_ended_by_itself_fails_its_session_and_frees_the_slot(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    report = a_report(registration, ended=((session, CloseReason.OUT_OF_MEMORY),))
    assert await fleet.plane.nodes.heartbeat(report) == []
    assert _ended(fleet, session) == (SessionState.FAILED, CloseReason.OUT_OF_MEMORY)
    assert fleet.database.session(session.id).close_message == "It fell over."
    assert fleet.slots_used(registration) == 0
    # A node repeats itself until it was answered.
    await fleet.plane.nodes.heartbeat(report)
    assert fleet.slots_used(registration) == 0
    assert fleet.database.types_of(session.id).count("failed") == 1
    assert len(fleet.database.usage()) == 1


async def test_a_report_of_an_earlier_epoch_ends_nothing(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    stale = replace(session, epoch=2)
    await fleet.plane.nodes.heartbeat(a_report(registration, ended=((stale, CloseReason.BROWSER_CRASHED),)))
    assert fleet.database.session(session.id).state is SessionState.RUNNING


async def test_a_node_cannot_end_another_nodes_session(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    intruder = await fleet.with_node(name="node-b")
    report = a_report(
        intruder, running=(session,), ended=((session, CloseReason.BROWSER_CRASHED),), clients=5, viewers=5
    )
    assert await fleet.plane.nodes.heartbeat(report) == []
    stored = fleet.database.session(session.id)
    assert (stored.state, stored.client_count, stored.viewer_count) == (SessionState.RUNNING, 0, 0)


# ---- who is connected, how busy it is


async def test_clients_and_viewers_are_stored(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    await fleet.plane.nodes.heartbeat(a_report(registration, running=(session,), clients=2, viewers=1))
    stored = fleet.database.session(session.id)
    assert (stored.client_count, stored.viewer_count) == (2, 1)
    # Nobody's change of the session is disturbed by a report.
    assert stored.revision == 1


@pytest.mark.parametrize("idle", [None, IdlePolicy(timeout=60 * _SECOND)])
async def test_a_report_that_says_nothing_new_writes_no_session(fleet: Fleet, idle: IdlePolicy | None) -> None:
    registration = await fleet.with_node()
    session = await fleet.create(request=a_request(idle=idle))
    for clients, changed in ((2, [session.id]), (2, []), (1, [session.id]), (1, [])):
        async with fleet.database.single() as tx:
            before = await tx.sessions.position()
        fleet.clock.step(_SECOND)
        await fleet.plane.nodes.heartbeat(a_report(registration, running=(session,), clients=clients))
        async with fleet.database.single() as tx:
            changes = await tx.sessions.changes(since=before)
        assert [row.id for row in changes.sessions] == changed


async def test_a_report_says_how_busy_the_machine_is(fleet: Fleet) -> None:
    busy = await fleet.with_node(name="node-a", slots=9)
    quiet = await fleet.with_node(name="node-b", slots=2)
    await fleet.plane.nodes.heartbeat(a_report(busy, pressure=Pressure(cpu=0.95, memory=0.2)))
    session = await fleet.create()
    assert session.require_running().node_id == quiet.node_id


async def test_a_draining_node_keeps_its_sessions_and_gets_no_new_ones(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    report = a_report(registration, running=(session,), draining=True)
    assert len(await fleet.plane.nodes.heartbeat(report)) == 1
    assert fleet.database.node(registration.node_id).state is NodeState.DRAINING
    with pytest.raises(NoCapacity):
        await fleet.create(request=a_request(queue_timeout=timedelta(0)))
