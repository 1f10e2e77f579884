"""Heartbeats, and nodes that send none."""

from datetime import timedelta

import pytest

from session_api.domain.identifiers import NodeId
from session_api.domain.node import Node, NodeReport, NodeState, Pressure, Registration
from session_api.domain.session import IdlePolicy
from session_api.usecases.ports import Beat, Database
from tests.conformance.fleet_database.subject import MINUTE, add, present, register, save_node, stored_node
from tests.support.fleet_builders import NOON, a_report, a_session


def _report(
    node: Node, *, registration_id: str = "reg_1", draining: bool = False, pressure: Pressure | None = None
) -> NodeReport:
    registration = Registration(node_id=node.id, registration_id=registration_id)
    return a_report(registration, draining=draining, pressure=pressure)


async def _beat(database: Database, report: NodeReport) -> Beat | None:
    async with database.single() as tx:
        return await tx.nodes.beat(report)


async def test_a_heartbeat_is_taken_at_the_databases_present_instant(database: Database) -> None:
    node, before = await register(database), await present(database)
    beat = await _beat(database, _report(node))
    assert beat is not None
    assert before <= beat.now <= await present(database)
    assert (await stored_node(database, node.id)).heartbeat_time == beat.now


async def test_what_a_node_reported_counts_as_stored_once_the_next_report_has_come(database: Database) -> None:
    node = await register(database)
    first = await _beat(database, _report(node))
    assert first is not None
    assert (await stored_node(database, node.id)).report_time == node.heartbeat_time
    await _beat(database, _report(node))
    assert (await stored_node(database, node.id)).report_time == first.now


async def test_a_heartbeat_of_another_registration_is_refused_and_changes_nothing(database: Database) -> None:
    await register(database)
    node = await register(database, registration_id="reg_2")
    assert await _beat(database, _report(node, registration_id="reg_1", draining=True)) is None
    unknown = a_report(Registration(node_id=NodeId("nod_unknown"), registration_id="reg_2"))
    assert await _beat(database, unknown) is None
    assert await stored_node(database, node.id) == node


async def test_a_heartbeat_says_what_a_session_had(database: Database) -> None:
    node = await register(database)
    idle = a_session(allocation=node.allocation, idle=IdlePolicy(timeout=MINUTE))
    await add(database, idle, a_session(allocation=node.allocation))
    registration = Registration(node_id=node.id, registration_id="reg_1")
    async with database.transaction() as tx:
        report = a_report(registration, running=(idle,), clients=2, viewers=3)
        await tx.sessions.record_activity(report, now=NOON)
        beat = await tx.nodes.beat(report)
    assert beat is not None
    known = {held.session_id == idle.id: held for held in beat.held}
    assert (known[True].client_count, known[True].viewer_count, known[True].has_idle_timeout) == (2, 3, True)
    assert (known[False].client_count, known[False].viewer_count, known[False].has_idle_timeout) == (0, 0, False)


async def test_a_node_that_stops_says_so_until_it_does_not(database: Database) -> None:
    node, states = await register(database), []
    for draining in (True, False):
        await _beat(database, _report(node, draining=draining))
        states.append((await stored_node(database, node.id)).state)
        async with database.transaction() as tx:
            assert await tx.nodes.take_slot(node) is not draining
    assert states == [NodeState.DRAINING, NodeState.ACTIVE]


async def test_a_cordoned_node_that_stops_drains_and_is_cordoned_again(database: Database) -> None:
    node, states = await save_node(database, (await register(database)).cordoned()), []
    for draining in (True, False):
        await _beat(database, _report(node, draining=draining))
        states.append((await stored_node(database, node.id)).state)
    assert states == [NodeState.DRAINING, NodeState.CORDONED]


async def test_stopping_ends_with_a_registration(database: Database) -> None:
    node = await register(database)
    await _beat(database, _report(node, draining=True, pressure=Pressure(cpu=1.0, memory=1.0)))
    again = await register(database, registration_id="reg_2")
    assert (again.state, again.pressure) == (NodeState.ACTIVE, None)


