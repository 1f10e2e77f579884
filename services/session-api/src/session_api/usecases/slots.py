"""Free slots: looked for in a recent picture of the fleet, taken in the database."""

import random
from collections.abc import Awaitable, Callable, Set
from contextlib import suppress

from fleetkit.clock import Clock
from session_api.domain.browser import BrowserSpec
from session_api.domain.errors import NoCapableNode, OptionUnavailable
from session_api.domain.identifiers import NodeId
from session_api.domain.node import Node
from session_api.domain.placement import candidates
from session_api.domain.session import Allocation
from session_api.usecases.ports import Transaction

# Takes a slot of a node if it has one, and tells.
Claim = Callable[[Node], Awaitable[bool]]

# A picture may be wrong all the time, because other replicas take slots too: the database has the last word. This
# only bounds how often it is.
_PICTURE_SECONDS = 1.0
_MOST_TRIED = 4


class Slots:
    """Takes slots. The picture of the fleet spares reading every node for every session."""

    def __init__(self, *, clock: Clock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._picture: dict[NodeId, Node] = {}
        self._good_until = 0.0

    async def take(
        self, tx: Transaction, spec: BrowserSpec, *, tried: Set[NodeId] = frozenset(), claim: Claim | None = None
    ) -> Allocation | None:
        """Take a slot of a node that was not tried; None when every slot is taken.

        `claim` does more than take the slot, where that is wanted; what it raises ends the search. Raises NoCapableNode,
        OptionUnavailable.
        """
        claim = claim or tx.nodes.take_slot
        if self._clock.monotonic() < self._good_until:
            # What the picture does not have, the fleet may have by now.
            with suppress(NoCapableNode, OptionUnavailable):
                allocation = await self._take_one(claim, spec, tried)
                if allocation is not None:
                    return allocation
        self._picture = {node.id: node for node in await tx.nodes.all()}
        self._good_until = self._clock.monotonic() + _PICTURE_SECONDS
        return await self._take_one(claim, spec, tried)

    async def require_capable(self, tx: Transaction, spec: BrowserSpec) -> None:
        """Raise NoCapableNode or OptionUnavailable when no node of the fleet can serve such a session."""
        _ = candidates(await tx.nodes.all(), spec, chance=self._chance)

    async def _take_one(self, claim: Claim, spec: BrowserSpec, tried: Set[NodeId]) -> Allocation | None:
        nodes = list(self._picture.values())
        if tried:
            nodes = [node for node in nodes if node.id not in tried]
        for node in candidates(nodes, spec, chance=self._chance)[:_MOST_TRIED]:
            if await claim(node):
                self._picture[node.id] = node.with_slot_taken()
                return node.allocation
        return None
