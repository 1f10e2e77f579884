"""Tasks and agents hold sessions, people control them, on fakes."""

from datetime import timedelta

import pytest

from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import ControlTaken, SessionNotOpen, SessionOccupied
from session_api.domain.leases import HolderKind
from session_api.domain.session import Session, SessionState
from tests.support.fleet_builders import NOON, a_caller, a_session
from tests.unit.session_api.fleet import Fleet

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)


async def _occupy(
    fleet: Fleet,
    session: Session,
    holder_id: str = "run-1",
    *,
    kind: HolderKind = HolderKind.TASK,
    ttl: timedelta | None = _MINUTE,
) -> Session:
    return await fleet.plane.leasing.occupy(a_caller(), session.id, kind=kind, holder_id=holder_id, ttl=ttl)


async def _release(fleet: Fleet, session: Session, generation: int = 1) -> Session:
    return await fleet.plane.leasing.release(a_caller(), session.id, generation=generation)


async def _take(fleet: Fleet, session: Session, holder: str = "Ada", *, take_over: bool = False) -> Session:
    return await fleet.plane.leasing.take_control(
        a_caller(), session.id, holder=holder, ttl=_MINUTE, take_over=take_over
    )


async def _hand_back(fleet: Fleet, session: Session, generation: int = 1) -> Session:
    return await fleet.plane.leasing.release_control(a_caller(), session.id, generation=generation)


@pytest.fixture
async def session(fleet: Fleet) -> Session:
    await fleet.with_node()
    return await fleet.create()


async def test_a_holding_is_stored_and_announced(fleet: Fleet, session: Session) -> None:
    held = await _occupy(fleet, session)
    assert held.occupancy == fleet.database.session(session.id).occupancy
    assert held.occupancy is not None
    assert held.occupancy.expire_time == NOON + _MINUTE
    assert fleet.database.types_of(session.id)[-1] == "occupied"


async def test_a_renewal_is_stored_and_not_announced(fleet: Fleet, session: Session) -> None:
    await _occupy(fleet, session)
    fleet.clock.step(30 * _SECOND)
    await _occupy(fleet, session)
    stored = fleet.database.session(session.id).occupancy
    assert stored is not None
    assert (stored.generation, stored.expire_time) == (1, NOON + 90 * _SECOND)
    assert fleet.database.types_of(session.id).count("occupied") == 1


async def test_a_second_holder_is_refused_and_told_who_has_the_session(fleet: Fleet, session: Session) -> None:
    await _occupy(fleet, session)
    with pytest.raises(SessionOccupied) as refusal:
        await _occupy(fleet, session, "agent-7", kind=HolderKind.AGENT)
    assert (refusal.value.metadata["holder_kind"], refusal.value.metadata["holder_id"]) == ("TASK", "run-1")


async def test_a_holder_that_was_away_too_long_cannot_end_the_next_ones_holding(fleet: Fleet, session: Session) -> None:
    await _occupy(fleet, session)
    fleet.clock.step(_MINUTE)
    await _occupy(fleet, session, "run-2")
    await _release(fleet, session, 1)
    stored = fleet.database.session(session.id).occupancy
    assert stored is not None
    assert stored.holder_id == "run-2"
    assert "released" not in fleet.database.types_of(session.id)


async def test_a_release_frees_the_session_once(fleet: Fleet, session: Session) -> None:
    await _occupy(fleet, session)
    assert (await _release(fleet, session)).occupancy is None
    await _release(fleet, session)
    assert fleet.database.types_of(session.id).count("released") == 1
    held = await _occupy(fleet, session, "run-2")
    assert held.holdings == 2


async def test_control_goes_from_person_to_person(fleet: Fleet, session: Session) -> None:
    await _take(fleet, session)
    with pytest.raises(ControlTaken) as refusal:
        await _take(fleet, session, "Bob")
    assert refusal.value.metadata["holder"] == "Ada"
    taken = await _take(fleet, session, "Bob", take_over=True)
    assert taken.control is not None
    assert (taken.control.holder, taken.control.generation) == ("Bob", 2)
    # What the first person hands back now is not hers any more.
    assert (await _hand_back(fleet, session, 1)).control == taken.control
    assert (await _hand_back(fleet, session, 2)).control is None
    assert fleet.database.types_of(session.id)[-3:] == ["control_taken", "control_taken", "control_released"]


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.RUNNING])
async def test_only_a_running_session_can_be_held_or_controlled(
    fleet: Fleet, session: Session, state: SessionState
) -> None:
    other = a_session(state=state, allocation=session.allocation)
    fleet.database.put(other)
    with pytest.raises(SessionNotOpen):
        await _occupy(fleet, other)
    with pytest.raises(SessionNotOpen):
        await _take(fleet, other)
    # Giving back what one no longer has is no fault.
    assert await _release(fleet, other) == other
    assert await _hand_back(fleet, other) == other


async def test_the_end_of_a_session_ends_both_leases(fleet: Fleet, session: Session) -> None:
    await _occupy(fleet, session, ttl=None)
    await _take(fleet, session)
    ended = await fleet.close(session)
    assert (ended.occupancy, ended.control, ended.close_reason) == (None, None, CloseReason.USER_REQUESTED)
