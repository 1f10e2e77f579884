"""What operators do with nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from fleetkit.paging import Page, PageRequest
from session_api.domain.identifiers import NodeId
from session_api.domain.node import Node, NodeState
from session_api.domain.session import Session
from session_api.usecases.ports import Bells, Database, Transaction
from session_api.usecases.reaping import Reaping


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDetails:
    """A node and what it holds."""

    node: Node
    sessions: list[Session]


class NodeOperations:
    """Looking at nodes, and emptying them. Raises NodeNotFound where a node is named."""

    def __init__(self, *, database: Database, reaping: Reaping, bells: Bells) -> None:
        self._database = database
        self._reaping = reaping
        self._bells = bells

    async def get(self, node_id: NodeId) -> NodeDetails:
        """Return a node and what it holds."""
        async with self._database.transaction() as tx:
            return NodeDetails(node=await tx.nodes.get(node_id), sessions=await tx.sessions.on_node(node_id))

    async def list(self, states: Sequence[NodeState], page: PageRequest) -> Page[Node]:
        """Return one page of nodes in any of these states (empty: in every one), by ID."""
        async with self._database.single() as tx:
            return await tx.nodes.page(states, page)

    async def cordon(self, node_id: NodeId) -> Node:
        """Let a node take no new sessions, also after it registers anew."""
        async with self._database.transaction() as tx:
            node = await tx.nodes.lock(node_id)
            return await self._save(tx, node, node.cordoned(), what="cordoned")

    async def uncordon(self, node_id: NodeId) -> Node:
        """Let a node take sessions again; a drain ends."""
        async with self._database.transaction() as tx:
            node = await tx.nodes.lock(node_id)
            node = await self._save(tx, node, node.uncordoned(), what="uncordoned")
        self._bells.queue.set()
        return node

    async def drain(self, node_id: NodeId, *, timeout: timedelta) -> Node:
        """Cordon a node and close what is left on it after `timeout`, zero: at once."""
        async with self._database.transaction() as tx:
            node = await tx.nodes.lock(node_id)
            node = await self._save(tx, node, node.draining(by=await tx.now() + timeout), what="draining")
        if timeout <= timedelta(0):
            # What this replica leaves undone, the reaper's next pass finds.
            await self._reaping.close_drained()
        return node

    async def _save(self, tx: Transaction, before: Node, after: Node, *, what: str) -> Node:
        if after != before:
            await tx.nodes.save(after)
            await tx.outbox.announce_node(after, what=what, now=await tx.now())
            self._bells.relay.set()
        return after
