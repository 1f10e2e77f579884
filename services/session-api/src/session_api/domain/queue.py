"""The queue for slots: whose turn it is, and where the next sessions go. Decisions on values, without I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from session_api.domain.browser import Need
from session_api.domain.capabilities import can_serve
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.node import Node, NodeState
from session_api.domain.organization import Limits, may_open


class QueueReason(StrEnum):
    """What a queued session waits for."""

    FLEET_FULL = "FLEET_FULL"
    NO_NODE = "NO_NODE"
    QUOTA = "QUOTA"

    @property
    def sentence(self) -> str:
        """The reason as one sentence for people."""
        return _SENTENCES[self]


_SENTENCES = {
    QueueReason.FLEET_FULL: "Every slot of the nodes that can serve such a session is taken.",
    QueueReason.NO_NODE: "Every node that can serve such a session is cordoned, draining or lost.",
    QueueReason.QUOTA: "The organization has as many open sessions as its quota allows.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A queued session. IDs sort by the time of their making."""

    session_id: SessionId
    organization_id: OrganizationId
    need: Need


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """An organization's part of the fleet: the slots that it holds, and what it should have."""

    held: int = 0
    weight: float = 1.0
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlace:
    """Where a queued session stands; `position` 1 is next. An estimate."""

    position: int
    reason: QueueReason
    expire_time: datetime


def servable(waiting: Iterable[Waiting], nodes: Iterable[Node]) -> list[Waiting]:
    """Return those for whom there is a free slot on some node. Nobody else takes part in the order of a moment: an
    organization must not stand behind what it cannot be given.
    """
    room = [node for node in nodes if node.has_room]
    found, known = [], dict[Need, bool]()
    for entry in waiting:
        if entry.need not in known:
            known[entry.need] = any(can_serve(node, entry.need) for node in room)
        if known[entry.need]:
            found.append(entry)
    return found


def fair_order(waiting: Iterable[Waiting], shares: Mapping[OrganizationId, Share]) -> list[Waiting]:
    """Return whose turn it is: the organization with the fewest slots for its weight, and within one the oldest.

    This is weighted max-min fairness over the slots held: an organization's n-th waiting session comes when it would
    hold n more, so that a queue of thousands does not keep out somebody who has nothing.
    """
    ranks: Counter[OrganizationId] = Counter()
    keyed = []
    for entry in sorted(waiting, key=lambda entry: entry.session_id):
        share = shares.get(entry.organization_id, Share())
        keyed.append(((share.held + ranks[entry.organization_id]) / share.weight, entry.session_id, entry))
        ranks[entry.organization_id] += 1
    return [entry for _, _, entry in sorted(keyed, key=lambda item: item[:2])]


def next_placements(
    order: Sequence[Waiting], nodes: Iterable[Node], shares: Mapping[OrganizationId, Share]
) -> list[tuple[Waiting, NodeId]]:
    """Return who gets a slot now and where, in order. Whoever cannot be served is passed over, and blocks nobody."""
    room = _Room(nodes)
    held = {organization_id: share.held for organization_id, share in shares.items()}
    placements = []
    for entry in order:
        share = shares.get(entry.organization_id, Share())
        if not may_open(share.limits, held.get(entry.organization_id, 0)):
            continue
        node_id = room.take(entry.need)
        if node_id is not None:
            held[entry.organization_id] = held.get(entry.organization_id, 0) + 1
            placements.append((entry, node_id))
    return placements


def reason_of(entry: Waiting, nodes: Iterable[Node], share: Share) -> QueueReason:
    """Return what a session waits for."""
    if not may_open(share.limits, share.held):
        return QueueReason.QUOTA
    serving = (node for node in nodes if node.state is NodeState.ACTIVE and can_serve(node, entry.need))
    return QueueReason.FLEET_FULL if any(serving) else QueueReason.NO_NODE


class _Room:
    """The free slots of a moment, counted down as they are given away."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._free = {node.id: node for node in nodes if node.has_room}

    def take(self, need: Need) -> NodeId | None:
        fitting = (node for node in self._free.values() if can_serve(node, need))
        best = max(fitting, key=lambda node: (node.slots_free, node.id), default=None)
        if best is None:
            return None
        if best.slots_free == 1:
            del self._free[best.id]
        else:
            self._free[best.id] = best.with_slot_taken()
        return best.id
