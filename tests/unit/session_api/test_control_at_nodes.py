"""Nodes hear who has control: at once where they answer, with the next heartbeat in any case."""

from datetime import timedelta

import pytest

from session_api.domain.errors import NodeUnavailable
from session_api.domain.node import Registration
from session_api.domain.session import Session
from tests.support.fleet_builders import a_caller, a_report
from tests.support.waiting import until
from tests.unit.session_api.fleet import Fleet

_MINUTE = timedelta(minutes=1)


@pytest.fixture
async def registration(fleet: Fleet) -> Registration:
    return await fleet.with_node()


@pytest.fixture
async def session(fleet: Fleet, registration: Registration) -> Session:
    return await fleet.create()


async def _take(fleet: Fleet, session: Session, holder: str = "Ada", *, take_over: bool = False) -> Session:
    return await fleet.plane.leasing.take_control(
        a_caller(), session.id, holder=holder, ttl=_MINUTE, take_over=take_over
    )


async def _hand_back(fleet: Fleet, session: Session, generation: int) -> Session:
    return await fleet.plane.leasing.release_control(a_caller(), session.id, generation=generation)


async def _assigned(fleet: Fleet, registration: Registration, session: Session) -> int:
    """Return the control that a heartbeat tells of."""
    (assignment,) = await fleet.plane.nodes.heartbeat(a_report(registration, running=(session,)))
    return assignment.control_generation


async def test_the_node_hears_who_takes_and_hands_back_control(fleet: Fleet, session: Session) -> None:
    await _take(fleet, session)
    await _take(fleet, session, "Bob", take_over=True)
    await _hand_back(fleet, session, 2)
    assert fleet.gateway.controls == [(session.id, 1, True), (session.id, 2, True), (session.id, 2, False)]


async def test_the_node_hears_nothing_of_what_changes_nothing(fleet: Fleet, session: Session) -> None:
    await _take(fleet, session)
    await _take(fleet, session)
    await _hand_back(fleet, session, 7)
    assert fleet.gateway.controls == [(session.id, 1, True)]


async def test_the_node_hears_that_control_ran_out(fleet: Fleet, session: Session) -> None:
    await _take(fleet, session)
    fleet.clock.step(_MINUTE)
    await fleet.plane.reaping.reap(session.id)
    await until(lambda: len(fleet.gateway.controls) == 2)
    assert fleet.gateway.controls[-1] == (session.id, 1, False)


async def test_a_heartbeat_tells_who_has_control(fleet: Fleet, registration: Registration, session: Session) -> None:
    assert await _assigned(fleet, registration, session) == 0
    await _take(fleet, session)
    assert await _assigned(fleet, registration, session) == 1
    await _hand_back(fleet, session, 1)
    assert await _assigned(fleet, registration, session) == 0


async def test_control_is_taken_also_where_the_node_does_not_answer(
    fleet: Fleet, registration: Registration, session: Session
) -> None:
    fleet.gateway.control_fails_with = NodeUnavailable("The node does not answer.")
    assert (await _take(fleet, session)).control is not None
    assert await _assigned(fleet, registration, session) == 1
    fleet.clock.step(_MINUTE)
    assert (await fleet.plane.reaping.reap(session.id)).control is None
    assert await _assigned(fleet, registration, session) == 0


async def test_the_end_of_a_session_is_no_news_of_control(fleet: Fleet, session: Session) -> None:
    await _take(fleet, session)
    await fleet.close(session)
    assert len(fleet.gateway.controls) == 1
