"""Many at once on real Postgres: capacity is never given away twice, ends are written once, nothing deadlocks."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

import pytest

from fleetkit.errors import FleetError, InvalidArgument
from fleetkit.paging import PageRequest
from session_api.domain.errors import NoCapacity, SessionNotOpen
from session_api.domain.node import Registration
from session_api.domain.session import CloseReason, NodeId, Session
from session_api.usecases.ports import SessionQuery
from tests.integration.session_api.fleet import RealFleet
from tests.support.fleet_builders import a_report

T = TypeVar("T")


async def _outcomes(*calls: Awaitable[T]) -> tuple[list[T], list[FleetError]]:
    """Return what succeeded and what was refused; anything but a typed error fails the test."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    good: list[T] = []
    refused: list[FleetError] = []
    for result in results:
        if isinstance(result, FleetError):
            refused.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            good.append(result)
    return good, refused


async def test_fifty_creates_on_five_slots_make_exactly_five_sessions(fleet: RealFleet) -> None:
    first = await fleet.with_node(name="node-a", slots=3)
    second = await fleet.with_node(name="node-b", slots=2)
    created, refused = await _outcomes(*(fleet.create() for _ in range(50)))
    assert len(created) == 5
    assert {type(error) for error in refused} == {NoCapacity}
    assert [await fleet.slots_used(node.node_id) for node in (first, second)] == [3, 2]


async def test_creates_with_one_request_id_make_one_session(fleet: RealFleet) -> None:
    registration = await fleet.with_node(slots=20)
    created, refused = await _outcomes(*(fleet.create(request_id="once") for _ in range(20)))
    assert refused == []
    assert len({session.id for session in created}) == 1
    assert await fleet.slots_used(registration.node_id) == 1
    rows = await fleet.pool.fetch("SELECT subject FROM fleet.outbox WHERE subject LIKE 'fleet.v1.%' ORDER BY id")
    assert [row["subject"].rsplit(".", 1)[1] for row in rows] == ["created", "started"]


async def test_heartbeats_creates_closes_and_sweeps_at_once_do_not_deadlock(fleet: RealFleet) -> None:
    nodes = [await fleet.with_node(name=f"node-{letter}", slots=4) for letter in "abc"]

    async def live() -> None:
        for _ in range(4):
            try:
                session = await fleet.create()
            except NoCapacity:
                continue
            await asyncio.gather(*(fleet.sessions.close(fleet.caller, session.id) for _ in range(2)))

    async def beat(registration: Registration) -> None:
        for clients in range(8):
            async with fleet.database.transaction() as tx:
                running = tuple(await tx.sessions.unfinished_of(registration.node_id))
            # The same report from two sides, in opposite orders: a retried call.
            await asyncio.gather(
                fleet.nodes.heartbeat(a_report(registration, running=running, clients=clients)),
                fleet.nodes.heartbeat(a_report(registration, running=running[::-1], clients=clients + 1)),
            )

    async def sweep() -> None:
        for _ in range(8):
            await fleet.nodes.give_up_lost()
            await fleet.sessions.finish_stuck(start_timeout=timedelta(minutes=1), stop_timeout=timedelta(minutes=1))

    async with asyncio.timeout(60):
        await asyncio.gather(*(live() for _ in range(12)), *(beat(node) for node in nodes), sweep(), sweep())
    assert [await fleet.slots_used(node.node_id) for node in nodes] == [0, 0, 0]


async def test_whoever_ends_a_session_it_ends_once_and_for_one_reason(fleet: RealFleet) -> None:
    registration = await fleet.with_node(slots=3)
    for _ in range(50):
        session = await fleet.create(timeout=timedelta(microseconds=1))
        _, refused = await _outcomes(
            fleet.sessions.extend(fleet.caller, session.id, by=timedelta(minutes=1)),
            fleet.sessions.close(fleet.caller, session.id),
            fleet.sessions.reap(session.id),
            fleet.nodes.heartbeat(a_report(registration, ended=((session, CloseReason.BROWSER_CRASHED),))),
        )
        assert {type(error) for error in refused} <= {SessionNotOpen}
        await _ended_once(fleet, session)
    assert await fleet.slots_used(registration.node_id) == 0


async def _ended_once(fleet: RealFleet, session: Session) -> None:
    ended = await fleet.stored(session.id)
    assert ended.state.is_final
    rows = await fleet.pool.fetch("SELECT subject FROM fleet.outbox WHERE subject LIKE $1", f"%{session.id}.%")
    types = [row["subject"].rsplit(".", 1)[1] for row in rows]
    assert types.count("closed") + types.count("failed") == 1
    assert len(types) == ended.sequence


async def test_a_node_that_registers_anew_amid_creates_loses_none_of_its_slots(fleet: RealFleet) -> None:
    await fleet.with_node(slots=10)

    async def restart() -> Registration:
        return await fleet.with_node(slots=10)

    results, refused = await _outcomes(
        *(fleet.create() for _ in range(15)), restart(), *(fleet.create() for _ in range(5))
    )
    registrations = [result for result in results if isinstance(result, Registration)]
    assert {type(error) for error in refused} <= {NoCapacity, SessionNotOpen}
    await fleet.nodes.give_up_lost()
    async with fleet.database.transaction() as tx:
        unfinished = await tx.sessions.unfinished_of(registrations[0].node_id)
        node = await tx.nodes.get(registrations[0].node_id)
    assert node is not None
    assert node.slots_used == len(unfinished)
    for session in unfinished:
        await fleet.sessions.close(fleet.caller, session.id)
    assert await fleet.slots_used(node.id) == 0


async def test_a_text_that_postgres_cannot_hold_is_the_callers_fault(fleet: RealFleet) -> None:
    with pytest.raises(InvalidArgument):
        await fleet.sessions.list(SessionQuery(node_id=NodeId("a\0b")), PageRequest())
