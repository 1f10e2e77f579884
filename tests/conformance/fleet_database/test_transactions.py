"""What a transaction gives: all or nothing, news in order, and the time."""

from datetime import UTC, timedelta

import pytest

from session_api.domain.caller import ApiKey, Scope, secret_digest
from session_api.domain.errors import ApiKeyNotFound, OrganizationNotFound, SessionNotFound
from session_api.domain.identifiers import KeyId, OrganizationId
from session_api.domain.organization import Organization
from session_api.domain.usage import UsageRecord
from session_api.usecases.ports import Database, Transaction
from session_api.usecases.queries import UsageQuery
from tests.conformance.fleet_database.subject import MINUTE, Message, Subject, add, register, stored, stored_node
from tests.support.fleet_builders import NOON, ORGANIZATION, a_session


async def test_a_transaction_that_raises_leaves_nothing_behind(subject: Subject, database: Database) -> None:
    node = await register(database)
    kept, dropped = a_session(allocation=node.allocation), a_session(allocation=node.allocation)
    key = ApiKey(
        id=KeyId("key_1"), organization_id=ORGANIZATION, scope=Scope.NODE, prefix="", display_name="", create_time=NOON
    )
    await add(database, kept)

    async def change_everything(tx: Transaction) -> None:
        assert await tx.nodes.take_slot(node)
        await tx.nodes.watch(now=NOON, longest_gap=MINUTE)
        await tx.sessions.save(kept.extended(by=MINUTE, now=NOON))
        await tx.sessions.add(dropped)
        await tx.organizations.add(Organization(id=OrganizationId("o_new")))
        await tx.organizations.save(Organization(id=ORGANIZATION, weight=5.0))
        await tx.keys.add(key, secret_digest("bf_1"))
        await tx.usage.add(
            UsageRecord(session_id=kept.id, epoch=1, organization_id=ORGANIZATION, start_time=NOON, end_time=NOON)
        )
        await tx.outbox.announce(dropped, what="created", now=NOON)

    async def fail_half_way() -> None:
        async with database.transaction() as tx:
            await change_everything(tx)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_half_way()
    assert await stored(database, kept.id) == kept
    with pytest.raises(SessionNotFound):
        await stored(database, dropped.id)
    assert (await stored_node(database, node.id)).slots_used == 0
    assert await subject.messages() == []
    async with database.transaction() as tx:
        assert await tx.nodes.watch(now=NOON + MINUTE, longest_gap=MINUTE) == NOON + MINUTE
        assert (await tx.organizations.get(ORGANIZATION)).weight == 1.0
        assert await tx.usage.totals(UsageQuery(), label="") == []
        with pytest.raises(OrganizationNotFound):
            await tx.organizations.get(OrganizationId("o_new"))
        with pytest.raises(ApiKeyNotFound):
            await tx.keys.get(key.id)


async def test_a_transaction_goes_on_after_an_answer_that_is_an_error(database: Database) -> None:
    session = a_session(allocation=(await register(database)).allocation)
    async with database.transaction() as tx:
        with pytest.raises(SessionNotFound):
            await tx.sessions.get(session.id)
        await tx.sessions.add(session)
    assert await stored(database, session.id) == session


async def test_a_single_statement_is_committed_by_itself_whatever_comes_after_it(database: Database) -> None:
    node = await register(database)

    async def take_and_fail() -> None:
        async with database.single() as tx:
            assert await tx.nodes.take_slot(node)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await take_and_fail()
    assert (await stored_node(database, node.id)).slots_used == 1


async def test_news_leave_in_the_order_in_which_they_were_written(subject: Subject, database: Database) -> None:
    node = await register(database)
    session = a_session(allocation=node.allocation)
    async with database.transaction() as tx:
        await tx.outbox.announce(session, what="started", now=NOON)
        await tx.outbox.schedule(session)
        await tx.outbox.cancel_schedule(session.id)
        await tx.outbox.announce_node(node, what="cordoned", now=NOON)
    assert await subject.messages() == [
        Message(action="PUBLISH", subject=f"fleet.v1.session.{session.id}.started", sequence=session.sequence),
        Message(action="PUBLISH", subject=f"schedule.session.{session.id}", due_time=NOON + 55 * MINUTE),
        Message(action="PURGE", subject=f"schedule.session.{session.id}"),
        Message(action="PUBLISH", subject=f"fleet.v1.node.{node.id}.cordoned"),
    ]


async def test_the_next_warning_is_scheduled_and_then_the_deadline(subject: Subject, database: Database) -> None:
    session = a_session(timeout=10 * MINUTE)
    expiring = session.expiring(now=NOON + 5 * MINUTE)
    async with database.transaction() as tx:
        for value in (session, expiring, expiring.expiring(now=NOON + 9 * MINUTE)):
            await tx.outbox.schedule(value)
    times = [message.due_time for message in await subject.messages()]
    assert times == [NOON + minutes * MINUTE for minutes in (5, 9, 10)]


async def test_the_databases_clock_is_aware_and_in_utc(database: Database) -> None:
    async with database.transaction() as tx:
        now = await tx.now()
    assert now.utcoffset() == timedelta(0)
    assert now.astimezone(UTC) == now
