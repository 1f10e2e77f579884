"""Nodes that fall silent: when that proves something, and what becomes of their sessions."""

from datetime import timedelta

import pytest

from fleetkit.postgres import DatabaseUnavailable
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import RegistrationEnded
from session_api.domain.node import NodeState, Registration
from session_api.domain.session import SessionState
from session_api.usecases.reaping import NodesReaped
from tests.support.fleet_builders import a_report
from tests.unit.session_api.fleet import LEASE, Fleet

_SECOND = timedelta(seconds=1)
_NOTHING = NodesReaped(lost=0, failed=0, drained=0)


async def _pass_time(fleet: Fleet, span: timedelta, *, every: timedelta = 2 * _SECOND) -> list[NodesReaped]:
    """Step through time with a pass over the nodes now and then, and one at the end."""
    passes, left = [await fleet.plane.reaping.reap_nodes()], span
    while left > timedelta(0):
        fleet.clock.step(min(every, left))
        left -= every
        passes.append(await fleet.plane.reaping.reap_nodes())
    return passes


def _state(fleet: Fleet, registration: Registration) -> NodeState:
    return fleet.database.node(registration.node_id).state


async def test_a_silent_node_is_lost_after_its_lease_and_its_sessions_fail(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    session, other = await fleet.create(), await fleet.create()
    assert set(await _pass_time(fleet, LEASE)) == {_NOTHING}
    assert _state(fleet, registration) is NodeState.ACTIVE
    assert (await _pass_time(fleet, _SECOND))[-1] == NodesReaped(lost=1, failed=2, drained=0)
    assert _state(fleet, registration) is NodeState.LOST
    for lost in (session, other):
        stored = fleet.database.session(lost.id)
        assert (stored.state, stored.close_reason) == (SessionState.FAILED, CloseReason.NODE_LOST)
    assert f"fleet.v1.node.{registration.node_id}.lost" in [news.subject for news in fleet.database.outbox]
    assert len(fleet.database.usage()) == 2


async def test_a_node_is_lost_once(fleet: Fleet) -> None:
    await fleet.with_node()
    assert sum(done.lost for done in await _pass_time(fleet, 3 * LEASE)) == 1
    subjects = [news.subject for news in fleet.database.outbox]
    assert len([subject for subject in subjects if subject.endswith(".lost")]) == 1


async def test_a_lost_node_is_not_heard_and_comes_back_by_registering(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    await _pass_time(fleet, LEASE + _SECOND)
    with pytest.raises(RegistrationEnded):
        await fleet.plane.nodes.heartbeat(a_report(registration))
    again = await fleet.with_node()
    assert again.node_id == registration.node_id
    assert (await fleet.create()).state is SessionState.RUNNING


async def test_a_node_that_beats_is_never_lost(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    for _ in range(10):
        await _pass_time(fleet, 5 * _SECOND)
        await fleet.plane.nodes.heartbeat(a_report(registration))
    assert _state(fleet, registration) is NodeState.ACTIVE


async def test_silence_before_the_first_pass_proves_nothing(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    fleet.clock.step(10 * LEASE)
    assert set(await _pass_time(fleet, LEASE - _SECOND)) == {_NOTHING}
    assert _state(fleet, registration) is NodeState.ACTIVE
    await _pass_time(fleet, _SECOND)
    assert _state(fleet, registration) is NodeState.LOST


@pytest.mark.parametrize("gap", [6 * _SECOND + timedelta(microseconds=1), 60 * _SECOND, timedelta(days=1)])
async def test_after_a_gap_in_the_passes_nobody_is_given_up_for_a_lease(fleet: Fleet, gap: timedelta) -> None:
    registration = await fleet.with_node()
    await _pass_time(fleet, LEASE - _SECOND)
    fleet.clock.step(gap)
    assert set(await _pass_time(fleet, LEASE - _SECOND)) == {_NOTHING}
    assert _state(fleet, registration) is NodeState.ACTIVE
    await _pass_time(fleet, _SECOND)
    assert _state(fleet, registration) is NodeState.LOST


async def test_passes_that_the_database_did_not_answer_are_no_passes(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    await _pass_time(fleet, LEASE - _SECOND)
    fleet.database.fails_with = DatabaseUnavailable("The database does not answer.")
    for _ in range(5):
        fleet.clock.step(2 * _SECOND)
        with pytest.raises(DatabaseUnavailable):
            await fleet.plane.reaping.reap_nodes()
    fleet.database.fails_with = None
    await _pass_time(fleet, LEASE - _SECOND)
    assert _state(fleet, registration) is NodeState.ACTIVE


async def test_a_pass_that_comes_a_little_late_is_no_gap(fleet: Fleet) -> None:
    registration = await fleet.with_node()
    await _pass_time(fleet, LEASE + _SECOND, every=6 * _SECOND)
    assert _state(fleet, registration) is NodeState.LOST


async def test_a_session_that_a_replica_left_on_a_lost_node_fails_with_the_next_pass(fleet: Fleet) -> None:
    await fleet.with_node()
    session = await fleet.create()
    await _pass_time(fleet, LEASE + _SECOND)
    fleet.database.put(session)
    assert await fleet.plane.reaping.reap_nodes() == NodesReaped(lost=0, failed=1, drained=0)
