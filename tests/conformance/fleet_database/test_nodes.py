"""Nodes: registrations, slots, heartbeats, and being given up."""

from session_api.domain.node import NodeState, Registration
from session_api.domain.session import BrowserType, NodeId
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import MINUTE, allocation_on, register, stored_node
from tests.support.fleet_builders import NOON, a_new_node


async def test_a_node_comes_back_as_it_registered(database: Database) -> None:
    node = await register(database, slots=7)
    assert (node.name, node.state, node.slots, node.slots_used) == ("node-a", NodeState.ACTIVE, 7, 0)
    assert (node.browsers, node.heartbeat_time) == ({BrowserType.CHROME: "Chrome/150.0"}, NOON)
    async with database.transaction() as tx:
        assert await tx.nodes.all() == [node]
        assert await tx.nodes.get(NodeId("nod_unknown")) is None


async def test_a_known_name_keeps_its_node_id_and_all_slots_are_free(database: Database) -> None:
    first = await register(database)
    async with database.transaction() as tx:
        assert await tx.nodes.take_slot(first)
    ids = Registration(node_id=NodeId("nod_fresh"), registration_id="reg_2")
    async with database.transaction() as tx:
        registration = await tx.nodes.register(a_new_node(slots=5), ids=ids, now=NOON)
    assert registration == Registration(node_id=first.id, registration_id="reg_2")
    again = await stored_node(database, first.id)
    assert (again.registration_id, again.slots, again.slots_used) == ("reg_2", 5, 0)


async def test_slots_are_given_up_to_their_number(database: Database) -> None:
    node = await register(database, slots=2)
    async with database.transaction() as tx:
        assert [await tx.nodes.take_slot(node) for _ in range(3)] == [True, True, False]
    assert (await stored_node(database, node.id)).slots_free == 0


async def test_no_slot_is_taken_under_an_old_registration(database: Database) -> None:
    old = await register(database)
    new = await register(database, registration_id="reg_2")
    async with database.transaction() as tx:
        assert not await tx.nodes.take_slot(old)
        assert await tx.nodes.take_slot(new)


async def test_draining_and_lost_nodes_give_no_slot(database: Database) -> None:
    node = await register(database)
    async with database.transaction() as tx:
        assert await tx.nodes.beat(node.id, node.registration_id, draining=True, now=NOON)
        assert not await tx.nodes.take_slot(node)
    async with database.transaction() as tx:
        await tx.nodes.give_up(silent_since=NOON + MINUTE)
        assert not await tx.nodes.take_slot(node)


async def test_a_slot_of_an_earlier_registration_is_not_given_back(database: Database) -> None:
    old = await register(database)
    async with database.transaction() as tx:
        await tx.nodes.take_slot(old)
    new = await register(database, registration_id="reg_2")
    async with database.transaction() as tx:
        await tx.nodes.take_slot(new)
        await tx.nodes.release_slot(allocation_on(old))
    assert (await stored_node(database, new.id)).slots_used == 1
    async with database.transaction() as tx:
        await tx.nodes.release_slot(allocation_on(new))
    assert (await stored_node(database, new.id)).slots_used == 0


async def test_giving_back_one_slot_too_many_leaves_the_count_at_zero(database: Database) -> None:
    node = await register(database)
    async with database.transaction() as tx:
        await tx.nodes.release_slot(allocation_on(node))
    assert (await stored_node(database, node.id)).slots_used == 0


async def test_a_heartbeat_of_another_registration_is_refused(database: Database) -> None:
    node = await register(database)
    later = NOON + MINUTE
    async with database.transaction() as tx:
        assert not await tx.nodes.beat(node.id, "reg_old", draining=False, now=later)
        assert not await tx.nodes.beat(NodeId("nod_unknown"), "reg_1", draining=False, now=later)
        assert await tx.nodes.beat(node.id, node.registration_id, draining=False, now=later)
    assert (await stored_node(database, node.id)).heartbeat_time == later


async def test_a_node_that_stops_draining_is_active_again(database: Database) -> None:
    node = await register(database)
    states = []
    for draining in (True, False):
        async with database.transaction() as tx:
            await tx.nodes.beat(node.id, node.registration_id, draining=draining, now=NOON)
        states.append((await stored_node(database, node.id)).state)
    assert states == [NodeState.DRAINING, NodeState.ACTIVE]


async def test_silent_nodes_are_given_up_once_and_do_not_come_back_by_a_heartbeat(database: Database) -> None:
    silent = await register(database)
    alive = await register(database, name="node-b", now=NOON + MINUTE)
    async with database.transaction() as tx:
        assert await tx.nodes.give_up(silent_since=NOON + MINUTE) == [silent.id]
        assert await tx.nodes.give_up(silent_since=NOON + MINUTE) == []
        assert not await tx.nodes.beat(silent.id, silent.registration_id, draining=False, now=NOON + MINUTE)
    assert (await stored_node(database, alive.id)).state is NodeState.ACTIVE
    assert (await register(database, registration_id="reg_2")).state is NodeState.ACTIVE
