"""What the Database port promises, kept by the fake and by Postgres alike."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import asyncpg
import pytest

from fleetkit.ids import RandomIds
from fleetkit.paging import PageRequest
from fleetkit.postgres import open_pool
from fleetkit.settings import Secret
from session_api.adapters.postgres.database import PostgresDatabase, migrate_fleet
from session_api.domain.caller import Caller, Scope, api_key_digest
from session_api.domain.errors import SessionChanged, SessionNotFound
from session_api.domain.node import Node, NodeState, Registration, RunningBrowser
from session_api.domain.session import (
    Allocation,
    BrowserType,
    CloseReason,
    NodeId,
    Session,
    SessionId,
    SessionState,
)
from session_api.usecases.ports import Database, SessionExists, SessionQuery
from tests.support.fleet_builders import (
    NOON,
    ORGANIZATION,
    OTHER_ORGANIZATION,
    SteppedClock,
    a_new_node,
    a_session,
    a_session_id,
)
from tests.support.fleet_memory import MemoryDatabase, News

_MINUTE = timedelta(minutes=1)


class Subject(Protocol):
    """An implementation, and a way to see what the port does not show."""

    @property
    def database(self) -> Database: ...
    async def news(self) -> list[News]: ...
    async def revoke(self, digest: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class _Memory:
    database: MemoryDatabase

    async def news(self) -> list[News]:
        return self.database.outbox

    async def revoke(self, digest: bytes) -> None:
        self.database.revoke(digest)


@dataclass(frozen=True, slots=True)
class _Postgres:
    database: PostgresDatabase
    connection: "asyncpg.Connection[asyncpg.Record]"

    async def news(self) -> list[News]:
        rows = await self.connection.fetch("SELECT action, subject FROM fleet.outbox ORDER BY id")
        return [News(action=row["action"], subject=row["subject"]) for row in rows]

    async def revoke(self, digest: bytes) -> None:
        await self.connection.execute("UPDATE fleet.api_key SET revoke_time = now() WHERE digest = $1", digest)


@pytest.fixture
def memory() -> Subject:
    return _Memory(MemoryDatabase(SteppedClock()))


@pytest.fixture
async def real(empty_database: str) -> AsyncIterator[Subject]:
    await migrate_fleet(Secret(empty_database))
    connection = await asyncpg.connect(empty_database)
    async with open_pool(Secret(empty_database), max_size=4) as pool:
        yield _Postgres(PostgresDatabase(pool, RandomIds()), connection)
    await connection.close()


@pytest.fixture(params=["memory", "real"])
def subject(request: pytest.FixtureRequest) -> Subject:
    chosen: Subject = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
async def database(subject: Subject) -> Database:
    """A database with two organizations."""
    async with subject.database.transaction() as tx:
        for organization_id in (ORGANIZATION, OTHER_ORGANIZATION):
            digest = api_key_digest(f"key of {organization_id}")
            await tx.keys.add(digest, organization_id=organization_id, scope=Scope.MEMBER, max_timeout=None)
    return subject.database


async def _register(
    database: Database, *, name: str = "node-a", slots: int = 2, registration_id: str = "reg_1", now: datetime = NOON
) -> Node:
    ids = Registration(node_id=NodeId(f"nod_{name}"), registration_id=registration_id)
    async with database.transaction() as tx:
        registration = await tx.nodes.register(a_new_node(name=name, slots=slots), ids=ids, now=now)
        node = await tx.nodes.get(registration.node_id)
    assert node is not None
    return node


async def _node(database: Database, node_id: NodeId) -> Node:
    async with database.transaction() as tx:
        node = await tx.nodes.get(node_id)
    assert node is not None
    return node


def _on(node: Node) -> Allocation:
    return Allocation(
        node_id=node.id,
        registration_id=node.registration_id,
        node_address=node.address,
        attach_url=node.attach_url,
    )


async def _add(database: Database, *sessions: Session) -> None:
    async with database.transaction() as tx:
        for session in sessions:
            await tx.sessions.add(session)


async def _get(database: Database, session_id: SessionId) -> Session:
    async with database.transaction() as tx:
        return await tx.sessions.get(session_id)


@pytest.mark.parametrize("state", list(SessionState))
async def test_a_session_comes_back_as_it_was_stored(database: Database, state: SessionState) -> None:
    node = await _register(database)
    session = replace(a_session(state=state, allocation=_on(node)), warnings=("It was capped.",), request_digest="d")
    await _add(database, session)
    assert await _get(database, session.id) == session


async def test_a_session_that_never_was_is_not_found(database: Database) -> None:
    async with database.transaction() as tx:
        with pytest.raises(SessionNotFound):
            await tx.sessions.get(a_session_id())
        with pytest.raises(SessionNotFound):
            await tx.sessions.lock(a_session_id())


async def test_another_organization_does_not_find_a_session(database: Database) -> None:
    session = a_session(allocation=_on(await _register(database)))
    await _add(database, session)
    async with database.transaction() as tx:
        with pytest.raises(SessionNotFound):
            await tx.sessions.get(session.id, organization_id=OTHER_ORGANIZATION)
        assert (await tx.sessions.get(session.id, organization_id=ORGANIZATION)).id == session.id


async def test_a_request_id_makes_one_session_per_organization(database: Database) -> None:
    on = _on(await _register(database))
    first = a_session(request_id="once", allocation=on)
    await _add(database, first, a_session(request_id="once", organization_id=OTHER_ORGANIZATION, allocation=on))
    with pytest.raises(SessionExists):
        await _add(database, a_session(request_id="once", allocation=on))
    async with database.transaction() as tx:
        found = await tx.sessions.by_request(ORGANIZATION, "once")
        assert found is not None
        assert found.id == first.id
        assert await tx.sessions.by_request(ORGANIZATION, "never") is None


async def test_the_same_id_is_refused(database: Database) -> None:
    session = a_session(allocation=_on(await _register(database)))
    await _add(database, session)
    with pytest.raises(SessionExists):
        await _add(database, session)


async def test_sessions_without_a_request_id_do_not_collide_and_are_not_found_by_it(database: Database) -> None:
    on = _on(await _register(database))
    await _add(database, a_session(allocation=on), a_session(allocation=on))
    async with database.transaction() as tx:
        assert await tx.sessions.by_request(ORGANIZATION, "") is None


async def test_a_save_raises_the_revision_and_a_stale_one_is_refused(database: Database) -> None:
    session = a_session(allocation=_on(await _register(database)))
    await _add(database, session)
    closing = session.closing(now=NOON, reason=CloseReason.USER_REQUESTED)
    async with database.transaction() as tx:
        await tx.sessions.save(closing)
    assert await _get(database, session.id) == replace(closing, revision=1)
    with pytest.raises(SessionChanged):
        async with database.transaction() as tx:
            await tx.sessions.save(session.extended(by=_MINUTE))


async def test_saving_a_session_that_is_not_there_is_refused(database: Database) -> None:
    with pytest.raises(SessionChanged):
        async with database.transaction() as tx:
            await tx.sessions.save(a_session())


async def test_a_transaction_that_raises_leaves_nothing_behind(subject: Subject, database: Database) -> None:
    node = await _register(database)
    session = a_session(allocation=_on(node))

    async def fail_half_way() -> None:
        async with database.transaction() as tx:
            assert await tx.nodes.take_slot(node)
            await tx.sessions.add(session)
            await tx.outbox.announce(session, what="created", now=NOON)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_half_way()
    with pytest.raises(SessionNotFound):
        await _get(database, session.id)
    assert (await _node(database, node.id)).slots_used == 0
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
    on = _on(await _register(database))
    await _add(database, *(a_session(session_id=_id(number), allocation=on) for number in range(5)))
    assert await _pages(database, SessionQuery(), 2) == [[_id(4), _id(3)], [_id(2), _id(1)], [_id(0)]]
    assert await _pages(database, SessionQuery(), 5) == [[_id(4), _id(3), _id(2), _id(1), _id(0)]]
    assert await _pages(database, SessionQuery(organization_id=OTHER_ORGANIZATION), 5) == [[]]


async def test_pages_stay_whole_while_sessions_are_added(database: Database) -> None:
    on = _on(await _register(database))
    await _add(database, *(a_session(session_id=_id(number), allocation=on) for number in (1, 3, 5, 7)))
    async with database.transaction() as tx:
        first = await tx.sessions.page(SessionQuery(), PageRequest(size=2))
    await _add(database, *(a_session(session_id=_id(number), allocation=on) for number in (8, 9)))
    async with database.transaction() as tx:
        second = await tx.sessions.page(SessionQuery(), PageRequest(size=2, after=first.next_after))
    assert [session.id for session in first.items + second.items] == [_id(7), _id(5), _id(3), _id(1)]


async def test_a_list_is_narrowed_by_state_deadline_node_and_organization(database: Database) -> None:
    here, there = _on(await _register(database)), _on(await _register(database, name="node-b"))
    soon = a_session(session_id=_id(1), allocation=here, timeout=_MINUTE)
    late = a_session(session_id=_id(2), allocation=there)
    closed = a_session(session_id=_id(3), allocation=here, state=SessionState.CLOSED)
    starting = a_session(session_id=_id(4), allocation=there, state=SessionState.STARTING)
    foreign = a_session(session_id=_id(5), allocation=here, organization_id=OTHER_ORGANIZATION)
    await _add(database, soon, late, closed, starting, foreign)

    async def ids(query: SessionQuery) -> list[SessionId]:
        return (await _pages(database, query, 50))[0]

    assert await ids(SessionQuery(states=(SessionState.CLOSED, SessionState.STARTING))) == [starting.id, closed.id]
    assert await ids(SessionQuery(expire_before=NOON + 2 * _MINUTE)) == [soon.id]
    assert await ids(SessionQuery(expire_before=NOON + _MINUTE)) == []
    assert await ids(SessionQuery(node_id=NodeId("nod_node-b"))) == [starting.id, late.id]
    assert await ids(SessionQuery(organization_id=OTHER_ORGANIZATION)) == [foreign.id]
    running = SessionQuery(organization_id=ORGANIZATION, states=(SessionState.RUNNING,))
    assert await ids(running) == [late.id, soon.id]


async def test_a_node_comes_back_as_it_registered(database: Database) -> None:
    node = await _register(database, slots=7)
    assert (node.name, node.state, node.slots, node.slots_used) == ("node-a", NodeState.ACTIVE, 7, 0)
    assert (node.browsers, node.heartbeat_time) == ({BrowserType.CHROME: "Chrome/150.0"}, NOON)
    async with database.transaction() as tx:
        assert await tx.nodes.all() == [node]
        assert await tx.nodes.get(NodeId("nod_unknown")) is None


async def test_a_known_name_keeps_its_node_id_and_all_slots_are_free(database: Database) -> None:
    first = await _register(database)
    async with database.transaction() as tx:
        assert await tx.nodes.take_slot(first)
    ids = Registration(node_id=NodeId("nod_fresh"), registration_id="reg_2")
    async with database.transaction() as tx:
        registration = await tx.nodes.register(a_new_node(slots=5), ids=ids, now=NOON)
    assert registration == Registration(node_id=first.id, registration_id="reg_2")
    again = await _node(database, first.id)
    assert (again.registration_id, again.slots, again.slots_used) == ("reg_2", 5, 0)


async def test_slots_are_given_up_to_their_number(database: Database) -> None:
    node = await _register(database, slots=2)
    async with database.transaction() as tx:
        assert [await tx.nodes.take_slot(node) for _ in range(3)] == [True, True, False]
    assert (await _node(database, node.id)).slots_free == 0


async def test_no_slot_is_taken_under_an_old_registration(database: Database) -> None:
    old = await _register(database)
    new = await _register(database, registration_id="reg_2")
    async with database.transaction() as tx:
        assert not await tx.nodes.take_slot(old)
        assert await tx.nodes.take_slot(new)


async def test_draining_and_lost_nodes_give_no_slot(database: Database) -> None:
    node = await _register(database)
    async with database.transaction() as tx:
        assert await tx.nodes.beat(node.id, node.registration_id, draining=True, now=NOON)
        assert not await tx.nodes.take_slot(node)
    async with database.transaction() as tx:
        await tx.nodes.give_up(silent_since=NOON + _MINUTE)
        assert not await tx.nodes.take_slot(node)


async def test_a_slot_of_an_earlier_registration_is_not_given_back(database: Database) -> None:
    old = await _register(database)
    async with database.transaction() as tx:
        await tx.nodes.take_slot(old)
    new = await _register(database, registration_id="reg_2")
    async with database.transaction() as tx:
        await tx.nodes.take_slot(new)
        await tx.nodes.release_slot(_on(old))
    assert (await _node(database, new.id)).slots_used == 1
    async with database.transaction() as tx:
        await tx.nodes.release_slot(_on(new))
    assert (await _node(database, new.id)).slots_used == 0


async def test_giving_back_one_slot_too_many_leaves_the_count_at_zero(database: Database) -> None:
    node = await _register(database)
    async with database.transaction() as tx:
        await tx.nodes.release_slot(_on(node))
    assert (await _node(database, node.id)).slots_used == 0


async def test_a_heartbeat_of_another_registration_is_refused(database: Database) -> None:
    node = await _register(database)
    later = NOON + _MINUTE
    async with database.transaction() as tx:
        assert not await tx.nodes.beat(node.id, "reg_old", draining=False, now=later)
        assert not await tx.nodes.beat(NodeId("nod_unknown"), "reg_1", draining=False, now=later)
        assert await tx.nodes.beat(node.id, node.registration_id, draining=False, now=later)
    assert (await _node(database, node.id)).heartbeat_time == later


async def test_a_node_that_stops_draining_is_active_again(database: Database) -> None:
    node = await _register(database)
    states = []
    for draining in (True, False):
        async with database.transaction() as tx:
            await tx.nodes.beat(node.id, node.registration_id, draining=draining, now=NOON)
        states.append((await _node(database, node.id)).state)
    assert states == [NodeState.DRAINING, NodeState.ACTIVE]


async def test_silent_nodes_are_given_up_once_and_do_not_come_back_by_a_heartbeat(database: Database) -> None:
    silent = await _register(database)
    alive = await _register(database, name="node-b", now=NOON + _MINUTE)
    async with database.transaction() as tx:
        assert await tx.nodes.give_up(silent_since=NOON + _MINUTE) == [silent.id]
        assert await tx.nodes.give_up(silent_since=NOON + _MINUTE) == []
        assert not await tx.nodes.beat(silent.id, silent.registration_id, draining=False, now=NOON + _MINUTE)
    assert (await _node(database, alive.id)).state is NodeState.ACTIVE
    assert (await _register(database, registration_id="reg_2")).state is NodeState.ACTIVE


async def test_orphans_are_unfinished_sessions_of_lost_or_reregistered_nodes(database: Database) -> None:
    lost, reborn, well = [await _register(database, name=name) for name in ("node-a", "node-b", "node-c")]
    on_lost, on_reborn = a_session(allocation=_on(lost)), a_session(allocation=_on(reborn))
    ended = a_session(allocation=_on(lost), state=SessionState.CLOSED)
    await _add(database, on_lost, on_reborn, ended, a_session(allocation=_on(well)))
    await _register(database, name="node-b", registration_id="reg_2", now=NOON + _MINUTE)
    async with database.transaction() as tx:
        await tx.nodes.beat(well.id, well.registration_id, draining=False, now=NOON + _MINUTE)
        assert await tx.nodes.give_up(silent_since=NOON + _MINUTE) == [lost.id]
        assert set(await tx.sessions.orphaned(limit=10)) == {on_lost.id, on_reborn.id}
        assert len(await tx.sessions.orphaned(limit=1)) == 1


async def test_unfinished_sessions_are_those_of_the_present_registration(database: Database) -> None:
    node, other = await _register(database), await _register(database, name="node-b")
    await _add(database, a_session(allocation=_on(node)))
    again = await _register(database, registration_id="reg_2")
    states = (SessionState.STARTING, SessionState.RUNNING, SessionState.CLOSING)
    unfinished = [a_session(allocation=_on(again), state=state) for state in states]
    await _add(database, *unfinished, a_session(allocation=_on(again), state=SessionState.FAILED))
    await _add(database, a_session(allocation=_on(other)))
    async with database.transaction() as tx:
        found = await tx.sessions.unfinished_of(node.id)
    assert {session.id for session in found} == {session.id for session in unfinished}


async def test_stuck_sessions_are_those_that_entered_a_state_before_an_instant(database: Database) -> None:
    on = _on(await _register(database))
    old = a_session(allocation=on, state=SessionState.STARTING, now=NOON - _MINUTE)
    fresh = a_session(allocation=on, state=SessionState.STARTING, now=NOON)
    running = a_session(allocation=on, now=NOON - _MINUTE)
    await _add(database, old, fresh, running)
    async with database.transaction() as tx:
        assert await tx.sessions.stuck(SessionState.STARTING, since=NOON, limit=10) == [old.id]
        assert await tx.sessions.stuck(SessionState.CLOSING, since=NOON, limit=10) == []
        assert await tx.sessions.stuck(SessionState.STARTING, since=NOON + _MINUTE, limit=1) != []


async def test_client_counts_are_stored_for_the_right_node_and_epoch_only(database: Database) -> None:
    node, other = await _register(database), await _register(database, name="node-b")
    session, elsewhere = a_session(allocation=_on(node)), a_session(allocation=_on(other))
    ended = a_session(allocation=_on(node), state=SessionState.CLOSED)
    stale = a_session(allocation=_on(node))
    await _add(database, session, elsewhere, ended, stale)
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
    counts = [(await _get(database, row.id)).client_count for row in (session, elsewhere, ended, stale)]
    assert counts == [3, 0, 0, 0]


async def test_client_counts_do_not_make_a_save_stale(database: Database) -> None:
    node = await _register(database)
    session = a_session(allocation=_on(node))
    await _add(database, session)
    async with database.transaction() as tx:
        running = [RunningBrowser(session_id=session.id, epoch=1, client_count=1)]
        await tx.sessions.record_clients(node.id, running)
        await tx.sessions.save(session.closing(now=NOON, reason=CloseReason.USER_REQUESTED))


async def test_a_key_names_its_organization_scope_and_cap(database: Database) -> None:
    async with database.transaction() as tx:
        digest = api_key_digest("bf_1")
        cap = timedelta(minutes=30)
        await tx.keys.add(digest, organization_id=ORGANIZATION, scope=Scope.SERVICE, max_timeout=cap)
        expected = Caller(organization_id=ORGANIZATION, scope=Scope.SERVICE, max_timeout=cap)
        assert await tx.keys.caller(digest) == expected
        assert await tx.keys.caller(api_key_digest("bf_2")) is None


async def test_a_cap_is_the_organizations_and_stays_until_another_is_given(database: Database) -> None:
    async def add(key: str, cap: timedelta | None) -> None:
        async with database.transaction() as tx:
            await tx.keys.add(api_key_digest(key), organization_id=ORGANIZATION, scope=Scope.MEMBER, max_timeout=cap)

    async def cap_of(key: str) -> timedelta | None:
        async with database.transaction() as tx:
            caller = await tx.keys.caller(api_key_digest(key))
        assert caller is not None
        return caller.max_timeout

    await add("bf_1", timedelta(minutes=30))
    await add("bf_2", None)
    assert await cap_of("bf_2") == timedelta(minutes=30)
    await add("bf_3", timedelta(minutes=40))
    assert await cap_of("bf_1") == timedelta(minutes=40)


async def test_a_revoked_key_is_nobodys(subject: Subject, database: Database) -> None:
    digest = api_key_digest(f"key of {ORGANIZATION}")
    async with database.transaction() as tx:
        assert await tx.keys.caller(digest) is not None
    await subject.revoke(digest)
    async with database.transaction() as tx:
        assert await tx.keys.caller(digest) is None


async def test_the_databases_clock_is_aware_and_in_utc(database: Database) -> None:
    async with database.transaction() as tx:
        now = await tx.now()
    assert now.utcoffset() == timedelta(0)
    assert now.astimezone(UTC) == now
