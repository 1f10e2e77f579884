"""Whose turn it is in the queue, and who gets the slots that are free."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from session_api.domain.browser import BrowserType, Need
from session_api.domain.capabilities import can_serve
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.node import Node, NodeState
from session_api.domain.organization import Limits, may_open
from session_api.domain.queue import QueueReason, Share, Waiting, fair_order, next_placements, reason_of
from tests.support.fleet_builders import ORGANIZATION, OTHER_ORGANIZATION, a_node

Shares = dict[OrganizationId, Share]

_ORGANIZATIONS = [OrganizationId(f"o_{name}") for name in "abc"]


def _waiting(
    number: int, organization_id: OrganizationId = ORGANIZATION, kind: BrowserType = BrowserType.CHROME
) -> Waiting:
    return Waiting(
        session_id=SessionId(f"pbs_{number:04}"), organization_id=organization_id, need=Need(browser_type=kind)
    )


def _numbers(order: list[Waiting]) -> list[int]:
    return [int(entry.session_id.removeprefix("pbs_")) for entry in order]


@dataclass(frozen=True, slots=True)
class _Queue:
    waiting: list[Waiting]
    shares: Shares

    def rank(self, entry: Waiting) -> int:
        """Return how many slots the organization would hold if those before this one in its own row had theirs."""
        own = [other for other in self.waiting if other.organization_id == entry.organization_id]
        older = sum(other.session_id < entry.session_id for other in own)
        return self.shares.get(entry.organization_id, Share()).held + older


@st.composite
def _queues(draw: st.DrawFn, *, weights: tuple[float, ...] = (0.01, 0.5, 1, 2, 1000)) -> _Queue:
    owners = draw(st.lists(st.sampled_from(_ORGANIZATIONS), max_size=20))
    kinds = draw(st.lists(st.sampled_from(BrowserType), min_size=len(owners), max_size=len(owners)))
    waiting = [_waiting(number, *entry) for number, entry in enumerate(zip(owners, kinds, strict=True))]
    limits = st.builds(Limits, max_open_sessions=st.none() | st.integers(0, 8))
    share = st.builds(Share, held=st.integers(0, 6), weight=st.sampled_from(weights), limits=limits)
    return _Queue(draw(st.permutations(waiting)), draw(st.dictionaries(st.sampled_from(_ORGANIZATIONS), share)))


@st.composite
def _fleets(draw: st.DrawFn) -> list[Node]:
    kinds = st.sampled_from([(BrowserType.CHROME,), (BrowserType.MSEDGE,), tuple(BrowserType)])
    count = draw(st.integers(0, 5))
    slots = [draw(st.integers(1, 4)) for _ in range(count)]
    return [
        a_node(
            node_id=f"nod_{number}",
            slots=slots[number],
            slots_used=draw(st.integers(0, slots[number])),
            state=draw(st.sampled_from(NodeState)),
            browsers=draw(kinds),
        )
        for number in range(count)
    ]


# ---- whose turn it is


@given(_queues())
def test_everybody_keeps_a_place_and_the_oldest_of_an_organization_comes_first(queue: _Queue) -> None:
    order = fair_order(queue.waiting, queue.shares)
    assert sorted(_numbers(order)) == sorted(_numbers(queue.waiting))
    for organization_id in _ORGANIZATIONS:
        own = [entry.session_id for entry in order if entry.organization_id == organization_id]
        assert own == sorted(own)


@given(_queues())
def test_the_order_does_not_depend_on_how_the_queue_was_read(queue: _Queue) -> None:
    by_age = sorted(queue.waiting, key=lambda entry: entry.session_id)
    assert fair_order(queue.waiting, queue.shares) == fair_order(by_age, queue.shares)


@given(_queues(weights=(1,)))
def test_nobodys_nth_slot_comes_after_an_equals_next_one(queue: _Queue) -> None:
    order = fair_order(queue.waiting, queue.shares)
    ranks = [queue.rank(entry) for entry in order]
    assert ranks == sorted(ranks)


@given(_queues(weights=(1,)), st.integers(1, 5))
def test_a_newcomer_without_a_slot_is_behind_no_second_slot(queue: _Queue, wanted: int) -> None:
    newcomer = OrganizationId("o_new")
    late = [_waiting(1000 + number, newcomer) for number in range(wanted)]
    order = fair_order([*queue.waiting, *late], queue.shares)
    for number, entry in enumerate(late):
        behind = order[order.index(entry) :]
        ahead = order[: order.index(entry)]
        assert all(queue.rank(other) <= number for other in ahead if other.organization_id != newcomer)
        assert all(queue.rank(other) >= number for other in behind if other.organization_id != newcomer)


@given(_queues())
def test_slots_grow_in_proportion_to_weights(queue: _Queue) -> None:
    keys = [
        queue.rank(entry) / queue.shares.get(entry.organization_id, Share()).weight
        for entry in fair_order(queue.waiting, queue.shares)
    ]
    assert keys == sorted(keys)


def test_an_organization_of_twice_the_weight_gets_two_of_three_slots() -> None:
    waiting = [_waiting(number, ORGANIZATION) for number in range(10)]
    waiting += [_waiting(100 + number, OTHER_ORGANIZATION) for number in range(10)]
    shares = {ORGANIZATION: Share(weight=1.0), OTHER_ORGANIZATION: Share(weight=2.0)}
    first = Counter(entry.organization_id for entry in fair_order(waiting, shares)[:9])
    assert first == {ORGANIZATION: 3, OTHER_ORGANIZATION: 6}


def test_whoever_holds_slots_already_waits_until_the_others_have_as_many() -> None:
    waiting = [_waiting(1, ORGANIZATION), *(_waiting(number, OTHER_ORGANIZATION) for number in (2, 3, 4))]
    assert _numbers(fair_order(waiting, {ORGANIZATION: Share(held=2)})) == [2, 3, 1, 4]


# ---- who gets a slot


@given(_queues(), _fleets())
def test_placements_keep_to_slots_browsers_and_quotas_and_leave_no_slot_that_fits(
    queue: _Queue, nodes: list[Node]
) -> None:
    order = fair_order(queue.waiting, queue.shares)
    placements = next_placements(order, nodes, queue.shares)
    placed = [entry for entry, _ in placements]
    assert placed == [entry for entry in order if entry in placed]
    taken = Counter(node_id for _, node_id in placements)
    by_id = {node.id: node for node in nodes}
    for entry, node_id in placements:
        assert by_id[node_id].state is NodeState.ACTIVE
        assert can_serve(by_id[node_id], entry.need)
        assert taken[node_id] <= by_id[node_id].slots_free
    given = Counter(entry.organization_id for entry in placed)
    for organization_id, count in given.items():
        share = queue.shares.get(organization_id, Share())
        assert may_open(share.limits, share.held + count - 1)
    free = [node for node in nodes if node.state is NodeState.ACTIVE and node.slots_free > taken[node.id]]
    for entry in order:
        share = queue.shares.get(entry.organization_id, Share())
        if entry not in placed and may_open(share.limits, share.held + given[entry.organization_id]):
            assert not any(can_serve(node, entry.need) for node in free)


def test_whoever_cannot_be_served_blocks_nobody() -> None:
    edge = _waiting(1, ORGANIZATION, BrowserType.MSEDGE)
    at_quota, chrome = _waiting(2, ORGANIZATION), _waiting(3, OTHER_ORGANIZATION)
    full_of_edge = a_node(node_id="nod_2", slots=1, slots_used=1, browsers=(BrowserType.MSEDGE,))
    shares = {ORGANIZATION: Share(limits=Limits(max_open_sessions=0))}
    placements = next_placements([edge, at_quota, chrome], [a_node(slots=9), full_of_edge], shares)
    assert placements == [(chrome, "nod_1")]


def test_the_emptiest_nodes_are_filled_first() -> None:
    nodes = [a_node(node_id="nod_a", slots=1), a_node(node_id="nod_b", slots=3), a_node(node_id="nod_c", slots=2)]
    placements = next_placements([_waiting(number) for number in range(7)], nodes, {})
    assert [node_id for _, node_id in placements] == ["nod_b", "nod_c", "nod_b", "nod_c", "nod_b", "nod_a"]


# ---- why it waits


def test_a_reason_names_the_quota_before_the_fleet() -> None:
    share = Share(held=2, limits=Limits(max_open_sessions=2))
    assert reason_of(_waiting(1), [], share) is QueueReason.QUOTA


def test_a_reason_tells_a_full_fleet_from_one_that_does_not_take_sessions() -> None:
    full, edge = a_node(slots=1, slots_used=1), a_node(node_id="nod_2", browsers=(BrowserType.MSEDGE,))
    assert reason_of(_waiting(1), [full, edge], Share()) is QueueReason.FLEET_FULL
    closed = [a_node(node_id=f"nod_{state}", state=state) for state in NodeState if state is not NodeState.ACTIVE]
    assert reason_of(_waiting(1), [*closed, edge], Share()) is QueueReason.NO_NODE


def test_every_reason_is_a_sentence() -> None:
    assert all(reason.sentence.endswith(".") for reason in QueueReason)
