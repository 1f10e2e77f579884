"""An operator: cordons, drains, lifts both, and changes quotas."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from datetime import timedelta

from fleetkit.errors import FleetError
from session_api.control_plane import ControlPlane
from session_api.domain.identifiers import NodeId
from session_api.domain.node import Node
from session_api.domain.organization import Limits, Organization
from tests.simulation.fleet import Fleet
from tests.simulation.plan import ORGANIZATIONS
from tests.simulation.process import Process
from tests.simulation.surroundings import Surroundings


class Operator:
    """Does one thing at some time; `lift` undoes what keeps nodes from taking sessions."""

    def __init__(self, around: Surroundings, fleet: Fleet, process: Process) -> None:
        self._fleet = fleet
        self._process = process
        self._database = around.database
        self._chance = around.chance
        self._troubles = around.troubles
        self._active = around.plan.active

    async def operate_once(self) -> None:
        await asyncio.sleep(self._chance.random() * self._active * 0.9)
        nodes = self._database.nodes()
        if not nodes:
            return
        node_id = self._chance.choice(nodes).id
        timeout = timedelta(seconds=self._chance.choice((0, 0, 5, 15)))
        doings: tuple[Callable[[], Coroutine[object, object, None]], ...] = (
            lambda: self._ask(lambda plane: plane.node_operations.cordon(node_id)),
            lambda: self._ask(lambda plane: plane.node_operations.drain(node_id, timeout=timeout)),
            lambda: self._ask(lambda plane: plane.node_operations.drain(node_id, timeout=timeout)),
            lambda: self._lift(node_id),
            self._change_limits,
        )
        await self._chance.choice(doings)()

    async def lift(self) -> None:
        """Let every node take sessions again."""
        for node in self._database.nodes():
            while self._keeps_sessions_away(node.id):
                await self._lift(node.id)
                await asyncio.sleep(0.5)

    def _keeps_sessions_away(self, node_id: NodeId) -> bool:
        node = self._database.node(node_id)
        return node is not None and (node.is_cordoned or node.drain_time is not None)

    async def _lift(self, node_id: NodeId) -> None:
        await self._ask(lambda plane: plane.node_operations.uncordon(node_id))

    async def _ask(self, work: Callable[[ControlPlane], Coroutine[object, object, Node]]) -> None:
        with contextlib.suppress(FleetError):
            await self._fleet.call(self._process, work, within=10.0)

    async def _change_limits(self) -> None:
        organization_id = self._chance.choice(ORGANIZATIONS)
        limits = Limits(max_open_sessions=self._chance.choice((None, 1, 2, 3)))
        changes = Organization(id=organization_id, limits=limits)
        # From before the call: it may take effect although it fails.
        self._troubles.limited(organization_id, limits)
        with contextlib.suppress(FleetError):
            await self._fleet.call(
                self._process, lambda plane: plane.organizations.update(changes, ("limits",)), within=10.0
            )
        self._troubles.limited(organization_id, self._database.organization(organization_id).limits)
