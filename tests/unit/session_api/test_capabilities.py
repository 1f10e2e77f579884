"""Which nodes can serve which session, and what is said when none can."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_api.domain.browser import BrowserSpec, BrowserTier, BrowserType, Need
from session_api.domain.capabilities import Capabilities, can_serve
from session_api.domain.errors import NoCapableNode, OptionUnavailable
from session_api.domain.node import Node, NodeState, Pressure
from session_api.domain.placement import candidates
from session_api.domain.queue import QueueReason, Share, Waiting, fair_order, next_placements, reason_of, servable
from tests.support.fleet_builders import ORGANIZATION, a_node, a_session_id

_BOTH_TIERS = frozenset(BrowserTier)
_LOCATIONS = st.frozensets(st.sampled_from(["US", "DE"]))
_EXTENSIONS = st.frozensets(st.sampled_from(["ad-blocker", "captcha-solver"]))
_CAPABILITIES = st.builds(
    Capabilities,
    tiers=st.sampled_from([_BOTH_TIERS, frozenset({BrowserTier.FULL})]),
    proxy_locations=_LOCATIONS,
    extensions=_EXTENSIONS,
)
_SPECS = st.builds(
    BrowserSpec,
    browser_type=st.sampled_from(BrowserType),
    tier=st.sampled_from(BrowserTier),
    proxy_location=st.sampled_from(["", "US", "DE"]),
    extensions=st.lists(st.sampled_from(["ad-blocker", "captcha-solver"]), unique=True).map(tuple),
)


@st.composite
def _fleets(draw: st.DrawFn) -> list[Node]:
    kinds = st.sampled_from([(BrowserType.CHROME,), (BrowserType.MSEDGE,), tuple(BrowserType)])
    return [
        a_node(
            node_id=f"nod_{number:02}",
            slots=2,
            slots_used=draw(st.integers(0, 2)),
            state=draw(st.sampled_from(NodeState)),
            browsers=draw(kinds),
            capabilities=draw(_CAPABILITIES),
            warm_browsers=draw(st.integers(0, 2)),
            pressure=draw(st.none() | st.builds(Pressure, cpu=st.sampled_from([0.1, 0.95]), memory=st.just(0.1))),
        )
        for number in range(draw(st.integers(0, 14)))
    ]


def _waiting(spec: BrowserSpec) -> Waiting:
    return Waiting(session_id=a_session_id(), organization_id=ORGANIZATION, need=spec.need)


def _fits(node: Node, spec: BrowserSpec) -> bool:
    """Whether a node can serve a session, said in another way."""
    has = node.capabilities
    return all(
        (
            spec.browser_type in node.browsers,
            spec.tier in has.tiers,
            spec.proxy_location in {"", *has.proxy_locations},
            set(spec.extensions) <= set(has.extensions),
        )
    )


@given(_fleets(), _SPECS, st.integers(0, 3))
def test_placement_finds_a_node_that_can_or_says_why_none_ever_will(
    nodes: list[Node], spec: BrowserSpec, seed: int
) -> None:
    living = [node for node in nodes if not node.is_lost and _fits(node, spec)]
    open_ones = [node for node in living if node.state is NodeState.ACTIVE and node.slots_free]
    try:
        found = candidates(nodes, spec, chance=random.Random(seed))
    except (NoCapableNode, OptionUnavailable):
        assert not living
    else:
        assert living
        assert bool(found) == bool(open_ones)
        assert all(node in open_ones for node in found)


@given(_fleets(), _SPECS)
def test_of_a_small_fleet_the_quiet_come_first_then_the_warm_then_the_empty(
    nodes: list[Node], spec: BrowserSpec
) -> None:
    try:
        found = candidates(nodes[:8], spec, chance=random.Random(1))
    except (NoCapableNode, OptionUnavailable):
        return

    def rank(node: Node) -> tuple[bool, bool, int]:
        can_use_warm = spec.tier is BrowserTier.FULL and node.warm_browsers > 0
        return (node.pressure is not None and node.pressure.cpu > 0.9, not can_use_warm, node.slots_used)

    assert [rank(node) for node in found] == sorted(rank(node) for node in found)


def test_a_lean_session_goes_by_load_alone() -> None:
    warm = a_node(node_id="nod_a", slots_used=1, warm_browsers=5, capabilities=Capabilities(tiers=_BOTH_TIERS))
    cold = a_node(node_id="nod_b", capabilities=Capabilities(tiers=_BOTH_TIERS))
    for tier, best in ((BrowserTier.LEAN, cold), (BrowserTier.FULL, warm)):
        assert candidates([warm, cold], BrowserSpec(tier=tier), chance=random.Random(1))[0] is best


@pytest.mark.parametrize(
    ("spec", "metadata"),
    [
        (BrowserSpec(browser_type=BrowserType.MSEDGE), {"browser_type": "MSEDGE"}),
        (BrowserSpec(tier=BrowserTier.LEAN), {"browser_type": "CHROME", "tier": "LEAN"}),
        (BrowserSpec(proxy_location="FR"), {"option": "proxy_location", "value": "FR"}),
        (BrowserSpec(extensions=("ad-blocker", "x")), {"option": "extensions", "value": "x"}),
        (BrowserSpec(extensions=("b", "ad-blocker")), {"option": "extensions", "value": "ad-blocker, b"}),
        # Each is to be had, and not together.
        (BrowserSpec(proxy_location="US", extensions=("b",)), {"option": "extensions", "value": "b"}),
    ],
)
def test_what_no_node_has_is_named(spec: BrowserSpec, metadata: dict[str, str]) -> None:
    nodes = [
        a_node(
            node_id="nod_a",
            capabilities=Capabilities(proxy_locations=frozenset({"US"}), extensions=frozenset({"ad-blocker"})),
        ),
        a_node(node_id="nod_b", capabilities=Capabilities(extensions=frozenset({"b"}))),
        a_node(
            node_id="nod_c",
            state=NodeState.LOST,
            browsers=tuple(BrowserType),
            capabilities=Capabilities(
                tiers=_BOTH_TIERS, proxy_locations=frozenset({"FR"}), extensions=frozenset({"x", "b", "ad-blocker"})
            ),
        ),
    ]
    with pytest.raises((NoCapableNode, OptionUnavailable)) as refusal:
        candidates(nodes, spec, chance=random.Random(1))
    assert refusal.value.metadata == metadata


# ---- the queue


@given(_fleets(), st.lists(_SPECS, max_size=12))
def test_the_queue_gives_to_whoever_can_be_served_and_nobody_stands_in_their_way(
    nodes: list[Node], specs: list[BrowserSpec]
) -> None:
    waiting = [_waiting(spec) for spec in specs]
    placements = next_placements(fair_order(servable(waiting, nodes), {}), nodes, {})
    by_id = {node.id: node for node in nodes}
    taken: dict[str, int] = {}
    for entry, node_id in placements:
        assert can_serve(by_id[node_id], entry.need)
        taken[node_id] = taken.get(node_id, 0) + 1
    free = {node.id: node.slots_free - taken.get(node.id, 0) for node in nodes if node.has_room}
    assert all(left >= 0 for left in free.values())
    placed = {entry.session_id for entry, _ in placements}
    for entry in waiting:
        if entry.session_id not in placed:
            assert not any(left and can_serve(by_id[node_id], entry.need) for node_id, left in free.items())


def test_an_organization_does_not_stand_behind_what_it_cannot_be_given() -> None:
    nodes = [a_node(slots=1)]
    blocked = [_waiting(BrowserSpec(proxy_location="US")) for _ in range(50)]
    own = _waiting(BrowserSpec())
    foreign = [
        Waiting(session_id=a_session_id(), organization_id=type(ORGANIZATION)("o_other"), need=Need()) for _ in range(2)
    ]
    order = fair_order(servable([*blocked, own, *foreign], nodes), {})
    assert order == [own, *foreign]


@pytest.mark.parametrize(
    ("state", "reason"),
    [(NodeState.ACTIVE, QueueReason.FLEET_FULL), (NodeState.CORDONED, QueueReason.NO_NODE)],
)
def test_the_reason_to_wait_goes_by_the_nodes_that_can_serve(state: NodeState, reason: QueueReason) -> None:
    with_location = Capabilities(proxy_locations=frozenset({"US"}))
    nodes = [a_node(node_id="nod_a"), a_node(node_id="nod_b", state=state, capabilities=with_location)]
    assert reason_of(_waiting(BrowserSpec(proxy_location="US")), nodes, Share()) is reason
