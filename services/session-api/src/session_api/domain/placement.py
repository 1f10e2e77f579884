"""Where a session goes: a decision on values, without I/O."""

from collections.abc import Iterable

from session_api.domain.errors import NoCapableNode
from session_api.domain.node import Node, NodeState
from session_api.domain.session import BrowserSpec


def candidates(nodes: Iterable[Node], spec: BrowserSpec) -> list[Node]:
    """Return the nodes that could take the session now, best first: most free slots, then the lower ID.

    An empty list means that every slot is taken. Raises NoCapableNode when no node that is not lost has such a
    browser, because then waiting does not help.
    """
    capable = [node for node in nodes if node.state is not NodeState.LOST and spec.browser_type in node.browsers]
    if not capable:
        raise NoCapableNode(
            f"No node of the fleet has the browser {spec.browser_type}.", browser_type=spec.browser_type
        )
    free = [node for node in capable if node.state is NodeState.ACTIVE and node.slots_free > 0]
    return sorted(free, key=lambda node: (-node.slots_free, node.id))
