"""Which sessions are a node's."""

from session_api.domain.identifiers import NodeId
from session_api.domain.node import Registration
from session_api.domain.session import SessionState
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import MINUTE, add, numbered, present, register, save_node
from tests.support.fleet_builders import NOON, a_report, a_session

_HELD = (SessionState.STARTING, SessionState.RUNNING, SessionState.CLOSING)


async def test_on_a_node_are_unfinished_sessions_of_its_present_registration(database: Database) -> None:
    node, other = await register(database), await register(database, name="node-b")
    await add(database, a_session(allocation=node.allocation), a_session(allocation=other.allocation))
    again = await register(database, registration_id="reg_2")
    held = [
        a_session(session_id=numbered(9 - place), allocation=again.allocation, state=state)
        for place, state in enumerate(_HELD)
    ]
    await add(database, *held, a_session(allocation=again.allocation, state=SessionState.FAILED))
    async with database.single() as tx:
        assert await tx.sessions.on_node(node.id) == held[::-1]
        assert await tx.sessions.on_node(NodeId("nod_unknown")) == []


async def test_orphans_are_unfinished_sessions_of_lost_or_reregistered_nodes(database: Database) -> None:
    lost, reborn = [await register(database, name=name) for name in ("node-a", "node-b")]
    well = await register(database, name="node-c", now=NOON + 2 * MINUTE)
    on_lost, on_reborn = a_session(allocation=lost.allocation), a_session(allocation=reborn.allocation)
    ended = a_session(allocation=lost.allocation, state=SessionState.CLOSED)
    waiting = a_session(state=SessionState.QUEUED)
    await add(database, on_lost, on_reborn, ended, waiting, a_session(allocation=well.allocation))
    await register(database, name="node-b", registration_id="reg_2", now=NOON + 2 * MINUTE)
    async with database.transaction() as tx:
        await tx.nodes.give_up(silent_since=NOON + MINUTE)
        assert set(await tx.sessions.orphaned(limit=10)) == {on_lost.id, on_reborn.id}
        assert len(await tx.sessions.orphaned(limit=1)) == 1


async def test_on_drained_nodes_are_sessions_that_nobody_closes_yet(database: Database) -> None:
    now = await present(database)
    due, later, cordoned = [await register(database, name=name) for name in ("node-a", "node-b", "node-c")]
    sessions = [a_session(allocation=due.allocation, state=state) for state in SessionState]
    await add(database, *sessions)
    await add(database, *(a_session(allocation=node.allocation) for node in (later, cordoned)))
    await save_node(database, due.draining(by=now))
    await save_node(database, later.draining(by=now + 10 * MINUTE))
    await save_node(database, cordoned.cordoned())
    left = {session.id for session in sessions if session.state in {SessionState.STARTING, SessionState.RUNNING}}
    async with database.single() as tx:
        assert set(await tx.sessions.on_drained_nodes(limit=10)) == left
        assert len(await tx.sessions.on_drained_nodes(limit=1)) == 1


async def test_a_heartbeat_returns_what_the_registration_holds(database: Database) -> None:
    node, other = await register(database), await register(database, name="node-b")
    await add(database, a_session(allocation=node.allocation), a_session(allocation=other.allocation))
    again = await register(database, registration_id="reg_2")
    held = [a_session(allocation=again.allocation, state=state) for state in _HELD]
    await add(database, *held, a_session(allocation=again.allocation, state=SessionState.CLOSED))
    async with database.single() as tx:
        beat = await tx.nodes.beat(a_report(Registration(node_id=node.id, registration_id="reg_2")))
    assert beat is not None
    found = {row.session_id: row for row in beat.held}
    assert found.keys() == {session.id for session in held}
    for session in held:
        row = found[session.id]
        assert (row.epoch, row.state, row.state_time) == (session.epoch, session.state, session.state_time)
        assert (row.timeout, row.expire_time) == (session.timeout, session.expire_time)
