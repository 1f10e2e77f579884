"""The queue of the fleet."""

from session_api.domain.browser import BrowserType, Need
from session_api.domain.organization import Limits, Organization
from session_api.domain.queue import Share, Waiting
from session_api.domain.session import SessionState
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import add, numbered, register, save
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION, a_session


async def test_waiting_are_queued_sessions_with_their_browser(database: Database) -> None:
    on = (await register(database)).allocation
    queued = a_session(state=SessionState.QUEUED, browser_type=BrowserType.MSEDGE)
    others = [a_session(state=state, allocation=on) for state in SessionState if state is not SessionState.QUEUED]
    await add(database, queued, *others)
    entry = Waiting(session_id=queued.id, organization_id=ORGANIZATION, need=Need(browser_type=BrowserType.MSEDGE))
    async with database.single() as tx:
        assert await tx.queue.waiting(limit=10) == [entry]
        assert await tx.queue.size() == 1


async def test_each_organizations_oldest_are_waiting_up_to_the_limit(database: Database) -> None:
    own = [a_session(session_id=numbered(n), state=SessionState.QUEUED) for n in (3, 1, 5, 7)]
    foreign = [
        a_session(session_id=numbered(n), state=SessionState.QUEUED, organization_id=OTHER_ORGANIZATION) for n in (8, 9)
    ]
    await add(database, *own, *foreign)

    async def waiting(limit: int) -> set[str]:
        async with database.single() as tx:
            return {entry.session_id for entry in await tx.queue.waiting(limit=limit)}

    assert await waiting(1) == {numbered(n) for n in (1, 8)}
    assert await waiting(3) == {numbered(n) for n in (1, 3, 5, 8, 9)}
    assert await waiting(4) == {numbered(n) for n in (1, 3, 5, 7, 8, 9)}


async def test_who_was_placed_or_ended_does_not_wait(database: Database) -> None:
    on = (await register(database)).allocation
    placed, ended = [a_session(state=SessionState.QUEUED) for _ in range(2)]
    await add(database, placed, ended)
    await save(database, placed.placed(on, now=NOON))
    await save(database, a_session(state=SessionState.FAILED, session_id=ended.id, allocation=on))
    async with database.single() as tx:
        assert await tx.queue.waiting(limit=10) == []
        assert (await tx.queue.size(), await tx.queue.shares()) == (0, {})


async def test_shares_are_the_slots_held_by_those_who_wait_and_what_they_may_have(database: Database) -> None:
    on, limits = (await register(database)).allocation, Limits(max_open_sessions=5)
    async with database.transaction() as tx:
        await tx.organizations.save(Organization(id=ORGANIZATION, limits=limits, weight=2.5))
    everything = [a_session(state=state, allocation=on) for state in SessionState]
    await add(database, *everything, a_session(allocation=on, organization_id=OTHER_ORGANIZATION))
    async with database.single() as tx:
        assert await tx.queue.shares() == {ORGANIZATION: Share(held=3, weight=2.5, limits=limits)}
