"""Where a session goes: a decision on values, without I/O."""

import random
from collections.abc import Sequence

from session_api.domain.browser import BrowserSpec
from session_api.domain.errors import NoCapableNode
from session_api.domain.node import Node, NodeState

# Looking at a few nodes drawn by chance is nearly as good as looking at all of them (Mitzenmacher, "The Power of Two
# Choices in Randomized Load Balancing", 2001), costs the same in a large fleet as in a small one, and keeps
# replicas that decide at the same moment from choosing the same node.
_DRAWN = 8
# A machine that is this busy is chosen only when no other is left.
_BUSY = 0.9


def candidates(nodes: Sequence[Node], spec: BrowserSpec, *, chance: random.Random) -> list[Node]:
    """Return nodes that could take the session now, best first; empty when every slot is taken.

    Raises NoCapableNode when no node that is not lost has such a browser, because then waiting does not help.
    """
    if not any(spec.browser_type in node.browsers and not node.is_lost for node in nodes):
        raise NoCapableNode(
            f"No node of the fleet has the browser {spec.browser_type}.", browser_type=spec.browser_type
        )
    drawn = chance.sample(nodes, _DRAWN) if len(nodes) > _DRAWN else nodes
    free = [node for node in drawn if _has_room(node, spec)]
    if not free and len(drawn) < len(nodes):
        free = [node for node in nodes if _has_room(node, spec)]
    return sorted(free, key=_rank)


def _has_room(node: Node, spec: BrowserSpec) -> bool:
    return node.state is NodeState.ACTIVE and node.slots_free > 0 and spec.browser_type in node.browsers


def _rank(node: Node) -> tuple[bool, float, str]:
    pressure = node.pressure
    is_busy = pressure is not None and max(pressure.cpu, pressure.memory) >= _BUSY
    return (is_busy, node.slots_used / node.slots, node.id)
