"""Nodes: registrations, slots, and what operators decide about them."""

from collections.abc import Callable

import pytest

from fleetkit.paging import PageRequest
from session_api.domain.browser import BrowserType
from session_api.domain.errors import NodeNameTaken, NodeNotFound
from session_api.domain.identifiers import NodeId
from session_api.domain.node import Node, NodeState, Registration
from session_api.usecases.ports import Database
from tests.conformance.fleet_database.subject import HOUR, MINUTE, register, save_node, stored_node
from tests.support.fleet_builders import NOON, OTHER_ORGANIZATION, a_new_node, a_node, a_report


async def test_a_node_comes_back_as_it_registered(database: Database) -> None:
    node = await register(database, slots=7, browsers=(BrowserType.CHROME, BrowserType.MSEDGE))
    assert node == Node(
        id=NodeId("nod_node-a"),
        name="node-a",
        registration_id="reg_1",
        address="127.0.0.1:1",
        attach_url="ws://127.0.0.1:1",
        slots=7,
        slots_used=0,
        browsers=dict.fromkeys(BrowserType, "Chrome/150.0"),
        register_time=NOON,
        heartbeat_time=NOON,
        report_time=NOON,
    )
    async with database.transaction() as tx:
        assert await tx.nodes.all() == [node]
        assert await tx.nodes.lock(node.id) == node


async def test_a_node_that_never_was_is_not_found(database: Database) -> None:
    async with database.transaction() as tx:
        with pytest.raises(NodeNotFound):
            await tx.nodes.get(NodeId("nod_unknown"))
        with pytest.raises(NodeNotFound):
            await tx.nodes.lock(NodeId("nod_unknown"))


async def test_a_name_belongs_to_the_organization_that_registered_it_first(database: Database) -> None:
    node = await register(database)
    ids = Registration(node_id=NodeId("nod_fresh"), registration_id="reg_2")
    with pytest.raises(NodeNameTaken):
        async with database.transaction() as tx:
            await tx.nodes.register(a_new_node(owner_id=OTHER_ORGANIZATION), ids=ids, now=NOON)
    assert await stored_node(database, node.id) == node


async def test_a_known_name_keeps_its_node_id_and_all_slots_are_free(database: Database) -> None:
    first = await register(database)
    async with database.transaction() as tx:
        assert await tx.nodes.take_slot(first)
    ids = Registration(node_id=NodeId("nod_fresh"), registration_id="reg_2")
    async with database.transaction() as tx:
        registration = await tx.nodes.register(a_new_node(slots=5), ids=ids, now=NOON + MINUTE)
    assert registration == Registration(node_id=first.id, registration_id="reg_2")
    again = await stored_node(database, first.id)
    assert (again.registration_id, again.slots, again.slots_used) == ("reg_2", 5, 0)
    assert (again.register_time, again.heartbeat_time) == (NOON + MINUTE, NOON + MINUTE)


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
        assert not await tx.nodes.take_slot(a_node())
        assert await tx.nodes.take_slot(new)


async def test_a_slot_of_an_earlier_registration_is_not_given_back(database: Database) -> None:
    old = await register(database)
    async with database.transaction() as tx:
        await tx.nodes.take_slot(old)
    new = await register(database, registration_id="reg_2")
    async with database.transaction() as tx:
        await tx.nodes.take_slot(new)
        await tx.nodes.release_slot(old.allocation)
    assert (await stored_node(database, new.id)).slots_used == 1
    async with database.transaction() as tx:
        await tx.nodes.release_slot(new.allocation)
    assert (await stored_node(database, new.id)).slots_used == 0


async def test_giving_back_one_slot_too_many_leaves_the_count_at_zero(database: Database) -> None:
    node = await register(database)
    async with database.transaction() as tx:
        await tx.nodes.release_slot(node.allocation)
    assert (await stored_node(database, node.id)).slots_used == 0


