"""Which nodes could take a session, best first."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_api.domain.browser import BrowserSpec, BrowserType
from session_api.domain.errors import NoCapableNode
from session_api.domain.node import Node, NodeState, Pressure
from session_api.domain.placement import candidates
from tests.support.fleet_builders import a_node

_CHROME = BrowserSpec()
_EDGE = BrowserSpec(browser_type=BrowserType.MSEDGE)


def _ids(nodes: list[Node], spec: BrowserSpec = _CHROME, *, seed: int = 1) -> list[str]:
    return [node.id for node in candidates(nodes, spec, chance=random.Random(seed))]


def test_the_node_with_the_largest_free_share_comes_first_then_the_lower_id() -> None:
    nodes = [
        a_node(node_id="nod_d", slots=10, slots_used=5),
        a_node(node_id="nod_c", slots=4, slots_used=2),
        a_node(node_id="nod_b", slots=9, slots_used=7),
        a_node(node_id="nod_a", slots=3),
    ]
    assert _ids(nodes) == ["nod_a", "nod_c", "nod_d", "nod_b"]


@pytest.mark.parametrize("pressure", [Pressure(cpu=0.9, memory=0.1), Pressure(cpu=0.1, memory=1.0)])
def test_a_busy_machine_comes_last_however_empty_it_is(pressure: Pressure) -> None:
    busy = a_node(node_id="nod_a", slots=9, pressure=pressure)
    quiet = a_node(node_id="nod_b", slots=9, slots_used=8, pressure=Pressure(cpu=0.89, memory=0.89))
    assert _ids([busy, quiet]) == ["nod_b", "nod_a"]


@pytest.mark.parametrize("state", [state for state in NodeState if state is not NodeState.ACTIVE])
def test_nodes_that_are_not_active_get_nothing(state: NodeState) -> None:
    assert _ids([a_node(node_id="nod_a", state=state), a_node(node_id="nod_b")]) == ["nod_b"]


def test_full_nodes_are_left_out() -> None:
    assert _ids([a_node(slots=2, slots_used=2)]) == []


def test_only_nodes_with_the_browser_are_chosen() -> None:
    both = a_node(node_id="nod_b", slots=1, browsers=(BrowserType.CHROME, BrowserType.MSEDGE))
    assert _ids([a_node(node_id="nod_a", slots=9), both], _EDGE) == ["nod_b"]


@pytest.mark.parametrize("state", [NodeState.CORDONED, NodeState.DRAINING])
def test_a_browser_that_only_closed_nodes_have_is_a_matter_of_waiting(state: NodeState) -> None:
    assert _ids([a_node(state=state)]) == []


@pytest.mark.parametrize("nodes", [[], [a_node()], [a_node(state=NodeState.LOST, browsers=(BrowserType.MSEDGE,))]])
def test_a_browser_that_no_living_node_has_is_refused(nodes: list[Node]) -> None:
    with pytest.raises(NoCapableNode) as refusal:
        _ids(nodes, _EDGE)
    assert refusal.value.metadata == {"browser_type": "MSEDGE"}


@given(st.integers(0, 10_000), st.integers(9, 200))
def test_the_one_free_slot_of_a_large_fleet_is_found(seed: int, count: int) -> None:
    nodes = [a_node(node_id=f"nod_{number:03}", slots=1, slots_used=1) for number in range(count)]
    nodes[seed % count] = a_node(node_id="nod_free", slots=1)
    assert _ids(nodes, seed=seed) == ["nod_free"]


def test_a_large_fleet_is_sampled_so_that_equals_get_their_turn() -> None:
    nodes = [a_node(node_id=f"nod_{number:03}") for number in range(100)]
    orders = [_ids(nodes, seed=seed) for seed in range(200)]
    assert {len(order) for order in orders} == {8}
    first = Counter(order[0] for order in orders)
    assert len(first) > 20


def test_a_small_fleet_is_looked_at_as_a_whole() -> None:
    nodes = [a_node(node_id=f"nod_{number}") for number in range(8)]
    assert {tuple(_ids(nodes, seed=seed)) for seed in range(20)} == {tuple(node.id for node in nodes)}
