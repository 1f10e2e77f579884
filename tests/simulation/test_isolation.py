"""Transactions whose statements interleave do what Postgres does under READ COMMITTED."""

import asyncio
import random
from collections.abc import Coroutine, Iterator
from datetime import timedelta

import pytest

from fleetkit.errors import Aborted
from fleetkit.postgres import DatabaseUnavailable
from session_api.domain.browser import BrowserType
from session_api.domain.identifiers import NodeId
from session_api.domain.node import Node, Registration
from session_api.domain.session import Session
from session_api.usecases.ports import SessionExists, Transaction
from tests.simulation.clocks import START, DatabaseClock
from tests.simulation.connection import Connection
from tests.simulation.database import DatabaseFaults, SimulatedDatabase
from tests.simulation.loop import Stalled, VirtualLoop
from tests.simulation.process import Host, Process, adopt
from tests.support.fleet_builders import ORGANIZATION, a_new_node, a_session

_LONG = 1.0


class Bench:
    """A database and two clients of it."""

    def __init__(self) -> None:
        self.loop = VirtualLoop(random.Random(1))
        self.loop.on_task = adopt
        self.faults = list[BaseException]()
        self.deadlocks = list[str]()
        self.database = SimulatedDatabase(
            self.loop, DatabaseClock(self.loop), random.Random(1), DatabaseFaults(), interleaves=True
        )
        self.database.on_deadlock = self.deadlocks.append
        self.processes = [Process(self.loop, Host(name), lambda _, error: self.faults.append(error)) for name in "ab"]
        self.first, self.second = (Connection(self.database, process) for process in self.processes)

    def run(self, *works: Coroutine[object, object, None]) -> None:
        """Run works at the same time, each in a process of its own, to their ends."""
        for process, work in zip(self.processes, works, strict=False):
            _ = process.spawn(work)
        with pytest.raises(Stalled):
            self.loop.run_forever()
        assert self.faults == []

    def node(self, name: str = "node-a", *, slots: int = 1) -> Node:
        """Register a node and return it."""
        node_id = NodeId(f"nod_{name}")
        self.run(self._register(name, node_id, slots))
        node = self.database.node(node_id)
        assert node is not None
        return node

    def session(self) -> Session:
        """Store a session and return it."""
        session = a_session(now=START)
        self.run(self._add(session))
        return session

    def close(self) -> None:
        for process in self.processes:
            process.die()
        self.loop.drain()
        self.loop.close()

    async def _register(self, name: str, node_id: NodeId, slots: int) -> None:
        async with self.first.transaction() as tx:
            ids = Registration(node_id=node_id, registration_id=f"reg_{name}")
            await tx.nodes.register(a_new_node(name=name, slots=slots), ids=ids, now=START)

    async def _add(self, session: Session) -> None:
        async with self.first.transaction() as tx:
            await tx.sessions.add(session)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_what_is_not_committed_is_seen_by_nobody_else(bench: Bench) -> None:
    session = bench.session()
    seen = list[int]()

    async def write() -> None:
        async with bench.first.transaction() as tx:
            await tx.sessions.save(session)
            await asyncio.sleep(_LONG)
            seen.append((await tx.sessions.get(session.id)).revision)

    async def read() -> None:
        await asyncio.sleep(_LONG / 2)
        async with bench.second.single() as tx:
            seen.append((await tx.sessions.get(session.id)).revision)
        await asyncio.sleep(_LONG)
        async with bench.second.single() as tx:
            seen.append((await tx.sessions.get(session.id)).revision)

    bench.run(write(), read())
    assert seen == [0, 1, 1]


def test_what_fails_leaves_nothing(bench: Bench) -> None:
    session = bench.session()

    async def fail() -> None:
        async with bench.first.transaction() as tx:
            await tx.sessions.save(session)
            await tx.outbox.announce(session, what="extended", now=START)
            raise DatabaseUnavailable("Something else failed.")

    bench.run(fail())
    assert bench.database.session(session.id) == session
    assert bench.database.outbox == []


def test_who_wants_a_locked_session_waits_and_sees_what_became_of_it(bench: Bench) -> None:
    session = bench.session()
    order = list[str]()

    async def hold() -> None:
        async with bench.first.transaction() as tx:
            locked, _ = await tx.sessions.lock(session.id)
            await asyncio.sleep(_LONG)
            await tx.sessions.save(locked)
            order.append("saved")

    async def want() -> None:
        await asyncio.sleep(_LONG / 2)
        async with bench.second.transaction() as tx:
            locked, now = await tx.sessions.lock(session.id)
            order.append(f"locked {locked.revision}")
            assert now - START > timedelta(seconds=_LONG)

    bench.run(hold(), want())
    assert order == ["saved", "locked 1"]


