"""Reading what changed, from a position on."""

from dataclasses import replace

import pytest

from session_api.domain.errors import ResumeTokenExpired
from session_api.domain.node import Registration
from session_api.domain.session import Session, SessionState
from session_api.usecases.ports import Changes, Database
from tests.conformance.fleet_database.subject import MINUTE, add, register, save
from tests.support.fleet_builders import NOON, a_report, a_session


async def _position(database: Database) -> int:
    async with database.single() as tx:
        return await tx.sessions.position()


async def _changes(database: Database, since: int) -> Changes:
    async with database.single() as tx:
        return await tx.sessions.changes(since=since)


async def _with_sessions(database: Database, count: int) -> list[Session]:
    on = (await register(database)).allocation
    sessions = [a_session(allocation=on) for _ in range(count)]
    await add(database, *sessions)
    return sessions


async def test_what_was_committed_before_a_position_does_not_come_again(database: Database) -> None:
    await _with_sessions(database, 1)
    changes = await _changes(database, await _position(database))
    assert changes.sessions == []


async def test_new_and_saved_sessions_come_in_the_order_of_their_transactions(database: Database) -> None:
    first, second = await _with_sessions(database, 2)
    position = await _position(database)
    saved_second = await save(database, second.extended(by=MINUTE, now=NOON))
    saved_first = await save(database, first.extended(by=MINUTE, now=NOON))
    added = a_session(state=SessionState.QUEUED)
    await add(database, added)
    assert (await _changes(database, position)).sessions == [saved_second, saved_first, added]


async def test_a_session_that_changed_twice_comes_once_with_its_latest_state(database: Database) -> None:
    (session,) = await _with_sessions(database, 1)
    position = await _position(database)
    await save(database, session.extended(by=MINUTE, now=NOON))
    latest = await save(database, replace(session, revision=1, timeout=2 * MINUTE))
    assert (await _changes(database, position)).sessions == [latest]


async def test_reading_goes_on_from_where_it_ended(database: Database) -> None:
    first, second = await _with_sessions(database, 2)
    position = await _position(database)
    await save(database, first.extended(by=MINUTE, now=NOON))
    earlier = await _changes(database, position)
    assert earlier.position > position
    saved = await save(database, second.extended(by=MINUTE, now=NOON))
    later = await _changes(database, earlier.position)
    assert [session.id for session in earlier.sessions] == [first.id]
    assert later.sessions == [saved]
    assert (await _changes(database, later.position)).sessions == []


async def test_a_report_that_changes_counts_is_a_change_and_one_that_does_not_is_none(database: Database) -> None:
    node = await register(database)
    session = a_session(allocation=node.allocation)
    await add(database, session)
    registration = Registration(node_id=node.id, registration_id=node.registration_id)
    report = a_report(registration, running=(session,), clients=1)
    position = await _position(database)
    async with database.transaction() as tx:
        await tx.sessions.record_activity(report, now=NOON)
    changes = await _changes(database, position)
    assert changes.sessions == [replace(session, client_count=1)]
    async with database.transaction() as tx:
        await tx.sessions.record_activity(report, now=NOON)
    assert (await _changes(database, changes.position)).sessions == []


async def test_what_was_rolled_back_is_no_change(database: Database) -> None:
    (session,) = await _with_sessions(database, 1)
    position = await _position(database)

    async def fail_half_way() -> None:
        async with database.transaction() as tx:
            await tx.sessions.save(session.extended(by=MINUTE, now=NOON))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_half_way()
    assert (await _changes(database, position)).sessions == []


async def test_a_transaction_does_not_see_its_own_changes_as_complete(database: Database) -> None:
    (session,) = await _with_sessions(database, 1)
    position = await _position(database)
    async with database.transaction() as tx:
        await tx.sessions.save(session.extended(by=MINUTE, now=NOON))
        own = await tx.sessions.changes(since=position)
    assert own.sessions == []
    assert [found.id for found in (await _changes(database, own.position)).sessions] == [session.id]


async def test_a_position_from_the_future_is_refused(database: Database) -> None:
    # Other databases of the same server move the position too.
    future = await _position(database) + 1_000_000
    with pytest.raises(ResumeTokenExpired):
        await _changes(database, future)


async def test_a_change_of_a_transaction_that_ends_late_is_not_missed(postgres_database: Database) -> None:
    first, second = await _with_sessions(postgres_database, 2)
    position = await _position(postgres_database)
    async with postgres_database.transaction() as slow:
        await slow.sessions.save(first.extended(by=MINUTE, now=NOON))
        await save(postgres_database, second.extended(by=MINUTE, now=NOON))
        meanwhile = await _changes(postgres_database, position)
    assert meanwhile.sessions == []
    afterwards = await _changes(postgres_database, meanwhile.position)
    assert [session.id for session in afterwards.sessions] == [first.id, second.id]


async def test_reading_comes_up_to_a_transaction_that_is_still_running(postgres_database: Database) -> None:
    first, second, third = await _with_sessions(postgres_database, 3)
    position = await _position(postgres_database)
    await save(postgres_database, first.extended(by=MINUTE, now=NOON))
    async with postgres_database.transaction() as slow:
        await slow.sessions.save(second.extended(by=MINUTE, now=NOON))
        await save(postgres_database, third.extended(by=MINUTE, now=NOON))
        meanwhile = await _changes(postgres_database, position)
        assert [session.id for session in meanwhile.sessions] == [first.id]
    rest = await _changes(postgres_database, meanwhile.position)
    assert [session.id for session in rest.sessions] == [second.id, third.id]


async def test_a_position_that_is_taken_beside_a_running_transaction_lies_before_it(
    postgres_database: Database,
) -> None:
    first, _ = await _with_sessions(postgres_database, 2)
    async with postgres_database.transaction() as slow:
        await slow.sessions.save(first.extended(by=MINUTE, now=NOON))
        position = await _position(postgres_database)
    changes = await _changes(postgres_database, position)
    assert [session.id for session in changes.sessions] == [first.id]