@pytest.mark.parametrize(
    ("decide", "state"),
    [
        (lambda node: node.cordoned(), NodeState.CORDONED),
        (lambda node: node.draining(by=NOON + HOUR), NodeState.DRAINING),
        (lambda node: node.cordoned().draining(by=NOON).uncordoned(), NodeState.ACTIVE),
    ],
)
async def test_what_an_operator_decides_is_kept_over_heartbeats(
    database: Database, decide: Callable[[Node], Node], state: NodeState
) -> None:
    decided = decide(await register(database))
    assert await save_node(database, decided) == decided
    async with database.single() as tx:
        await tx.nodes.beat(a_report(Registration(node_id=decided.id, registration_id="reg_1")))
    beaten = await stored_node(database, decided.id)
    assert (beaten.state, beaten.drain_time, beaten.is_cordoned) == (state, decided.drain_time, decided.is_cordoned)
    async with database.transaction() as tx:
        assert await tx.nodes.take_slot(beaten) is (state is NodeState.ACTIVE)


async def test_a_save_leaves_what_others_know_of_a_node(database: Database) -> None:
    node = await register(database)
    async with database.transaction() as tx:
        await tx.nodes.take_slot(node)
    saved = await save_node(database, node.cordoned())
    assert (saved.slots_used, saved.registration_id, saved.is_cordoned) == (1, "reg_1", True)


async def test_an_operator_does_not_bring_a_lost_node_back(database: Database) -> None:
    node = await register(database)
    async with database.transaction() as tx:
        await tx.nodes.give_up(silent_since=NOON + MINUTE)
    for decided in (node.draining(by=NOON), node.uncordoned()):
        saved = await save_node(database, decided)
        assert saved.state is NodeState.LOST
        async with database.transaction() as tx:
            assert not await tx.nodes.take_slot(saved)


async def test_a_cordon_stays_over_a_registration(database: Database) -> None:
    await save_node(database, (await register(database)).cordoned())
    again = await register(database, registration_id="reg_2")
    assert again.state is NodeState.CORDONED
    async with database.transaction() as tx:
        assert not await tx.nodes.take_slot(again)


async def test_a_drain_ends_with_a_registration_and_leaves_the_cordon(database: Database) -> None:
    await save_node(database, (await register(database)).draining(by=NOON))
    again = await register(database, registration_id="reg_2")
    assert (again.state, again.drain_time) == (NodeState.CORDONED, None)


async def test_pages_of_nodes_go_by_id_and_end(database: Database) -> None:
    nodes = [await register(database, name=name) for name in ("node-c", "node-a", "node-b")]
    by_id = sorted(nodes, key=lambda node: node.id)
    async with database.single() as tx:
        first = await tx.nodes.page([], PageRequest(size=2))
        assert first.items == by_id[:2]
        second = await tx.nodes.page([], PageRequest(size=2, after=first.next_after))
        assert (second.items, second.next_after) == (by_id[2:], None)
        assert (await tx.nodes.page([], PageRequest(size=3))).next_after is None


async def test_pages_of_nodes_are_narrowed_by_state(database: Database) -> None:
    active, cordoned, draining, stopping = [
        await register(database, name=f"node-{n}", now=NOON + MINUTE) for n in range(4)
    ]
    lost = await register(database, name="node-4")
    await save_node(database, cordoned.cordoned())
    await save_node(database, draining.draining(by=NOON))
    async with database.transaction() as tx:
        await tx.nodes.give_up(silent_since=NOON + MINUTE)
        registration = Registration(node_id=stopping.id, registration_id="reg_1")
        await tx.nodes.beat(a_report(registration, draining=True))

    async def ids(*states: NodeState) -> list[NodeId]:
        async with database.single() as tx:
            return [node.id for node in (await tx.nodes.page(states, PageRequest())).items]

    assert await ids(NodeState.ACTIVE) == [active.id]
    assert await ids(NodeState.CORDONED) == [cordoned.id]
    assert await ids(NodeState.DRAINING) == [draining.id, stopping.id]
    assert await ids(NodeState.LOST, NodeState.ACTIVE) == [active.id, lost.id]
