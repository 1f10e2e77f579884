"""What a transaction gives: all or nothing, news in order, and the time."""

from datetime import UTC, timedelta

import pytest

from session_api.domain.errors import SessionNotFound
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import Subject, allocation_on, register, stored, stored_node
from tests.support.fleet_builders import NOON, a_session
from tests.support.fleet_memory import News


async def test_a_transaction_that_raises_leaves_nothing_behind(subject: Subject, database: Database) -> None:
    node = await register(database)
    session = a_session(allocation=allocation_on(node))

    async def fail_half_way() -> None:
        async with database.transaction() as tx:
            assert await tx.nodes.take_slot(node)
            await tx.sessions.add(session)
            await tx.outbox.announce(session, what="created", now=NOON)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_half_way()
    with pytest.raises(SessionNotFound):
        await stored(database, session.id)
    assert (await stored_node(database, node.id)).slots_used == 0
    assert await subject.news() == []


async def test_news_leave_in_the_order_in_which_they_were_written(subject: Subject, database: Database) -> None:
    session = a_session()
    async with database.transaction() as tx:
        await tx.outbox.announce(session, what="started", now=NOON)
        await tx.outbox.schedule_deadline(session)
        await tx.outbox.cancel_deadline(session.id)
    assert await subject.news() == [
        News(action="PUBLISH", subject=f"fleet.v1.session.{session.id}.started"),
        News(action="PUBLISH", subject=f"schedule.session.{session.id}"),
        News(action="PURGE", subject=f"schedule.session.{session.id}"),
    ]


async def test_the_databases_clock_is_aware_and_in_utc(database: Database) -> None:
    async with database.transaction() as tx:
        now = await tx.now()
    assert now.utcoffset() == timedelta(0)
    assert now.astimezone(UTC) == now
