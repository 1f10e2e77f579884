"""Whether a node takes sessions, and what operators decide about it."""

from datetime import timedelta

import pytest

from session_api.domain.node import Node, NodeState
from tests.support.fleet_builders import NOON, a_node, an_allocation

_HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("node", "state"),
    [
        (a_node(), NodeState.ACTIVE),
        (a_node().cordoned(), NodeState.CORDONED),
        (a_node(state=NodeState.DRAINING), NodeState.DRAINING),
        (a_node().draining(by=NOON), NodeState.DRAINING),
        (a_node(state=NodeState.DRAINING).cordoned(), NodeState.DRAINING),
        (a_node(state=NodeState.LOST).draining(by=NOON), NodeState.LOST),
        (a_node(state=NodeState.LOST).cordoned(), NodeState.LOST),
    ],
)
def test_lost_hides_draining_and_draining_hides_cordoned(node: Node, state: NodeState) -> None:
    assert node.state is state


def test_a_drain_is_a_cordon_with_an_end() -> None:
    node = a_node().draining(by=NOON + _HOUR)
    assert (node.is_cordoned, node.drain_time) == (True, NOON + _HOUR)
    assert node.draining(by=NOON).drain_time == NOON


def test_uncordoning_ends_a_drain_too() -> None:
    assert a_node().draining(by=NOON + _HOUR).uncordoned() == a_node()


def test_a_node_that_stops_itself_is_not_brought_back_by_uncordoning() -> None:
    assert a_node(state=NodeState.DRAINING).uncordoned().state is NodeState.DRAINING


def test_a_drain_is_over_from_its_end_on() -> None:
    node = a_node().draining(by=NOON + _HOUR)
    assert [node.is_drained(now=now) for now in (NOON, NOON + _HOUR)] == [False, True]
    assert not a_node().cordoned().is_drained(now=NOON + _HOUR)


@pytest.mark.parametrize(
    ("node", "lost"),
    [
        (a_node(), False),
        (a_node(state=NodeState.DRAINING), False),
        (a_node(state=NodeState.LOST), True),
        (a_node(registration_id="reg_2"), True),
    ],
)
def test_a_session_loses_its_browser_with_the_life_of_its_node(node: Node, lost: bool) -> None:
    assert node.has_lost(an_allocation(node_id="nod_1", registration_id="reg_1")) is lost


def test_a_session_remembers_where_its_node_was() -> None:
    allocation = a_node(node_id="nod_7", registration_id="reg_7").allocation
    assert (allocation.node_id, allocation.registration_id) == ("nod_7", "reg_7")
    assert (allocation.node_address, allocation.attach_url) == ("127.0.0.1:1", "ws://127.0.0.1:1")
