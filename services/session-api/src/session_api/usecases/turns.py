"""Whose turn it is: the queue and the free slots of a moment, read together."""

from session_api.domain.node import Node
from session_api.domain.queue import Waiting, fair_order, next_placements, servable
from session_api.usecases.ports import Transaction

# More of one organization's sessions of one need than this do not get a slot at once; the next look is near.
_CONSIDERED = 100


async def next_turns(tx: Transaction, *, newcomer: Waiting | None = None) -> list[tuple[Waiting, Node]]:
    """Return who gets a slot now, and of which node, in order; `newcomer` is not in the queue yet and joins last.

    A proposal: whoever acts on it takes the slot with its guards.
    """
    if newcomer is None and not await tx.queue.size():
        return []
    nodes = {node.id: node for node in await tx.nodes.all()}
    if not any(node.has_room for node in nodes.values()):
        # So it is most of the time while there is a queue, and a long one need not be read.
        return []
    waiting = await tx.queue.waiting(limit=_CONSIDERED)
    if newcomer is not None:
        waiting.append(newcomer)
    shares = await tx.queue.shares(also=newcomer.organization_id if newcomer else None)
    placements = next_placements(fair_order(servable(waiting, nodes.values()), shares), nodes.values(), shares)
    return [(entry, nodes[node_id]) for entry, node_id in placements]
