"""Which nodes could take a session, best first."""

import pytest

from session_api.domain.errors import NoCapableNode
from session_api.domain.node import Node, NodeState
from session_api.domain.placement import candidates
from session_api.domain.session import BrowserSpec, BrowserType
from tests.support.fleet_builders import a_node

_EDGE = BrowserSpec(browser_type=BrowserType.MSEDGE)


def _ids(nodes: list[Node], spec: BrowserSpec | None = None) -> list[str]:
    return [node.id for node in candidates(nodes, spec or BrowserSpec())]


def test_the_node_with_most_free_slots_comes_first_then_the_lower_id() -> None:
    nodes = [
        a_node(node_id="nod_c", slots=4, slots_used=2),
        a_node(node_id="nod_b", slots=9, slots_used=7),
        a_node(node_id="nod_a", slots=3),
    ]
    assert _ids(nodes) == ["nod_a", "nod_b", "nod_c"]


@pytest.mark.parametrize("state", [NodeState.DRAINING, NodeState.LOST])
def test_nodes_that_drain_or_are_lost_get_nothing(state: NodeState) -> None:
    assert _ids([a_node(node_id="nod_a", state=state), a_node(node_id="nod_b")]) == ["nod_b"]


def test_full_nodes_are_left_out() -> None:
    assert _ids([a_node(slots=2, slots_used=2)]) == []


def test_only_nodes_with_the_browser_are_chosen() -> None:
    both = a_node(node_id="nod_b", slots=1, browsers=(BrowserType.CHROME, BrowserType.MSEDGE))
    assert _ids([a_node(node_id="nod_a", slots=9), both], _EDGE) == ["nod_b"]


def test_a_browser_that_only_draining_nodes_have_is_a_matter_of_waiting() -> None:
    assert _ids([a_node(state=NodeState.DRAINING)]) == []


@pytest.mark.parametrize("nodes", [[], [a_node()], [a_node(state=NodeState.LOST, browsers=(BrowserType.MSEDGE,))]])
def test_a_browser_that_no_living_node_has_is_refused(nodes: list[Node]) -> None:
    with pytest.raises(NoCapableNode) as refusal:
        candidates(nodes, _EDGE)
    assert refusal.value.metadata == {"browser_type": "MSEDGE"}
