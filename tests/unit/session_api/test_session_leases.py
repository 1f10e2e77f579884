"""Who holds a session, and who has control of it."""

from datetime import timedelta

import pytest

from session_api.domain.errors import ControlTaken, SessionOccupied
from session_api.domain.leases import ControlLease, HolderKind, Occupancy
from session_api.domain.session import Session
from tests.support.fleet_builders import NOON, a_session

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)


def _held(ttl: timedelta | None = _MINUTE) -> Session:
    return a_session().occupied(HolderKind.TASK, "run-1", now=NOON, ttl=ttl)


def _controlled() -> Session:
    return a_session().controlled("Ada", now=NOON, ttl=_MINUTE)


# ---- occupancy


def test_the_first_holder_gets_the_first_generation() -> None:
    assert _held().occupancy == Occupancy(
        kind=HolderKind.TASK, holder_id="run-1", generation=1, occupy_time=NOON, expire_time=NOON + _MINUTE
    )


def test_a_holder_renews_under_its_generation_and_that_is_no_news() -> None:
    held = _held()
    renewed = held.occupied(HolderKind.TASK, "run-1", now=NOON + 59 * _SECOND, ttl=_MINUTE)
    assert renewed.occupancy is not None
    assert (renewed.occupancy.generation, renewed.occupancy.occupy_time) == (1, NOON)
    assert renewed.occupancy.expire_time == NOON + 59 * _SECOND + _MINUTE
    assert (renewed.sequence, renewed.holdings) == (held.sequence, 1)


def test_a_holder_may_stay_to_the_end_of_the_session() -> None:
    held = _held().occupied(HolderKind.TASK, "run-1", now=NOON, ttl=None)
    assert held.occupancy is not None
    assert held.occupancy.expire_time is None


@pytest.mark.parametrize(("kind", "holder_id"), [(HolderKind.TASK, "run-2"), (HolderKind.AGENT, "run-1")])
def test_a_second_holder_is_told_who_has_the_session(kind: HolderKind, holder_id: str) -> None:
    with pytest.raises(SessionOccupied) as refusal:
        _held().occupied(kind, holder_id, now=NOON + 59 * _SECOND, ttl=_MINUTE)
    assert refusal.value.metadata == {"holder_kind": "TASK", "holder_id": "run-1", "generation": "1"}
    assert refusal.value.message == "The session is held by the task run-1."


@pytest.mark.parametrize("holder_id", ["run-1", "run-2"])
def test_a_lease_that_ran_out_gives_way_to_the_next_generation(holder_id: str) -> None:
    session = _held().occupied(HolderKind.TASK, holder_id, now=NOON + _MINUTE, ttl=None)
    assert session.occupancy is not None
    assert (session.occupancy.holder_id, session.occupancy.generation) == (holder_id, 2)


def test_a_release_ends_the_holding_that_it_names() -> None:
    held = _held()
    released = held.released(1, now=NOON)
    assert (released.occupancy, released.sequence) == (None, held.sequence + 1)
    again = released.occupied(HolderKind.AGENT, "a", now=NOON, ttl=None)
    assert again.occupancy is not None
    assert again.occupancy.generation == 2


@pytest.mark.parametrize("generation", [1, 3])
def test_a_release_of_another_holding_changes_nothing(generation: int) -> None:
    second = _held().released(1, now=NOON).occupied(HolderKind.TASK, "run-2", now=NOON, ttl=None)
    assert second.released(generation, now=NOON) is second


def test_a_session_that_nobody_holds_is_released_by_nothing() -> None:
    session = a_session()
    assert session.released(1, now=NOON) is session


# ---- control


def test_the_first_person_gets_control() -> None:
    assert _controlled().control == ControlLease(holder="Ada", generation=1, take_time=NOON, expire_time=NOON + _MINUTE)


def test_the_same_person_prolongs_control_and_that_is_no_news() -> None:
    taken = _controlled()
    prolonged = taken.controlled("Ada", now=NOON + 30 * _SECOND, ttl=_MINUTE)
    assert prolonged.control is not None
    assert (prolonged.control.generation, prolonged.control.take_time) == (1, NOON)
    assert prolonged.control.expire_time == NOON + 90 * _SECOND
    assert prolonged.sequence == taken.sequence


def test_a_second_person_is_told_who_has_control() -> None:
    with pytest.raises(ControlTaken) as refusal:
        _controlled().controlled("Bob", now=NOON, ttl=_MINUTE)
    assert refusal.value.metadata == {"holder": "Ada", "generation": "1"}


def test_control_can_be_taken_over() -> None:
    taken = _controlled().controlled("Bob", now=NOON, ttl=_MINUTE, take_over=True)
    assert taken.control is not None
    assert (taken.control.holder, taken.control.generation) == ("Bob", 2)
    assert taken.uncontrolled(1, now=NOON) is taken


@pytest.mark.parametrize("person", ["Ada", "Bob"])
def test_control_that_ran_out_is_anybodys(person: str) -> None:
    taken = _controlled().controlled(person, now=NOON + _MINUTE, ttl=_MINUTE)
    assert taken.control is not None
    assert (taken.control.holder, taken.control.generation) == (person, 2)


def test_control_is_handed_back_once() -> None:
    taken = _controlled()
    back = taken.uncontrolled(1, now=NOON)
    assert (back.control, back.sequence) == (None, taken.sequence + 1)
    assert back.uncontrolled(1, now=NOON) is back


def test_a_holder_and_a_person_do_not_get_in_each_others_way() -> None:
    both = _held().controlled("Ada", now=NOON, ttl=_MINUTE)
    assert both.released(1, now=NOON).control == both.control
    assert both.uncontrolled(1, now=NOON).occupancy == both.occupancy
