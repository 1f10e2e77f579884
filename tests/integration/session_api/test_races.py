"""Everything at once on real Postgres: nothing deadlocks, and nodes that come and go lose none of their slots."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from fleetkit.errors import InvalidArgument
from fleetkit.paging import PageRequest
from session_api.domain.errors import NoCapacity, SessionNotOpen
from session_api.domain.identifiers import NodeId
from session_api.domain.node import Registration
from session_api.domain.session import Session, SessionState
from session_api.usecases.queries import SessionQuery
from tests.integration.session_api.fleet import RealFleet, outcomes
from tests.integration.session_api.invariants import assert_held, held_throughout
from tests.support.fleet_builders import a_report
from tests.support.waiting import eventually

_MINUTE = timedelta(minutes=1)


async def _on_node(fleet: RealFleet, node_id: NodeId) -> tuple[Session, ...]:
    async with fleet.database.single() as tx:
        return tuple(await tx.sessions.on_node(node_id))


async def test_reports_creates_extensions_closes_and_sweeps_at_once_do_not_deadlock(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    nodes = [await fleet.with_node(name=f"node-{letter}", slots=4) for letter in "abc"]

    async def live(number: int) -> None:
        for turn in range(4):
            plane = fleet.plane(number + turn)
            try:
                session = await fleet.create(at=number)
            except NoCapacity:
                continue
            extend, close = plane.sessions.extend, plane.sessions.close
            await outcomes(
                *(extend(fleet.caller, session.id, by=_MINUTE) for _ in range(2)),
                *(close(fleet.caller, session.id) for _ in range(2)),
            )

    async def report(registration: Registration) -> None:
        for clients in range(8):
            running = await _on_node(fleet, registration.node_id)
            # The same report from two sides, in opposite orders: a retried call.
            await asyncio.gather(
                fleet.plane(1).nodes.heartbeat(a_report(registration, running=running, clients=clients)),
                fleet.plane(2).nodes.heartbeat(a_report(registration, running=running[::-1], clients=clients + 1)),
            )

    async def sweep(number: int) -> None:
        for _ in range(8):
            await fleet.plane(number).reaping.reap_nodes()
            for session in await _on_node(fleet, nodes[number].node_id):
                await fleet.plane(number).reaping.reap(session.id)

    async with asyncio.timeout(60), held_throughout(fleet.pool):
        await asyncio.gather(*(live(number) for number in range(12)), *map(report, nodes), sweep(0), sweep(1))
    assert [await fleet.slots_used(node.node_id) for node in nodes] == [0, 0, 0]


async def test_a_node_that_registers_anew_amid_creates_loses_none_of_its_slots(three_replicas: RealFleet) -> None:
    fleet = three_replicas
    first = await fleet.with_node(slots=10)
    creates = (fleet.create(at=number) for number in range(20))
    async with held_throughout(fleet.pool):
        restarting = asyncio.ensure_future(fleet.with_node(slots=10))
        _, refused = await outcomes(*creates)
        second = await restarting
    assert second.node_id == first.node_id
    assert {type(error) for error in refused} <= {NoCapacity, SessionNotOpen}
    await fleet.reaping.reap_nodes()
    left = await _on_node(fleet, second.node_id)
    assert await fleet.slots_used(second.node_id) == len(left)
    for session in left:
        await fleet.close(session)
    assert await fleet.slots_used(second.node_id) == 0


async def _waiting(fleet: RealFleet, number: int) -> None:
    """Return when so many transactions wait for a lock."""

    async def check() -> bool:
        waiting: int = await fleet.pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return waiting == number

    await eventually(check, within=10, what=f"{number} transactions wait for a lock")


@contextlib.asynccontextmanager
async def _moving_on(fleet: RealFleet, dsn: str) -> AsyncIterator[Session]:
    """Within the block a session is about to leave its node, which does not answer, for another one.

    What the block begins comes right after the move has begun; at its end the session is locked no longer.
    """
    fleet.gateway.may_start.clear()
    creating = asyncio.ensure_future(outcomes(fleet.create()))
    await fleet.gateway.starting.wait()
    (row,) = await fleet.pool.fetch("SELECT id FROM fleet.session")
    session = await fleet.stored(row["id"])
    assert session.allocation is not None
    fleet.gateway.silent_nodes.add(session.allocation.node_id)
    holder = await asyncpg.connect(dsn)
    await holder.execute("BEGIN")
    await holder.execute("SELECT FROM fleet.session FOR UPDATE")
    fleet.gateway.may_start.set()
    await _waiting(fleet, 1)
    yield session
    await _waiting(fleet, 2)
    await holder.execute("COMMIT")
    await holder.close()
    (moved,), _ = await creating
    assert moved.allocation is not None
    assert moved.allocation.node_id != session.allocation.node_id


async def test_a_session_that_moves_on_while_its_node_is_given_up_does_not_fail(
    three_replicas: RealFleet, migrated: str
) -> None:
    fleet = three_replicas
    for name in ("node-a", "node-b"):
        await fleet.with_node(name=name)
    async with _moving_on(fleet, migrated) as session:
        assert session.allocation is not None
        await fleet.pool.execute("UPDATE fleet.node SET state = 'LOST' WHERE id = $1", session.allocation.node_id)
        failing = asyncio.ensure_future(fleet.plane(1).reaping.fail_orphans())
    await failing
    assert (await fleet.stored(session.id)).state is SessionState.RUNNING
    await assert_held(fleet.pool)


async def test_a_session_that_moves_on_while_its_node_is_drained_does_not_end(
    three_replicas: RealFleet, migrated: str
) -> None:
    fleet = three_replicas
    for name in ("node-a", "node-b"):
        await fleet.with_node(name=name)
    async with _moving_on(fleet, migrated) as session:
        assert session.allocation is not None
        await fleet.plane(1).node_operations.drain(session.allocation.node_id, timeout=timedelta(0))
    await asyncio.sleep(0.2)
    assert (await fleet.stored(session.id)).state is SessionState.RUNNING
    await assert_held(fleet.pool)


async def test_a_text_that_postgres_cannot_hold_is_the_callers_fault(fleet: RealFleet) -> None:
    with pytest.raises(InvalidArgument):
        await fleet.sessions.list(SessionQuery(node_id=NodeId("a\0b")), PageRequest())
