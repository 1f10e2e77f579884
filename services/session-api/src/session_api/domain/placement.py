"""Where a session goes: a decision on values, without I/O."""

import random
from collections.abc import Sequence
from functools import partial

from session_api.domain.browser import BrowserSpec, BrowserTier, Need
from session_api.domain.capabilities import can_serve, require_servable
from session_api.domain.node import Node

# Looking at a few nodes drawn by chance is nearly as good as looking at all of them (Mitzenmacher, "The Power of Two
# Choices in Randomized Load Balancing", 2001), costs the same in a large fleet as in a small one, and keeps
# replicas that decide at the same moment from choosing the same node.
_DRAWN = 8
# A machine that is this busy is chosen only when no other is left.
_BUSY = 0.9


def candidates(nodes: Sequence[Node], spec: BrowserSpec, *, chance: random.Random) -> list[Node]:
    """Return nodes that could take the session now, best first; empty when every slot is taken.

    A quiet machine comes before a busy one, then one with a browser that stands ready, then the emptier one. Raises
    NoCapableNode or OptionUnavailable when no node that is not lost can serve the session, because then waiting does
    not help.
    """
    need = spec.need
    if not any(can_serve(node, need) and not node.is_lost for node in nodes):
        require_servable((node for node in nodes if not node.is_lost), need)
    drawn = chance.sample(nodes, _DRAWN) if len(nodes) > _DRAWN else nodes
    free = [node for node in drawn if node.has_room and can_serve(node, need)]
    if not free and len(drawn) < len(nodes):
        free = [node for node in nodes if node.has_room and can_serve(node, need)]
    return sorted(free, key=partial(_rank, need=need))


def _rank(node: Node, *, need: Need) -> tuple[bool, bool, float, str]:
    pressure = node.pressure
    is_busy = pressure is not None and max(pressure.cpu, pressure.memory) >= _BUSY
    starts_cold = need.tier is not BrowserTier.FULL or node.warm_browsers == 0
    return (is_busy, starts_cold, node.slots_used / node.slots, node.id)