def test_the_last_slot_is_taken_once(bench: Bench) -> None:
    node = bench.node(slots=1)
    taken = list[bool]()

    async def take(connection: Connection) -> None:
        async with connection.transaction() as tx:
            got = await tx.nodes.take_slot(node)
            await asyncio.sleep(_LONG)
            taken.append(got)

    bench.run(take(bench.first), take(bench.second))
    assert sorted(taken) == [False, True]
    stored = bench.database.node(node.id)
    assert stored is not None
    assert stored.slots_used == 1


def test_two_creates_under_one_key_make_one_session(bench: Bench) -> None:
    results = list[str]()

    async def create(connection: Connection) -> None:
        session = a_session(request_id="one", now=START)
        try:
            async with connection.transaction() as tx:
                intake = await tx.sessions.intake(ORGANIZATION, "one", BrowserType.CHROME)
                assert intake.existing is None
                await tx.sessions.add(session)
                await asyncio.sleep(_LONG)
        except SessionExists:
            results.append("exists")
        else:
            results.append("added")

    bench.run(create(bench.first), create(bench.second))
    assert sorted(results) == ["added", "exists"]


def test_two_that_lock_in_opposite_order_are_told_apart(bench: Bench) -> None:
    one, other = bench.node("node-a"), bench.node("node-b")
    aborted = list[str]()

    async def lock(connection: Connection, nodes: tuple[Node, Node]) -> None:
        try:
            async with connection.transaction() as tx:
                for node in nodes:
                    await tx.nodes.lock(node.id)
                    await asyncio.sleep(_LONG)
        except Aborted as error:
            aborted.append(error.reason)

    bench.run(lock(bench.first, (one, other)), lock(bench.second, (other, one)))
    assert len(aborted) == len(bench.deadlocks) == 1


def test_the_locks_of_a_process_that_died_are_free(bench: Bench) -> None:
    session = bench.session()
    locked = list[float]()

    async def hold() -> None:
        async with bench.first.transaction() as tx:
            await tx.sessions.lock(session.id)
            await asyncio.sleep(3600)

    async def want() -> None:
        await asyncio.sleep(_LONG)
        async with bench.second.transaction() as tx:
            await tx.sessions.lock(session.id)
            locked.append(bench.loop.time())

    bench.loop.call_later(2 * _LONG, bench.processes[0].die)
    bench.run(hold(), want())
    assert len(locked) == 1
    assert 2 * _LONG < locked[0] < 3 * _LONG


def test_who_stands_still_in_a_transaction_loses_it(bench: Bench) -> None:
    session = bench.session()
    lost, saved = list[str](), list[str]()

    async def hold() -> None:
        try:
            async with bench.first.transaction() as tx:
                locked, _ = await tx.sessions.lock(session.id)
                bench.processes[0].pause()
                await tx.sessions.save(locked)
        except DatabaseUnavailable as error:
            lost.append(error.reason)

    async def want() -> None:
        await asyncio.sleep(_LONG)
        async with bench.second.transaction() as tx:
            locked, _ = await tx.sessions.lock(session.id)
            await tx.sessions.save(locked)
            saved.append(locked.id)

    bench.loop.call_later(60, bench.processes[0].resume)
    bench.run(hold(), want())
    assert lost == ["DATABASE_UNAVAILABLE"]
    assert saved == [session.id]


def test_changes_are_complete_before_the_position_that_is_told(bench: Bench) -> None:
    slow, quick = bench.session(), bench.session()
    seen = list[list[str]]()

    async def save(tx: Transaction, session: Session) -> None:
        await tx.sessions.save((await tx.sessions.lock(session.id))[0])

    async def write_slowly() -> None:
        async with bench.first.transaction() as tx:
            await save(tx, slow)
            await asyncio.sleep(2 * _LONG)

    async def write_and_read() -> None:
        async with bench.second.single() as tx:
            position = await tx.sessions.position()
        await asyncio.sleep(_LONG)
        async with bench.second.transaction() as tx:
            await save(tx, quick)
        for _ in range(2):
            async with bench.second.single() as tx:
                changes = await tx.sessions.changes(since=position)
            position = changes.position
            seen.append([session.id for session in changes.sessions])
            await asyncio.sleep(2 * _LONG)

    bench.run(write_slowly(), write_and_read())
    assert [session_id for batch in seen for session_id in batch] == [slow.id, quick.id]
