"""Nodes in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from fleetkit.clock import Clock
from fleetkit.paging import Page, PageRequest
from session_api.domain.errors import NodeNameTaken, NodeNotFound
from session_api.domain.identifiers import NodeId
from session_api.domain.node import NewNode, Node, NodeReport, NodeState, Registration
from session_api.domain.session import Allocation, Session
from session_api.usecases.ports import Beat, HeldSession
from tests.support.fleet_memory.tables import Tables, Watch, page_of


class MemoryNodes:
    """See NodeRepository."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._rows = tables.nodes
        self._clock = clock

    async def register(self, node: NewNode, *, ids: Registration, now: datetime) -> Registration:
        known = next((row for row in self._rows.values() if row.name == node.name), None)
        node_id = known.id if known else ids.node_id
        if self._tables.owners.get(node_id) not in {None, node.owner_id}:
            raise NodeNameTaken("A node of another organization has this name.")
        self._tables.owners[node_id] = node.owner_id
        self._rows[node_id] = Node(
            id=node_id,
            name=node.name,
            registration_id=ids.registration_id,
            address=node.address,
            attach_url=node.attach_url,
            slots=node.slots,
            slots_used=0,
            browsers=dict(node.browsers),
            register_time=now,
            heartbeat_time=now,
            report_time=now,
            is_cordoned=known.is_cordoned if known else False,
            capabilities=node.capabilities,
        )
        return Registration(node_id=node_id, registration_id=ids.registration_id)

    async def get(self, node_id: NodeId) -> Node:
        row = self._rows.get(node_id)
        if row is None:
            raise NodeNotFound
        return row

    async def lock(self, node_id: NodeId) -> Node:
        return await self.get(node_id)

    async def save(self, node: Node) -> None:
        row = self._rows.get(node.id)
        if row is not None:
            self._rows[row.id] = replace(row, is_cordoned=node.is_cordoned, drain_time=node.drain_time)

    async def all(self) -> list[Node]:
        return sorted(self._rows.values(), key=lambda node: node.id)

    async def page(self, states: Sequence[NodeState], page: PageRequest) -> Page[Node]:
        found = [node for node in await self.all() if not states or node.state in states]
        rest = [node for node in found if page.after is None or node.id > page.after]
        return page_of(rest, page, key=lambda node: node.id)

    async def take_slot(self, node: Node) -> bool:
        row = self._rows.get(node.id)
        if row is None or row.registration_id != node.registration_id:
            return False
        if row.state is not NodeState.ACTIVE or row.slots_free < 1:
            return False
        self._rows[row.id] = row.with_slot_taken()
        return True

    async def release_slot(self, allocation: Allocation) -> None:
        row = self._rows.get(allocation.node_id)
        if row is not None and row.registration_id == allocation.registration_id and row.slots_used > 0:
            self._rows[row.id] = replace(row, slots_used=row.slots_used - 1)

    async def beat(self, report: NodeReport) -> Beat | None:
        row = self._rows.get(report.node_id)
        if row is None or row.registration_id != report.registration_id or row.is_lost:
            return None
        now = self._clock.now()
        self._rows[row.id] = replace(
            row,
            heartbeat_time=now,
            report_time=row.heartbeat_time,
            is_stopping=report.draining,
            pressure=report.pressure,
            warm_browsers=report.warm_browsers,
        )
        return Beat(now=now, held=[_held(session) for session in self._tables.held_by(row.id)])

    async def beats(self, reports: Sequence[NodeReport]) -> dict[NodeId, Beat | None]:
        return {report.node_id: await self.beat(report) for report in reports}

    async def watch(self, *, now: datetime, longest_gap: timedelta) -> datetime:
        watch = self._tables.watch.get(True)
        since = now if watch is None or now - watch.seen > longest_gap else watch.since
        self._tables.watch[True] = Watch(since=since, seen=now)
        return since

    async def give_up(self, *, silent_since: datetime) -> list[Node]:
        silent = [row for row in await self.all() if not row.is_lost and row.heartbeat_time < silent_since]
        lost = [replace(row, is_lost=True) for row in silent]
        for row in lost:
            self._rows[row.id] = row
        return lost


def _held(session: Session) -> HeldSession:
    return HeldSession(
        session_id=session.id,
        epoch=session.epoch,
        state=session.state,
        state_time=session.state_time,
        timeout=session.timeout,
        expire_time=session.expire_time,
        client_count=session.client_count,
        viewer_count=session.viewer_count,
        has_idle_timeout=session.idle is not None,
        control_generation=session.control.generation if session.control else 0,
    )
