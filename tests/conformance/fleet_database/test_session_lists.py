"""Which sessions are listed, and in what order."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from fleetkit.paging import PageRequest
from session_api.domain.browser import BrowserType
from session_api.domain.close_reason import CloseReason
from session_api.domain.session import Session, SessionState
from session_api.usecases.ports import Database
from session_api.usecases.queries import SessionOrder, SessionQuery
from tests.conformance.fleet_database.subject import (
    HOUR,
    MINUTE,
    add,
    listed,
    numbered,
    pages,
    present,
    register,
    save,
)
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION, a_session

_SECOND = timedelta(seconds=1)


async def test_pages_are_newest_first_and_end(database: Database) -> None:
    await add(database, *(a_session(session_id=numbered(n), state=SessionState.QUEUED) for n in range(5)))
    in_order = [numbered(n) for n in (4, 3, 2, 1, 0)]
    assert await pages(database, SessionQuery(), 2) == [in_order[:2], in_order[2:4], in_order[4:]]
    assert await pages(database, SessionQuery(), 5) == [in_order]
    assert await pages(database, SessionQuery(organization_id=OTHER_ORGANIZATION), 5) == [[]]


async def test_oldest_first_is_the_other_way_round(database: Database) -> None:
    await add(database, *(a_session(session_id=numbered(n), state=SessionState.QUEUED) for n in range(5)))
    query = SessionQuery(order=SessionOrder.OLDEST)
    assert await pages(database, query, 3) == [[numbered(n) for n in (0, 1, 2)], [numbered(n) for n in (3, 4)]]


async def test_by_deadline_only_sessions_with_one_are_listed_and_ids_break_ties(database: Database) -> None:
    on = (await register(database)).allocation
    minutes = {1: 30, 2: 10, 3: 20, 4: 10, 5: 30}
    running = [a_session(session_id=numbered(n), allocation=on, timeout=m * MINUTE) for n, m in minutes.items()]
    await add(database, *running, a_session(session_id=numbered(6), state=SessionState.STARTING, allocation=on))
    in_order = [numbered(n) for n in (2, 4, 3, 1, 5)]
    for size in (1, 2, 5):
        first = await pages(database, SessionQuery(order=SessionOrder.EXPIRING_FIRST), size)
        last = await pages(database, SessionQuery(order=SessionOrder.EXPIRING_LAST), size)
        assert [session_id for page in first for session_id in page] == in_order
        assert [session_id for page in last for session_id in page] == in_order[::-1]


@pytest.mark.parametrize("order", list(SessionOrder))
async def test_pages_stay_whole_while_sessions_are_added(database: Database, order: SessionOrder) -> None:
    on = (await register(database)).allocation

    def session(number: int) -> Session:
        return a_session(session_id=numbered(number), allocation=on, timeout=10 * number * MINUTE)

    query = SessionQuery(order=order)
    await add(database, *map(session, (2, 4, 6, 8)))
    async with database.single() as tx:
        first = await tx.sessions.page(query, PageRequest(size=2))
    await add(database, *map(session, (1, 3, 5, 7, 9)))
    async with database.single() as tx:
        second = await tx.sessions.page(query, PageRequest(size=9, after=first.next_after))
    seen = [found.id for found in first.items + second.items]
    assert len(set(seen)) == len(seen)
    assert {numbered(n) for n in (2, 4, 6, 8)} <= set(seen)
    assert seen == sorted(seen, reverse=order in {SessionOrder.NEWEST, SessionOrder.EXPIRING_LAST})


async def test_a_list_is_narrowed_by_state_node_and_organization(database: Database) -> None:
    here, there = (await register(database)).allocation, (await register(database, name="node-b")).allocation
    running = a_session(session_id=numbered(1), allocation=here)
    closed = a_session(session_id=numbered(2), allocation=here, state=SessionState.CLOSED)
    starting = a_session(session_id=numbered(3), allocation=there, state=SessionState.STARTING)
    foreign = a_session(session_id=numbered(4), allocation=here, organization_id=OTHER_ORGANIZATION)
    await add(database, running, closed, starting, foreign)
    either = SessionQuery(states=(SessionState.CLOSED, SessionState.STARTING))
    assert await listed(database, either) == [starting.id, closed.id]
    assert await listed(database, SessionQuery(node_id=there.node_id)) == [starting.id]
    assert await listed(database, SessionQuery(organization_id=OTHER_ORGANIZATION)) == [foreign.id]
    both = SessionQuery(organization_id=ORGANIZATION, states=(SessionState.RUNNING,))
    assert await listed(database, both) == [running.id]


async def test_a_list_is_narrowed_by_browser_type(database: Database) -> None:
    chrome, edge = [
        a_session(state=SessionState.QUEUED, browser_type=kind) for kind in (BrowserType.CHROME, BrowserType.MSEDGE)
    ]
    await add(database, chrome, edge)
    assert await listed(database, SessionQuery(browser_types=(BrowserType.MSEDGE,))) == [edge.id]
    assert await listed(database, SessionQuery(browser_types=tuple(BrowserType))) == [edge.id, chrome.id]


async def test_a_session_must_have_every_label_with_its_value(database: Database) -> None:
    both = a_session(state=SessionState.QUEUED, labels={"tenant": "t1", "team": "red"})
    one = a_session(state=SessionState.QUEUED, labels={"tenant": "t1"})
    await add(database, both, one, a_session(state=SessionState.QUEUED))
    assert await listed(database, SessionQuery(labels={"tenant": "t1"})) == [one.id, both.id]
    assert await listed(database, SessionQuery(labels={"tenant": "t1", "team": "red"})) == [both.id]
    assert await listed(database, SessionQuery(labels={"tenant": "t2"})) == []
    assert await listed(database, SessionQuery(labels={"team": ""})) == []


async def test_age_counts_from_an_instant_until_before_another(database: Database) -> None:
    early, late = [a_session(state=SessionState.QUEUED, now=NOON + offset) for offset in (MINUTE, 2 * MINUTE)]
    await add(database, early, late)
    assert await listed(database, SessionQuery(create_after=NOON + 2 * MINUTE)) == [late.id]
    assert await listed(database, SessionQuery(create_before=NOON + 2 * MINUTE)) == [early.id]
    assert await listed(database, SessionQuery(create_after=NOON, create_before=NOON + MINUTE)) == []


async def test_deadlines_before_an_instant_are_those_of_sessions_that_have_one(database: Database) -> None:
    on = (await register(database)).allocation
    soon, late = [a_session(allocation=on, timeout=timeout) for timeout in (MINUTE, HOUR)]
    await add(database, soon, late, a_session(allocation=on, state=SessionState.STARTING))
    assert await listed(database, SessionQuery(expire_before=NOON + 2 * MINUTE)) == [soon.id]
    assert await listed(database, SessionQuery(expire_before=NOON + MINUTE)) == []


async def test_due_are_sessions_of_every_state_whose_time_has_come(database: Database) -> None:
    on, now = (await register(database)).allocation, await present(database)
    ages = {
        SessionState.QUEUED: 5 * MINUTE,
        SessionState.STARTING: MINUTE,
        SessionState.CLOSING: MINUTE / 2,
        # The first warning comes five minutes before the deadline.
        SessionState.RUNNING: 55 * MINUTE,
    }
    due = [a_session(state=state, allocation=on, now=now - age - _SECOND) for state, age in ages.items()]
    not_due = [a_session(state=state, allocation=on, now=now - age + HOUR) for state, age in ages.items()]
    ended = [a_session(state=state, allocation=on, now=now - 2 * HOUR) for state in SessionState if state.is_final]
    await add(database, *due, *not_due, *ended)
    assert set(await listed(database, SessionQuery(due_before=now + _SECOND))) == {session.id for session in due}


async def test_nothing_is_due_before_the_databases_clock_says_so(database: Database) -> None:
    on, now = (await register(database)).allocation, await present(database)
    past, future = [a_session(allocation=on, now=now - 55 * MINUTE + offset) for offset in (-HOUR, HOUR)]
    await add(database, past, future)
    assert await listed(database, SessionQuery(due_before=now + 2 * HOUR)) == [past.id]
    assert await listed(database, SessionQuery(due_before=now - 2 * HOUR)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda session, now: session.extended(by=HOUR, now=now),
        lambda session, now: session.closing(now=now, reason=CloseReason.IDLE),
    ],
)
async def test_a_save_moves_what_is_due(database: Database, change: Callable[..., Session]) -> None:
    on, now = (await register(database)).allocation, await present(database)
    session = a_session(allocation=on, now=now - 56 * MINUTE)
    await add(database, session)
    query = SessionQuery(due_before=now + HOUR)
    assert await listed(database, query) == [session.id]
    await save(database, change(session, now))
    assert await listed(database, query) == []


async def test_due_sessions_come_in_pages_too(database: Database) -> None:
    on, now = (await register(database)).allocation, await present(database)
    due = [a_session(session_id=numbered(n), allocation=on, now=now - 2 * HOUR) for n in range(5)]
    await add(database, *due)
    query = SessionQuery(due_before=now, states=tuple(state for state in SessionState if not state.is_final))
    assert [len(page) for page in await pages(database, query, 2)] == [2, 2, 1]
