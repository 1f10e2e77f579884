"""Operators look at nodes and empty them, on fakes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from fleetkit.paging import PageRequest
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import NodeNotFound
from session_api.domain.identifiers import NodeId
from session_api.domain.node import NodeState, Registration
from session_api.domain.session import SessionState
from tests.support.fleet_builders import NOON, a_report
from tests.support.waiting import until
from tests.unit.session_api.fleet import Fleet
from tests.unit.session_api.virtual_time import settled

_HOUR = timedelta(hours=1)
_VERBS: dict[str, Callable[[Fleet, NodeId], Awaitable[object]]] = {
    "get": lambda fleet, node_id: fleet.plane.node_operations.get(node_id),
    "cordon": lambda fleet, node_id: fleet.plane.node_operations.cordon(node_id),
    "uncordon": lambda fleet, node_id: fleet.plane.node_operations.uncordon(node_id),
    "drain": lambda fleet, node_id: fleet.plane.node_operations.drain(node_id, timeout=_HOUR),
}


def _news_of(fleet: Fleet, registration: Registration) -> list[str]:
    prefix = f"fleet.v1.node.{registration.node_id}."
    return [news.subject.removeprefix(prefix) for news in fleet.database.outbox if news.subject.startswith(prefix)]


@pytest.mark.parametrize("verb", list(_VERBS))
async def test_a_node_that_never_was_is_not_found(fleet: Fleet, verb: str) -> None:
    with pytest.raises(NodeNotFound):
        await _VERBS[verb](fleet, NodeId("nod_x"))


async def test_a_node_is_shown_with_what_it_holds(fleet: Fleet) -> None:
    registration = await fleet.with_node(slots=3)
    sessions = [await fleet.create(), await fleet.create()]
    await fleet.close(await fleet.create())
    details = await fleet.plane.node_operations.get(registration.node_id)
    assert (details.node.id, details.node.slots_used) == (registration.node_id, 2)
    assert [session.id for session in details.sessions] == [session.id for session in sessions]


async def test_nodes_are_listed_by_id_and_state(fleet: Fleet) -> None:
    nodes = sorted([(await fleet.with_node(name=name)).node_id for name in ("node-a", "node-b", "node-c")])
    await fleet.plane.node_operations.cordon(nodes[1])
    operations = fleet.plane.node_operations
    first = await operations.list([], PageRequest(size=2))
    rest = await operations.list([], PageRequest(size=2, after=first.next_after))
    assert [node.id for node in [*first.items, *rest.items]] == nodes
    cordoned = await operations.list([NodeState.CORDONED], PageRequest())
    assert [node.id for node in cordoned.items] == [nodes[1]]


# ---- cordons


async def test_a_cordoned_node_keeps_its_sessions_and_gets_no_new_ones(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    node = await fleet.plane.node_operations.cordon(registration.node_id)
    assert node.state is NodeState.CORDONED
    await fleet.queue()
    assert await fleet.dispatch() == 0
    assert fleet.database.session(session.id).state is SessionState.RUNNING
    assert len(await fleet.plane.nodes.heartbeat(a_report(registration, running=(session,)))) == 1
    assert fleet.database.node(registration.node_id).state is NodeState.CORDONED


async def test_a_cordon_survives_a_new_registration(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    await fleet.plane.node_operations.cordon(registration.node_id)
    await fleet.with_node()
    assert fleet.database.node(registration.node_id).state is NodeState.CORDONED


async def test_uncordoning_lets_those_in_who_wait(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    await fleet.plane.node_operations.cordon(registration.node_id)
    queued = await fleet.queue()
    rung = fleet.queue_bell.rung
    await fleet.plane.node_operations.uncordon(registration.node_id)
    assert fleet.queue_bell.rung > rung
    assert await fleet.dispatch() == 1
    assert fleet.database.session(queued.id).state is SessionState.RUNNING


async def test_a_verb_is_announced_when_it_changes_something(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    operations = fleet.plane.node_operations
    for _ in range(2):
        await operations.cordon(registration.node_id)
    for _ in range(2):
        await operations.drain(registration.node_id, timeout=_HOUR)
    for _ in range(2):
        await operations.uncordon(registration.node_id)
    assert _news_of(fleet, registration) == ["registered", "cordoned", "draining", "uncordoned"]


# ---- drains


async def test_a_drain_waits_for_sessions_and_closes_what_is_left_at_its_end(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    short, long = await fleet.create(), await fleet.create()
    node = await fleet.plane.node_operations.drain(registration.node_id, timeout=_HOUR)
    assert (node.state, node.drain_time) == (NodeState.DRAINING, NOON + _HOUR)
    await fleet.queue()
    assert await fleet.dispatch() == 0
    await fleet.close(short)
    fleet.clock.step(_HOUR - timedelta(microseconds=1))
    assert (await fleet.plane.reaping.reap_nodes()).drained == 0
    fleet.clock.step(timedelta(microseconds=1))
    assert (await fleet.plane.reaping.reap_nodes()).drained == 1
    closed = await fleet.in_state(long.id, SessionState.CLOSED)
    assert closed.close_reason is CloseReason.NODE_DRAINED
    assert (long.id, CloseReason.NODE_DRAINED) in fleet.gateway.stopped
    assert fleet.slots_used(registration) == 0


async def test_a_drain_that_does_not_wait_closes_everything_and_answers_at_once(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    sessions = [await fleet.create(), await fleet.create()]
    fleet.gateway.may_stop.clear()
    await fleet.plane.node_operations.drain(registration.node_id, timeout=timedelta(0))
    fleet.gateway.may_stop.set()
    for session in sessions:
        closed = await fleet.in_state(session.id, SessionState.CLOSED)
        assert closed.close_reason is CloseReason.NODE_DRAINED
    await until(lambda: fleet.slots_used(registration) == 0)


async def test_a_session_that_is_starting_on_a_drained_node_is_closed_too(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    fleet.gateway.may_start.clear()
    create = asyncio.create_task(fleet.create())
    await fleet.gateway.starting.wait()
    (starting,) = fleet.database.sessions()
    await fleet.plane.node_operations.drain(registration.node_id, timeout=timedelta(0))
    await fleet.in_state(starting.id, SessionState.CLOSED)
    fleet.gateway.may_start.set()
    with pytest.raises(Exception, match="drained"):
        await create


async def test_a_drain_that_is_taken_back_closes_nobody_more(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    await fleet.plane.node_operations.drain(registration.node_id, timeout=timedelta(0))
    await fleet.plane.node_operations.uncordon(registration.node_id)
    await settled()
    assert fleet.database.session(session.id).state is SessionState.RUNNING
    assert fleet.gateway.stopped == []


async def test_passes_over_a_slow_drain_close_a_session_once(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    fleet.gateway.may_stop.clear()
    await fleet.plane.node_operations.drain(registration.node_id, timeout=timedelta(0))
    await fleet.gateway.stopping.wait()
    for _ in range(3):
        await fleet.plane.reaping.reap_nodes()
    fleet.gateway.may_stop.set()
    await fleet.in_state(session.id, SessionState.CLOSED)
    assert fleet.gateway.stopped == [(session.id, CloseReason.NODE_DRAINED)]


async def test_a_drain_ends_when_the_node_comes_back_empty_and_its_cordon_stays(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    await fleet.plane.node_operations.drain(registration.node_id, timeout=_HOUR)
    await fleet.with_node()
    node = fleet.database.node(registration.node_id)
    assert (node.state, node.drain_time) == (NodeState.CORDONED, None)


async def test_a_later_drain_moves_the_end_of_an_earlier_one(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session = await fleet.create()
    for timeout in (_HOUR, 2 * _HOUR):
        await fleet.plane.node_operations.drain(registration.node_id, timeout=timeout)
    fleet.clock.step(_HOUR)
    assert (await fleet.plane.reaping.reap_nodes()).drained == 0
    assert fleet.database.session(session.id).state is SessionState.RUNNING
