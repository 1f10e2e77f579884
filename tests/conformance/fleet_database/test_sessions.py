"""How sessions are stored, found and saved."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from session_api.domain.browser import BrowserType
from session_api.domain.close_reason import CloseReason
from session_api.domain.errors import SessionChanged, SessionNotFound
from session_api.domain.leases import ControlLease, HolderKind, Occupancy
from session_api.domain.session import Allocation, IdleActivity, IdlePolicy, Session, SessionState
from session_api.usecases.ports import Database, SessionExists
from tests.conformance.fleet_database.subject import (
    HOUR,
    MINUTE,
    Message,
    Subject,
    add,
    present,
    register,
    save,
    stored,
    stored_node,
)
from tests.support.fleet_builders import (
    NOON,
    ORGANIZATION,
    OTHER_ORGANIZATION,
    a_session,
    a_session_id,
)
from tests.support.waiting import eventually

_ODD_INSTANT = NOON + timedelta(microseconds=1)


def _with_every_field(allocation: Allocation, state: SessionState) -> Session:
    """Return a session whose every field differs from its default; what a state cannot have is as it can be stored."""
    return replace(
        a_session(
            state=state,
            now=_ODD_INSTANT,
            timeout=timedelta(minutes=7, seconds=1),
            lifetime_limit=timedelta(days=1, microseconds=1),
            browser_type=BrowserType.MSEDGE,
            labels={"tenant": "t-1", "größe": 'a "b" {c}', "empty": ""},
            idle=IdlePolicy(timeout=timedelta(minutes=3), activity=IdleActivity.INPUT),
            allocation=allocation,
            request_id="once",
        ),
        active_time=_ODD_INSTANT,
        client_count=2,
        viewer_count=3,
        occupancy=Occupancy(
            kind=HolderKind.AGENT, holder_id="run-1", generation=4, occupy_time=NOON, expire_time=_ODD_INSTANT
        ),
        control=ControlLease(holder="ann", generation=5, take_time=_ODD_INSTANT, expire_time=NOON + MINUTE),
        holdings=4,
        controls=5,
        warned=timedelta(minutes=5),
        warnings=("It was capped.", "It was capped again."),
        request_digest="digest",
        sequence=2**40,
        epoch=2**41,
        revision=6,
    )


@pytest.mark.parametrize("state", list(SessionState))
async def test_every_field_comes_back_as_it_was_stored(database: Database, state: SessionState) -> None:
    node = await register(database)
    session = _with_every_field(node.allocation, state)
    await add(database, session)
    assert await stored(database, session.id) == session


@pytest.mark.parametrize("state", list(SessionState))
async def test_a_session_comes_back_as_it_came_into_its_state(database: Database, state: SessionState) -> None:
    node = await register(database)
    session = a_session(state=state, allocation=node.allocation)
    await add(database, session)
    assert await stored(database, session.id) == session


@pytest.mark.parametrize("state", [SessionState.RUNNING, SessionState.CLOSING, SessionState.CLOSED])
async def test_every_field_that_may_change_is_saved(database: Database, state: SessionState) -> None:
    node = await register(database)
    after = replace(_with_every_field(node.allocation, state), revision=0)
    before = replace(
        after,
        state=SessionState.QUEUED,
        timeout=MINUTE,
        state_time=NOON,
        queue_expire_time=NOON,
        allocation=None,
        start_time=None,
        expire_time=None,
        end_time=None,
        epoch=0,
        close_reason=None,
        close_message="",
        browser=None,
        client_count=0,
        viewer_count=0,
        active_time=None,
        occupancy=None,
        control=None,
        holdings=0,
        controls=0,
        warned=None,
        sequence=0,
    )
    await add(database, before)
    assert await save(database, after) == replace(after, revision=1)
    assert await save(database, replace(before, revision=1)) == replace(before, revision=2)


async def test_a_holding_without_an_end_comes_back_without_one(database: Database) -> None:
    session = a_session(allocation=(await register(database)).allocation)
    held = session.occupied(HolderKind.TASK, "run-1", now=NOON, ttl=None)
    await add(database, held)
    assert (await stored(database, held.id)).occupancy == held.occupancy


async def test_a_session_that_never_was_is_not_found(database: Database) -> None:
    async with database.transaction() as tx:
        with pytest.raises(SessionNotFound):
            await tx.sessions.get(a_session_id())
        with pytest.raises(SessionNotFound):
            await tx.sessions.lock(a_session_id())


async def test_another_organization_does_not_find_a_session(database: Database) -> None:
    session = a_session(allocation=(await register(database)).allocation)
    await add(database, session)
    async with database.transaction() as tx:
        with pytest.raises(SessionNotFound):
            await tx.sessions.get(session.id, organization_id=OTHER_ORGANIZATION)
        assert (await tx.sessions.get(session.id, organization_id=ORGANIZATION)).id == session.id


async def test_a_request_id_makes_one_session_per_organization(database: Database) -> None:
    on = (await register(database)).allocation
    await add(database, a_session(request_id="once", allocation=on))
    await add(database, a_session(request_id="once", organization_id=OTHER_ORGANIZATION, allocation=on))
    with pytest.raises(SessionExists):
        await add(database, a_session(request_id="once", allocation=on))


async def test_sessions_without_a_request_id_do_not_collide(database: Database) -> None:
    await add(database, a_session(state=SessionState.QUEUED), a_session(state=SessionState.QUEUED))


async def test_the_same_id_is_refused(database: Database) -> None:
    session = a_session(allocation=(await register(database)).allocation)
    await add(database, session)
    with pytest.raises(SessionExists):
        await add(database, session)


async def test_an_intake_finds_what_the_request_id_made_before(database: Database) -> None:
    session = a_session(request_id="once", allocation=(await register(database)).allocation)
    await add(database, session, a_session(state=SessionState.QUEUED, organization_id=OTHER_ORGANIZATION))
    async with database.transaction() as tx:
        intake = await tx.sessions.intake(ORGANIZATION, "once", BrowserType.CHROME)
        assert intake.existing == session
        for organization_id, request_id in ((OTHER_ORGANIZATION, "once"), (ORGANIZATION, "never"), (ORGANIZATION, "")):
            assert (await tx.sessions.intake(organization_id, request_id, BrowserType.CHROME)).existing is None


async def test_an_intake_sees_a_queue_of_its_browser_only(database: Database) -> None:
    on = (await register(database)).allocation
    waiting = a_session(state=SessionState.QUEUED, browser_type=BrowserType.MSEDGE, organization_id=OTHER_ORGANIZATION)
    await add(database, waiting, a_session(allocation=on))

    async def has_queue(browser_type: BrowserType) -> bool:
        async with database.single() as tx:
            return (await tx.sessions.intake(ORGANIZATION, "", browser_type)).has_queue

    assert [await has_queue(kind) for kind in (BrowserType.CHROME, BrowserType.MSEDGE)] == [False, True]
    await save(database, waiting.placed(on, now=NOON))
    assert not await has_queue(BrowserType.MSEDGE)


async def test_an_intake_reads_the_databases_clock(database: Database) -> None:
    async with database.transaction() as tx:
        before = await tx.now()
        intake = await tx.sessions.intake(ORGANIZATION, "", BrowserType.CHROME)
        assert before <= intake.now <= await tx.now()


async def test_a_save_raises_the_revision_and_a_stale_one_is_refused(database: Database) -> None:
    session = a_session(allocation=(await register(database)).allocation)
    await add(database, session)
    closing = session.closing(now=NOON, reason=CloseReason.USER_REQUESTED)
    assert await save(database, closing) == replace(closing, revision=1)
    with pytest.raises(SessionChanged):
        await save(database, session.extended(by=MINUTE, now=NOON))
    assert await stored(database, session.id) == replace(closing, revision=1)


async def test_saving_a_session_that_is_not_there_is_refused(database: Database) -> None:
    with pytest.raises(SessionChanged):
        await save(database, a_session())


async def test_whoever_waited_for_a_lock_has_the_later_value_and_the_later_clock(
    subject: Subject, database: Database
) -> None:
    session = a_session(allocation=(await register(database)).allocation)
    await add(database, session)

    async def lock() -> tuple[Session, datetime]:
        async with database.transaction() as tx:
            return await tx.sessions.lock(session.id)

    async with database.transaction() as tx:
        first, lock_time = await tx.sessions.lock(session.id)
        second = asyncio.create_task(lock())
        await eventually(subject.is_somebody_waiting, within=10, what="the second waits")
        extended = first.extended(by=HOUR, now=NOON)
        await tx.sessions.save(extended)
        end = await tx.now()
    assert (first, lock_time <= end) == (session, True)
    later, later_time = await second
    assert later == replace(extended, revision=1)
    assert later_time >= end


async def test_a_session_is_placed_with_its_slot_and_its_news(subject: Subject, database: Database) -> None:
    node = await register(database, slots=1)
    placed, late = (a_session(state=SessionState.STARTING, allocation=node.allocation) for _ in range(2))
    async with database.single() as tx:
        assert await tx.sessions.add_placed(placed, node, now=NOON)
        assert not await tx.sessions.add_placed(late, node, now=NOON)
    assert await stored(database, placed.id) == placed
    with pytest.raises(SessionNotFound):
        await stored(database, late.id)
    assert (await stored_node(database, node.id)).slots_used == 1
    subjects = [message.subject for message in await subject.messages()]
    assert subjects == [f"fleet.v1.session.{placed.id}.created"]


@pytest.mark.parametrize("state", [SessionState.STARTING, SessionState.RUNNING])
async def test_a_placed_session_comes_back_with_every_field(database: Database, state: SessionState) -> None:
    node = await register(database)
    session = _with_every_field(node.allocation, state)
    async with database.single() as tx:
        assert await tx.sessions.add_placed(session, node, now=NOON)
    assert await stored(database, session.id) == session


async def test_a_node_of_another_registration_places_nothing(subject: Subject, database: Database) -> None:
    old = await register(database)
    await register(database, registration_id="reg_2")
    async with database.single() as tx:
        assert not await tx.sessions.add_placed(a_session(allocation=old.allocation), old, now=NOON)
    assert await subject.messages() == []


async def test_a_placed_session_whose_key_is_taken_takes_no_slot(subject: Subject, database: Database) -> None:
    node = await register(database)
    await add(database, a_session(allocation=node.allocation, request_id="once"))
    async with database.single() as tx:
        with pytest.raises(SessionExists):
            await tx.sessions.add_placed(a_session(allocation=node.allocation, request_id="once"), node, now=NOON)
    assert (await stored_node(database, node.id)).slots_used == 0
    assert await subject.messages() == []


async def test_a_session_is_read_with_the_instant(database: Database) -> None:
    session = a_session(allocation=(await register(database)).allocation)
    await add(database, session)
    before = await present(database)
    async with database.single() as tx:
        found, now = await tx.sessions.read(session.id)
        with pytest.raises(SessionNotFound):
            await tx.sessions.read(a_session_id())
    assert found == session
    assert before <= now <= await present(database)


async def test_a_started_session_is_saved_with_its_news(subject: Subject, database: Database) -> None:
    node = await register(database)
    starting = a_session(state=SessionState.STARTING, allocation=node.allocation)
    await add(database, starting)
    started = a_session(allocation=node.allocation)
    running = replace(started, id=starting.id, revision=starting.revision)
    async with database.single() as tx:
        await tx.sessions.save_started(running, now=NOON)
        with pytest.raises(SessionChanged):
            await tx.sessions.save_started(running, now=NOON)
    assert await stored(database, running.id) == replace(running, revision=running.revision + 1)
    assert await subject.messages() == [
        Message(action="PUBLISH", subject=f"fleet.v1.session.{running.id}.started", sequence=running.sequence),
        Message(action="PUBLISH", subject=f"schedule.session.{running.id}", due_time=NOON + 55 * MINUTE),
    ]
