"""The way to session-api: whoever calls gets some replica."""

from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import TypeVar

from fleetkit.paging import Page, PageRequest
from reaper.policy import SessionId
from reaper.ports import NodeReport as NodesReaped
from session_api.control_plane import ControlPlane
from session_api.domain import identifiers
from session_api.domain.browser import BrowserType
from session_api.domain.node import Assignment, NewNode, NodeReport, Registration
from session_api.domain.session import Session, SessionState
from session_api.usecases.queries import SessionQuery
from tests.simulation.clocks import START
from tests.simulation.machines import Machine
from tests.simulation.node_model import FleetDoor
from tests.simulation.process import Process
from tests.simulation.replicas import Replica, ReplicaLife
from tests.simulation.surroundings import Surroundings

T = TypeVar("T")

_NODE_CALL = 5.0
_REAPER_CALL = 10.0
_PAGE_SIZE = 200
# An instant that every database has yet to reach: it takes its own clock then.
_DUE = SessionQuery(
    states=(SessionState.QUEUED, SessionState.STARTING, SessionState.RUNNING, SessionState.CLOSING),
    due_before=START + timedelta(days=1),
)


class Fleet:
    """All replicas behind one address."""

    def __init__(self, around: Surroundings) -> None:
        self.replicas: list[Replica] = []
        self._network = around.network
        self._chance = around.chance

    def some_life(self, *, but: ReplicaLife | None = None) -> ReplicaLife | None:
        """Return a replica that runs, another one than `but` where there is one; None while none runs."""
        lives = [replica.life for replica in self.replicas if replica.life is not None and replica.life.process.alive]
        others = [life for life in lives if life is not but] or lives
        return others[int(self._chance.random() * len(others))] if others else None

    async def call(
        self, source: Process, work: Callable[[ControlPlane], Coroutine[object, object, T]], *, within: float
    ) -> T:
        """Call some replica. Raises a FleetError."""
        return await self.call_at(self.some_life(), source, lambda life: work(life.plane), within=within)

    async def call_at(
        self,
        life: ReplicaLife | None,
        source: Process,
        work: Callable[[ReplicaLife], Coroutine[object, object, T]],
        *,
        within: float,
    ) -> T:
        """Call one replica. Raises a FleetError."""
        process = life.process if life is not None else None
        return await self._network.call(source, process, lambda: _work_in(life, work), within=within)


async def _work_in(life: ReplicaLife | None, work: Callable[[ReplicaLife], Coroutine[object, object, T]]) -> T:
    if life is None:
        raise AssertionError("a call arrived nowhere")
    return await work(life)


def door_of(fleet: Fleet, machine: Machine) -> FleetDoor:
    return _Door(fleet, machine)


class _Door:
    """See FleetDoor."""

    def __init__(self, fleet: Fleet, machine: Machine) -> None:
        self._fleet = fleet
        self._node = NewNode(
            name=machine.name,
            address=machine.name,
            attach_url=f"ws://{machine.name}",
            slots=machine.slots,
            browsers={BrowserType.CHROME: "Chrome/150.0"},
            owner_id=identifiers.OrganizationId("o_operator"),
        )

    async def register(self, source: Process) -> Registration:
        return await self._fleet.call(source, lambda plane: plane.nodes.register(self._node), within=_NODE_CALL)

    async def heartbeat(self, source: Process, report: NodeReport) -> list[Assignment]:
        return await self._fleet.call(source, lambda plane: plane.nodes.heartbeat(report), within=_NODE_CALL)


class SessionsOverNetwork:
    """The reaper's SessionGateway."""

    def __init__(self, fleet: Fleet, process: Process) -> None:
        self._fleet = fleet
        self._process = process

    async def reap(self, session_id: SessionId) -> None:
        wanted = identifiers.SessionId(session_id)
        await self._fleet.call(self._process, lambda plane: plane.reaping.reap(wanted), within=_REAPER_CALL)

    async def due(self) -> AsyncIterator[SessionId]:
        page = PageRequest(size=_PAGE_SIZE)
        while True:
            found = await self._page(page)
            for session in found.items:
                yield SessionId(session.id)
            if found.next_after is None:
                return
            page = PageRequest(size=_PAGE_SIZE, after=found.next_after)

    async def _page(self, page: PageRequest) -> Page[Session]:
        return await self._fleet.call(self._process, lambda plane: plane.sessions.list(_DUE, page), within=_REAPER_CALL)


class NodesOfFleet:
    """The reaper's NodeGateway."""

    def __init__(self, fleet: Fleet, process: Process) -> None:
        self._fleet = fleet
        self._process = process

    async def reap(self) -> NodesReaped:
        reaped = await self._fleet.call(self._process, lambda plane: plane.reaping.reap_nodes(), within=_REAPER_CALL)
        return NodesReaped(lost=reaped.lost, failed_sessions=reaped.failed, drained_sessions=reaped.drained)
