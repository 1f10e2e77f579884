"""Which sessions are listed, and in what order."""

from fleetkit.paging import PageRequest
from session_api.domain.session import NodeId, SessionId, SessionState
from session_api.usecases.ports import Database, SessionQuery
from tests.conformance.fleet_database.subject import MINUTE, add, allocation_on, register
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION, a_session


async def _pages(database: Database, query: SessionQuery, size: int) -> list[list[SessionId]]:
    pages, after = [], None
    while True:
        async with database.transaction() as tx:
            page = await tx.sessions.page(query, PageRequest(size=size, after=after))
        pages.append([session.id for session in page.items])
        after = page.next_after
        if after is None:
            return pages


def _id(number: int) -> SessionId:
    return SessionId(f"pbs_{number:026d}")


async def test_pages_are_newest_first_and_end(database: Database) -> None:
    on = allocation_on(await register(database))
    await add(database, *(a_session(session_id=_id(number), allocation=on) for number in range(5)))
    assert await _pages(database, SessionQuery(), 2) == [[_id(4), _id(3)], [_id(2), _id(1)], [_id(0)]]
    assert await _pages(database, SessionQuery(), 5) == [[_id(4), _id(3), _id(2), _id(1), _id(0)]]
    assert await _pages(database, SessionQuery(organization_id=OTHER_ORGANIZATION), 5) == [[]]


async def test_pages_stay_whole_while_sessions_are_added(database: Database) -> None:
    on = allocation_on(await register(database))
    await add(database, *(a_session(session_id=_id(number), allocation=on) for number in (1, 3, 5, 7)))
    async with database.transaction() as tx:
        first = await tx.sessions.page(SessionQuery(), PageRequest(size=2))
    await add(database, *(a_session(session_id=_id(number), allocation=on) for number in (8, 9)))
    async with database.transaction() as tx:
        second = await tx.sessions.page(SessionQuery(), PageRequest(size=2, after=first.next_after))
    assert [session.id for session in first.items + second.items] == [_id(7), _id(5), _id(3), _id(1)]


async def test_a_list_is_narrowed_by_state_deadline_node_and_organization(database: Database) -> None:
    here, there = allocation_on(await register(database)), allocation_on(await register(database, name="node-b"))
    soon = a_session(session_id=_id(1), allocation=here, timeout=MINUTE)
    late = a_session(session_id=_id(2), allocation=there)
    closed = a_session(session_id=_id(3), allocation=here, state=SessionState.CLOSED)
    starting = a_session(session_id=_id(4), allocation=there, state=SessionState.STARTING)
    foreign = a_session(session_id=_id(5), allocation=here, organization_id=OTHER_ORGANIZATION)
    await add(database, soon, late, closed, starting, foreign)

    async def ids(query: SessionQuery) -> list[SessionId]:
        return (await _pages(database, query, 50))[0]

    assert await ids(SessionQuery(states=(SessionState.CLOSED, SessionState.STARTING))) == [starting.id, closed.id]
    assert await ids(SessionQuery(expire_before=NOON + 2 * MINUTE)) == [soon.id]
    assert await ids(SessionQuery(expire_before=NOON + MINUTE)) == []
    assert await ids(SessionQuery(node_id=NodeId("nod_node-b"))) == [starting.id, late.id]
    assert await ids(SessionQuery(organization_id=OTHER_ORGANIZATION)) == [foreign.id]
    running = SessionQuery(organization_id=ORGANIZATION, states=(SessionState.RUNNING,))
    assert await ids(running) == [late.id, soon.id]


async def test_orphans_are_unfinished_sessions_of_lost_or_reregistered_nodes(database: Database) -> None:
    lost, reborn, well = [await register(database, name=name) for name in ("node-a", "node-b", "node-c")]
    on_lost, on_reborn = a_session(allocation=allocation_on(lost)), a_session(allocation=allocation_on(reborn))
    ended = a_session(allocation=allocation_on(lost), state=SessionState.CLOSED)
    await add(database, on_lost, on_reborn, ended, a_session(allocation=allocation_on(well)))
    await register(database, name="node-b", registration_id="reg_2", now=NOON + MINUTE)
    async with database.transaction() as tx:
        await tx.nodes.beat(well.id, well.registration_id, draining=False, now=NOON + MINUTE)
        assert await tx.nodes.give_up(silent_since=NOON + MINUTE) == [lost.id]
        assert set(await tx.sessions.orphaned(limit=10)) == {on_lost.id, on_reborn.id}
        assert len(await tx.sessions.orphaned(limit=1)) == 1


async def test_unfinished_sessions_are_those_of_the_present_registration(database: Database) -> None:
    node, other = await register(database), await register(database, name="node-b")
    await add(database, a_session(allocation=allocation_on(node)))
    again = await register(database, registration_id="reg_2")
    states = (SessionState.STARTING, SessionState.RUNNING, SessionState.CLOSING)
    unfinished = [a_session(allocation=allocation_on(again), state=state) for state in states]
    await add(database, *unfinished, a_session(allocation=allocation_on(again), state=SessionState.FAILED))
    await add(database, a_session(allocation=allocation_on(other)))
    async with database.transaction() as tx:
        found = await tx.sessions.unfinished_of(node.id)
    assert {session.id for session in found} == {session.id for session in unfinished}


async def test_stuck_sessions_are_those_that_entered_a_state_before_an_instant(database: Database) -> None:
    on = allocation_on(await register(database))
    old = a_session(allocation=on, state=SessionState.STARTING, now=NOON - MINUTE)
    fresh = a_session(allocation=on, state=SessionState.STARTING, now=NOON)
    running = a_session(allocation=on, now=NOON - MINUTE)
    await add(database, old, fresh, running)
    async with database.transaction() as tx:
        assert await tx.sessions.stuck(SessionState.STARTING, since=NOON, limit=10) == [old.id]
        assert await tx.sessions.stuck(SessionState.CLOSING, since=NOON, limit=10) == []
        assert await tx.sessions.stuck(SessionState.STARTING, since=NOON + MINUTE, limit=1) != []
