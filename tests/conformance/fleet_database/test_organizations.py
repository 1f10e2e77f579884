"""Organizations, and what they have used."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from fleetkit.paging import PageRequest
from session_api.domain.errors import OrganizationNotFound
from session_api.domain.identifiers import OrganizationId
from session_api.domain.organization import Consumption, Limits, Organization
from session_api.domain.session import SessionState
from session_api.domain.usage import UsageRecord
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import HOUR, MINUTE, Subject, add, present, register
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION, a_session, a_session_id
from tests.support.waiting import eventually

_LIMITS = Limits(max_open_sessions=0, max_creates_per_minute=2, max_minutes_per_day=3, max_timeout=timedelta(hours=30))
_UNKNOWN = OrganizationId("o_unknown")


async def _stored(database: Database, organization_id: OrganizationId) -> Organization:
    async with database.single() as tx:
        return await tx.organizations.get(organization_id)


async def test_an_organization_comes_back_as_it_was_added_at_the_databases_time(database: Database) -> None:
    before = await present(database)
    organization = Organization(id=_UNKNOWN, limits=_LIMITS, weight=0.5)
    async with database.transaction() as tx:
        assert await tx.organizations.add(organization)
    stored = await _stored(database, _UNKNOWN)
    assert replace(stored, create_time=None) == organization
    assert stored.create_time is not None
    assert before <= stored.create_time <= await present(database)


async def test_an_id_that_is_taken_is_not_added_and_nothing_changes(database: Database) -> None:
    before = await _stored(database, ORGANIZATION)
    async with database.transaction() as tx:
        assert not await tx.organizations.add(Organization(id=ORGANIZATION, limits=_LIMITS, weight=9.0))
    assert await _stored(database, ORGANIZATION) == before


async def test_limits_and_weight_are_saved_and_can_be_taken_back(database: Database) -> None:
    before = await _stored(database, ORGANIZATION)
    changed = replace(before, limits=_LIMITS, weight=3.0)
    for organization in (changed, before):
        async with database.transaction() as tx:
            await tx.organizations.save(replace(organization, create_time=None))
        assert await _stored(database, ORGANIZATION) == organization


async def test_an_organization_that_never_was_is_not_found(database: Database) -> None:
    async with database.transaction() as tx:
        with pytest.raises(OrganizationNotFound):
            await tx.organizations.get(_UNKNOWN)
        with pytest.raises(OrganizationNotFound):
            await tx.organizations.save(Organization(id=_UNKNOWN))


async def test_pages_of_organizations_go_by_id_and_end(database: Database) -> None:
    async with database.transaction() as tx:
        assert await tx.organizations.add(Organization(id=OrganizationId("o_between")))
    async with database.single() as tx:
        first = await tx.organizations.page(PageRequest(size=2))
        second = await tx.organizations.page(PageRequest(size=2, after=first.next_after))
    assert [row.id for row in first.items] == [ORGANIZATION, "o_between"]
    assert ([row.id for row in second.items], second.next_after) == ([OTHER_ORGANIZATION], None)


async def test_open_sessions_are_those_that_hold_a_slot(database: Database) -> None:
    on = (await register(database)).allocation
    await add(database, *(a_session(state=state, allocation=on) for state in SessionState))
    await add(database, a_session(allocation=on, organization_id=OTHER_ORGANIZATION))
    async with database.transaction() as tx:
        used = await tx.organizations.lock_consumption(ORGANIZATION, now=NOON)
    assert used.open_sessions == 3


async def test_creates_of_the_last_minute_count_whatever_became_of_them(database: Database) -> None:
    on, now = (await register(database)).allocation, await present(database)
    recent = [a_session(state=state, allocation=on, now=now - MINUTE / 2) for state in SessionState]
    old = a_session(allocation=on, now=now - MINUTE)
    await add(database, *recent, old, a_session(allocation=on, now=now, organization_id=OTHER_ORGANIZATION))
    async with database.transaction() as tx:
        used = await tx.organizations.lock_consumption(ORGANIZATION, now=now)
    assert used.creates_last_minute == len(recent)


async def test_todays_time_is_that_since_midnight_of_ended_and_of_open_sessions(database: Database) -> None:
    on = (await register(database)).allocation
    records = [
        _record(start=-13 * HOUR, end=-11 * HOUR),
        _record(start=-2 * HOUR, end=-HOUR),
        _record(start=-20 * HOUR, end=-12 * HOUR),
        _record(start=-HOUR, end=0 * HOUR, organization_id=OTHER_ORGANIZATION),
    ]
    since_yesterday = a_session(allocation=on, now=NOON - 14 * HOUR)
    since_today = a_session(allocation=on, now=NOON - HOUR / 2, state=SessionState.CLOSING)
    starting = a_session(allocation=on, now=NOON - HOUR, state=SessionState.STARTING)
    ended = a_session(allocation=on, now=NOON - HOUR, state=SessionState.CLOSED)
    foreign = a_session(allocation=on, now=NOON - HOUR, organization_id=OTHER_ORGANIZATION)
    await add(database, since_yesterday, since_today, starting, ended, foreign)
    async with database.transaction() as tx:
        for record in records:
            await tx.usage.add(record)
        used = await tx.organizations.lock_consumption(ORGANIZATION, now=NOON)
    assert used.used_today == HOUR + HOUR + 12 * HOUR + HOUR / 2


async def test_whoever_uses_nothing_has_used_nothing(database: Database) -> None:
    nothing = Consumption(open_sessions=0, creates_last_minute=0, used_today=timedelta(0))
    async with database.transaction() as tx:
        assert await tx.organizations.lock_consumption(ORGANIZATION, now=NOON) == nothing
        assert await tx.organizations.lock_consumption(_UNKNOWN, now=NOON) == nothing


async def test_whoever_waited_to_count_counts_what_the_other_added(subject: Subject, database: Database) -> None:
    on = (await register(database)).allocation

    async def count() -> int:
        async with database.transaction() as tx:
            return (await tx.organizations.lock_consumption(ORGANIZATION, now=NOON)).open_sessions

    async with database.transaction() as tx:
        await tx.organizations.lock_consumption(ORGANIZATION, now=NOON)
        second = asyncio.create_task(count())
        await eventually(subject.is_somebody_waiting, within=10, what="the second waits")
        await tx.sessions.add(a_session(allocation=on))
    assert await second == 1


def _record(*, start: timedelta, end: timedelta, organization_id: OrganizationId = ORGANIZATION) -> UsageRecord:
    return UsageRecord(
        session_id=a_session_id(),
        epoch=1,
        organization_id=organization_id,
        start_time=NOON + start,
        end_time=NOON + end,
    )
