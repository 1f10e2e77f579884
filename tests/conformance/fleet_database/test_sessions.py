"""How sessions are stored, found and saved."""

from dataclasses import replace

import pytest

from session_api.domain.errors import SessionChanged, SessionNotFound
from session_api.domain.node import RunningBrowser
from session_api.domain.session import CloseReason, SessionState
from session_api.usecases.ports import Database, SessionExists
from tests.conformance.fleet_database.subject import MINUTE, add, allocation_on, register, stored
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION, a_session, a_session_id


@pytest.mark.parametrize("state", list(SessionState))
async def test_a_session_comes_back_as_it_was_stored(database: Database, state: SessionState) -> None:
    node = await register(database)
    session = replace(
        a_session(state=state, allocation=allocation_on(node)), warnings=("It was capped.",), request_digest="d"
    )
    await add(database, session)
    assert await stored(database, session.id) == session


async def test_a_session_that_never_was_is_not_found(database: Database) -> None:
    async with database.transaction() as tx:
        with pytest.raises(SessionNotFound):
            await tx.sessions.get(a_session_id())
        with pytest.raises(SessionNotFound):
            await tx.sessions.lock(a_session_id())


async def test_another_organization_does_not_find_a_session(database: Database) -> None:
    session = a_session(allocation=allocation_on(await register(database)))
    await add(database, session)
    async with database.transaction() as tx:
        with pytest.raises(SessionNotFound):
            await tx.sessions.get(session.id, organization_id=OTHER_ORGANIZATION)
        assert (await tx.sessions.get(session.id, organization_id=ORGANIZATION)).id == session.id


async def test_a_request_id_makes_one_session_per_organization(database: Database) -> None:
    on = allocation_on(await register(database))
    first = a_session(request_id="once", allocation=on)
    await add(database, first, a_session(request_id="once", organization_id=OTHER_ORGANIZATION, allocation=on))
    with pytest.raises(SessionExists):
        await add(database, a_session(request_id="once", allocation=on))
    async with database.transaction() as tx:
        found = await tx.sessions.by_request(ORGANIZATION, "once")
        assert found is not None
        assert found.id == first.id
        assert await tx.sessions.by_request(ORGANIZATION, "never") is None


async def test_the_same_id_is_refused(database: Database) -> None:
    session = a_session(allocation=allocation_on(await register(database)))
    await add(database, session)
    with pytest.raises(SessionExists):
        await add(database, session)


async def test_sessions_without_a_request_id_do_not_collide_and_are_not_found_by_it(database: Database) -> None:
    on = allocation_on(await register(database))
    await add(database, a_session(allocation=on), a_session(allocation=on))
    async with database.transaction() as tx:
        assert await tx.sessions.by_request(ORGANIZATION, "") is None


async def test_a_save_raises_the_revision_and_a_stale_one_is_refused(database: Database) -> None:
    session = a_session(allocation=allocation_on(await register(database)))
    await add(database, session)
    closing = session.closing(now=NOON, reason=CloseReason.USER_REQUESTED)
    async with database.transaction() as tx:
        await tx.sessions.save(closing)
    assert await stored(database, session.id) == replace(closing, revision=1)
    with pytest.raises(SessionChanged):
        async with database.transaction() as tx:
            await tx.sessions.save(session.extended(by=MINUTE))


async def test_saving_a_session_that_is_not_there_is_refused(database: Database) -> None:
    with pytest.raises(SessionChanged):
        async with database.transaction() as tx:
            await tx.sessions.save(a_session())


async def test_client_counts_are_stored_for_the_right_node_and_epoch_only(database: Database) -> None:
    node, other = await register(database), await register(database, name="node-b")
    session, elsewhere = a_session(allocation=allocation_on(node)), a_session(allocation=allocation_on(other))
    ended = a_session(allocation=allocation_on(node), state=SessionState.CLOSED)
    stale = a_session(allocation=allocation_on(node))
    await add(database, session, elsewhere, ended, stale)
    report = [
        RunningBrowser(session_id=session.id, epoch=1, client_count=3),
        RunningBrowser(session_id=elsewhere.id, epoch=1, client_count=3),
        RunningBrowser(session_id=ended.id, epoch=1, client_count=3),
        RunningBrowser(session_id=stale.id, epoch=2, client_count=3),
        RunningBrowser(session_id=a_session_id(), epoch=1, client_count=3),
    ]
    async with database.transaction() as tx:
        await tx.sessions.record_clients(node.id, report)
        await tx.sessions.record_clients(node.id, [])
    counts = [(await stored(database, row.id)).client_count for row in (session, elsewhere, ended, stale)]
    assert counts == [3, 0, 0, 0]


async def test_client_counts_do_not_make_a_save_stale(database: Database) -> None:
    node = await register(database)
    session = a_session(allocation=allocation_on(node))
    await add(database, session)
    async with database.transaction() as tx:
        running = [RunningBrowser(session_id=session.id, epoch=1, client_count=1)]
        await tx.sessions.record_clients(node.id, running)
        await tx.sessions.save(session.closing(now=NOON, reason=CloseReason.USER_REQUESTED))