async def test_pressure_is_the_last_reports(database: Database) -> None:
    node, pressure = await register(database), Pressure(cpu=0.3, memory=0.7)
    await _beat(database, _report(node, pressure=pressure))
    assert (await stored_node(database, node.id)).pressure == pressure
    await _beat(database, _report(node))
    assert (await stored_node(database, node.id)).pressure is None


async def test_silent_nodes_are_given_up_once_and_do_not_come_back_by_a_heartbeat(database: Database) -> None:
    silent = await register(database)
    alive = await register(database, name="node-b", now=NOON + MINUTE)
    async with database.transaction() as tx:
        lost = await tx.nodes.give_up(silent_since=NOON + MINUTE)
        assert [(node.id, node.name, node.state) for node in lost] == [(silent.id, silent.name, NodeState.LOST)]
        assert await tx.nodes.give_up(silent_since=NOON + MINUTE) == []
    assert await _beat(database, _report(silent)) is None
    assert lost == [await stored_node(database, silent.id)]
    assert (await stored_node(database, alive.id)).state is NodeState.ACTIVE
    assert (await register(database, registration_id="reg_2")).state is NodeState.ACTIVE


async def test_cordoned_and_stopping_nodes_are_given_up_too(database: Database) -> None:
    cordoned, draining = await register(database), await register(database, name="node-b")
    await save_node(database, cordoned.cordoned())
    await save_node(database, draining.draining(by=NOON))
    async with database.transaction() as tx:
        lost = await tx.nodes.give_up(silent_since=NOON + MINUTE)
    assert {node.id for node in lost} == {cordoned.id, draining.id}


async def test_a_lost_node_gives_no_slot(database: Database) -> None:
    node = await register(database)
    async with database.transaction() as tx:
        await tx.nodes.give_up(silent_since=NOON + MINUTE)
        assert not await tx.nodes.take_slot(node)


@pytest.mark.parametrize(("gap", "starts_anew"), [(MINUTE, False), (MINUTE * 1.01, True)])
async def test_a_watch_without_a_longer_gap_goes_on(database: Database, gap: timedelta, starts_anew: bool) -> None:
    second = NOON + MINUTE
    third = second + gap
    async with database.transaction() as tx:
        assert await tx.nodes.watch(now=NOON, longest_gap=MINUTE) == NOON
    async with database.transaction() as tx:
        assert await tx.nodes.watch(now=second, longest_gap=MINUTE) == NOON
    async with database.transaction() as tx:
        assert await tx.nodes.watch(now=third, longest_gap=MINUTE) == (third if starts_anew else NOON)


async def test_heartbeats_are_taken_together(database: Database) -> None:
    first, second = await register(database, name="node-a"), await register(database, name="node-b")
    old = await register(database, name="node-c")
    await register(database, name="node-c", registration_id="reg_2")
    held = a_session(allocation=second.allocation)
    await add(database, held)
    unknown = a_report(Registration(node_id=NodeId("nod_unknown"), registration_id="reg_1"))
    reports = [_report(first, draining=True), _report(second), _report(old), unknown]
    async with database.single() as tx:
        beats = await tx.nodes.beats(reports)
    assert beats.keys() == {report.node_id for report in reports}
    assert beats[old.id] is None
    assert beats[unknown.node_id] is None
    of_first, of_second = beats[first.id], beats[second.id]
    assert of_first is not None
    assert of_second is not None
    assert (of_first.held, [one.session_id for one in of_second.held]) == ([], [held.id])
    assert (await stored_node(database, first.id)).state is NodeState.DRAINING
    for node, beat in ((first, of_first), (second, of_second)):
        assert (await stored_node(database, node.id)).heartbeat_time == beat.now


async def test_heartbeats_that_are_taken_together_wait_for_no_node(postgres_database: Database) -> None:
    busy, free = await register(postgres_database, name="node-a"), await register(postgres_database, name="node-b")
    async with postgres_database.transaction() as other:
        await other.nodes.lock(busy.id)
        async with postgres_database.single() as tx:
            beats = await tx.nodes.beats([_report(busy), _report(free)])
    assert beats.keys() == {free.id}
