"""Organizations at their limits: some wait, some are refused, and others notice nothing."""

from datetime import timedelta

import pytest

from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import QuotaExceeded
from session_api.domain.identifiers import OrganizationId
from session_api.domain.organization import Limits, Organization
from session_api.domain.session import SessionState
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION, a_caller
from tests.unit.session_api.fleet import Fleet, a_request

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_AT_ONCE = a_request(queue_timeout=timedelta(0))


# ---- open sessions


async def test_a_session_above_the_quota_waits_until_another_one_of_its_organization_ends(fleet: Fleet) -> None:
    registration = await fleet.with_node(slots=5)
    caller = fleet.limit(Limits(max_open_sessions=1))
    first = await fleet.create(caller=caller)
    queued = await fleet.queue(caller=caller)
    assert await fleet.dispatch() == 0
    await fleet.close(first)
    assert await fleet.dispatch() == 1
    assert fleet.database.session(queued.id).state is SessionState.RUNNING
    assert fleet.slots_used(registration) == 1


async def test_a_session_above_the_quota_that_does_not_wait_is_told_which_quota(fleet: Fleet) -> None:
    await fleet.with_node(slots=5)
    caller = fleet.limit(Limits(max_open_sessions=1))
    await fleet.create(caller=caller)
    with pytest.raises(QuotaExceeded) as refusal:
        await fleet.create(caller=caller, request=_AT_ONCE)
    assert refusal.value.metadata == {"quota": "open_sessions", "limit": "1", "used": "1"}
    assert refusal.value.retry_after is not None
    assert len(fleet.database.sessions()) == 1


async def test_a_session_that_is_starting_or_closing_counts_as_open(fleet: Fleet) -> None:
    await fleet.with_node(slots=5)
    caller = fleet.limit(Limits(max_open_sessions=1))
    fleet.gateway.may_start.clear()
    starting = await fleet.create(caller=caller, wait=timedelta(0))
    assert starting.state is SessionState.STARTING
    with pytest.raises(QuotaExceeded):
        await fleet.create(caller=caller, request=_AT_ONCE)
    fleet.gateway.may_start.set()
    running = await fleet.in_state(starting.id, SessionState.RUNNING)
    fleet.database.put(running.closing(now=NOON, reason=CloseReason.USER_REQUESTED))
    with pytest.raises(QuotaExceeded):
        await fleet.create(caller=caller, request=_AT_ONCE)


async def test_a_raised_quota_lets_those_in_who_wait(fleet: Fleet) -> None:
    await fleet.with_node(slots=5)
    caller = fleet.limit(Limits(max_open_sessions=1))
    await fleet.create(caller=caller)
    await fleet.queue(caller=caller)
    changes = Organization(id=ORGANIZATION, limits=Limits(max_open_sessions=2))
    await fleet.plane.organizations.update(changes, ["limits"])
    assert await fleet.dispatch() == 1


async def test_a_lowered_quota_keeps_those_out_who_wait(fleet: Fleet) -> None:
    await fleet.with_node(slots=5)
    caller = fleet.limit(Limits(max_open_sessions=2))
    first, _ = await fleet.create(caller=caller), await fleet.create(caller=caller)
    await fleet.queue(caller=caller)
    fleet.limit(Limits(max_open_sessions=1))
    await fleet.close(first)
    assert await fleet.dispatch() == 0


# ---- creates per minute


async def test_creates_above_the_rate_are_refused_for_a_while(fleet: Fleet) -> None:
    await fleet.with_node(slots=5)
    caller = fleet.limit(Limits(max_creates_per_minute=2))
    for _ in range(2):
        await fleet.create(caller=caller)
        fleet.clock.step(20 * _SECOND)
    with pytest.raises(QuotaExceeded) as refusal:
        await fleet.create(caller=caller)
    assert refusal.value.metadata == {"quota": "creates_per_minute", "limit": "2", "used": "2"}
    assert refusal.value.retry_after == 30 * _SECOND
    fleet.clock.step(20 * _SECOND)
    assert (await fleet.create(caller=caller)).state is SessionState.RUNNING


async def test_sessions_that_wait_or_have_ended_count_as_created(fleet: Fleet) -> None:
    await fleet.with_node(slots=1)
    caller = fleet.limit(Limits(max_creates_per_minute=3))
    first = await fleet.create(caller=caller)
    await fleet.queue(caller=caller)
    await fleet.close(first)
    await fleet.queue(caller=caller)
    with pytest.raises(QuotaExceeded):
        await fleet.create(caller=caller)


async def test_a_repeated_create_is_not_counted_again(fleet: Fleet) -> None:
    await fleet.with_node()
    caller = fleet.limit(Limits(max_creates_per_minute=1))
    once = a_request(request_id="once")
    first = await fleet.create(caller=caller, request=once)
    assert (await fleet.create(caller=caller, request=once)).id == first.id


# ---- minutes per day


async def test_minutes_of_open_and_ended_sessions_are_used_up_until_midnight(fleet: Fleet) -> None:
    await fleet.with_node(slots=3)
    caller = fleet.limit(Limits(max_minutes_per_day=30))
    first, _ = await fleet.create(caller=caller), await fleet.create(caller=caller)
    fleet.clock.step(10 * _MINUTE)
    await fleet.close(first)
    fleet.clock.step(10 * _MINUTE - _SECOND)
    third = await fleet.create(caller=caller)
    fleet.clock.step(_SECOND)
    with pytest.raises(QuotaExceeded) as refusal:
        await fleet.create(caller=caller)
    assert refusal.value.metadata["quota"] == "minutes_per_day"
    assert refusal.value.retry_after == timedelta(hours=11, minutes=40)
    # Open sessions go on.
    assert fleet.database.session(third.id).state is SessionState.RUNNING


async def test_a_new_day_brings_new_minutes_less_what_is_open(fleet: Fleet) -> None:
    await fleet.with_node(slots=3)
    caller = fleet.limit(Limits(max_minutes_per_day=5))
    await fleet.create(caller=caller, request=a_request(timeout=1440 * _MINUTE))
    fleet.clock.step(timedelta(hours=12, minutes=4, seconds=59))
    assert (await fleet.create(caller=caller)).state is SessionState.RUNNING
    fleet.clock.step(_SECOND)
    with pytest.raises(QuotaExceeded):
        await fleet.create(caller=caller)


@pytest.mark.parametrize(
    "limits", [Limits(max_open_sessions=0), Limits(max_creates_per_minute=0), Limits(max_minutes_per_day=0)]
)
async def test_the_quota_of_one_organization_is_not_anothers(fleet: Fleet, limits: Limits) -> None:
    await fleet.with_node()
    caller = fleet.limit(limits, OrganizationId(OTHER_ORGANIZATION))
    with pytest.raises(QuotaExceeded):
        await fleet.create(caller=caller, request=_AT_ONCE)
    assert (await fleet.create(caller=a_caller(), request=_AT_ONCE)).state is SessionState.RUNNING
