"""session-api's Database port in memory: transactions one after the other, undone when their block raises."""

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from fleetkit.clock import Clock
from fleetkit.paging import Page, PageRequest
from session_api.domain.caller import Caller, Scope
from session_api.domain.errors import SessionChanged, SessionNotFound
from session_api.domain.node import NewNode, Node, NodeState, Registration, RunningBrowser
from session_api.domain.session import Allocation, NodeId, OrganizationId, Session, SessionId, SessionState
from session_api.usecases.ports import SessionExists, SessionQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """A message of the outbox: what is to be done (PUBLISH or PURGE), and on which subject."""

    action: str
    subject: str


@dataclass(slots=True, kw_only=True)
class _Tables:
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    nodes: dict[NodeId, Node] = field(default_factory=dict)
    outbox: list[News] = field(default_factory=list)
    keys: dict[bytes, tuple[OrganizationId, Scope]] = field(default_factory=dict)
    caps: dict[OrganizationId, timedelta | None] = field(default_factory=dict)


class MemoryDatabase:
    """See Database. `fails_with`, while set, is raised by every transaction: an outage.

    `waiting` is the number of transactions that have yet to begin because another has not ended.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tables = _Tables()
        self._one_at_a_time = asyncio.Lock()
        self.fails_with: Exception | None = None
        self.waiting = 0

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator["MemoryTransaction"]:
        if self.fails_with is not None:
            raise self.fails_with
        async with self._turn():
            before = copy.copy(self._tables)
            for name in ("sessions", "nodes", "outbox", "keys", "caps"):
                setattr(before, name, copy.copy(getattr(self._tables, name)))
            try:
                yield MemoryTransaction(self._tables, self._clock)
            except BaseException:
                self._tables = before
                raise

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        self.waiting += 1
        try:
            await self._one_at_a_time.acquire()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._one_at_a_time.release()

    @property
    def outbox(self) -> list[News]:
        return list(self._tables.outbox)

    def types_of(self, session_id: SessionId) -> list[str]:
        """Return what was announced of a session, in order."""
        prefix = f"fleet.v1.session.{session_id}."
        return [news.subject.removeprefix(prefix) for news in self.outbox if news.subject.startswith(prefix)]

    def session(self, session_id: SessionId) -> Session:
        return self._tables.sessions[session_id]

    def sessions(self) -> list[Session]:
        return list(self._tables.sessions.values())

    def node(self, node_id: NodeId) -> Node:
        return self._tables.nodes[node_id]

    def put(self, *sessions: Session) -> None:
        """Store sessions as they are, as if they had come there by themselves."""
        self._tables.sessions.update({session.id: session for session in sessions})

    def put_node(self, node: Node) -> None:
        self._tables.nodes[node.id] = node

    def revoke(self, digest: bytes) -> None:
        del self._tables.keys[digest]


class MemoryTransaction:
    """See Transaction."""

    def __init__(self, tables: _Tables, clock: Clock) -> None:
        self._clock = clock
        self.sessions = MemorySessions(tables)
        self.nodes = MemoryNodes(tables)
        self.outbox = MemoryOutbox(tables)
        self.keys = MemoryKeys(tables)

    async def now(self) -> datetime:
        return self._clock.now()


class MemorySessions:
    """See SessionRepository."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables
        self._rows = tables.sessions

    async def get(self, session_id: SessionId, *, organization_id: OrganizationId | None = None) -> Session:
        session = self._rows.get(session_id)
        if session is None or organization_id not in {None, session.organization_id}:
            raise SessionNotFound
        return session

    async def lock(self, session_id: SessionId) -> Session:
        return await self.get(session_id)

    async def by_request(self, organization_id: OrganizationId, request_id: str) -> Session | None:
        return next(
            (
                session
                for session in self._rows.values()
                if request_id and (session.organization_id, session.request_id) == (organization_id, request_id)
            ),
            None,
        )

    async def add(self, session: Session) -> None:
        if session.id in self._rows or await self.by_request(session.organization_id, session.request_id):
            raise SessionExists
        self._rows[session.id] = session

    async def save(self, session: Session) -> None:
        stored = self._rows.get(session.id)
        if stored is None or stored.revision != session.revision:
            raise SessionChanged("Somebody else changed the session at the same time.")
        self._rows[session.id] = replace(session, revision=session.revision + 1)

    async def page(self, query: SessionQuery, page: PageRequest) -> Page[Session]:
        rows = sorted(
            (row for row in self._rows.values() if _matches(row, query)), key=lambda row: row.id, reverse=True
        )
        rows = [row for row in rows if page.after is None or row.id < page.after]
        more = len(rows) > page.size
        return Page(items=rows[: page.size], next_after=rows[page.size - 1].id if more else None)

    async def unfinished_of(self, node_id: NodeId) -> list[Session]:
        node = self._tables.nodes.get(node_id)
        return [
            session
            for session in self._rows.values()
            if not session.state.is_final
            and node is not None
            and session.allocation is not None
            and session.allocation.node_id == node_id
            and session.allocation.registration_id == node.registration_id
        ]

    async def orphaned(self, *, limit: int) -> list[SessionId]:
        found = []
        for session in self._rows.values():
            if session.state.is_final or session.allocation is None:
                continue
            node = self._tables.nodes[session.allocation.node_id]
            if node.state is NodeState.LOST or node.registration_id != session.allocation.registration_id:
                found.append(session.id)
        return found[:limit]

    async def stuck(self, state: SessionState, *, since: datetime, limit: int) -> list[SessionId]:
        rows = (row for row in self._rows.values() if row.state is state and row.state_time < since)
        return [row.id for row in rows if not row.state.is_final][:limit]

    async def record_clients(self, node_id: NodeId, running: list[RunningBrowser]) -> None:
        for browser in running:
            session = self._rows.get(browser.session_id)
            if session is None or session.state.is_final or session.epoch != browser.epoch:
                continue
            if session.allocation is not None and session.allocation.node_id == node_id:
                self._rows[session.id] = replace(session, client_count=browser.client_count)


def _matches(session: Session, query: SessionQuery) -> bool:
    node_id = session.allocation.node_id if session.allocation else None
    return (
        query.organization_id in {None, session.organization_id}
        and (not query.states or session.state in query.states)
        and (
            query.expire_before is None
            or (session.expire_time is not None and session.expire_time < query.expire_before)
        )
        and query.node_id in {None, node_id}
    )


class MemoryNodes:
    """See NodeRepository."""

    def __init__(self, tables: _Tables) -> None:
        self._rows = tables.nodes

    async def register(self, node: NewNode, *, ids: Registration, now: datetime) -> Registration:
        known = next((row for row in self._rows.values() if row.name == node.name), None)
        node_id = known.id if known else ids.node_id
        self._rows[node_id] = Node(
            id=node_id,
            name=node.name,
            registration_id=ids.registration_id,
            state=NodeState.ACTIVE,
            address=node.address,
            attach_url=node.attach_url,
            slots=node.slots,
            slots_used=0,
            browsers=dict(node.browsers),
            heartbeat_time=now,
        )
        return Registration(node_id=node_id, registration_id=ids.registration_id)

    async def get(self, node_id: NodeId) -> Node | None:
        return self._rows.get(node_id)

    async def all(self) -> list[Node]:
        return sorted(self._rows.values(), key=lambda node: node.id)

    async def take_slot(self, node: Node) -> bool:
        row = self._rows.get(node.id)
        if row is None or row.registration_id != node.registration_id:
            return False
        if row.state is not NodeState.ACTIVE or row.slots_free < 1:
            return False
        self._rows[row.id] = replace(row, slots_used=row.slots_used + 1)
        return True

    async def release_slot(self, allocation: Allocation) -> None:
        row = self._rows.get(allocation.node_id)
        if row is None or row.registration_id != allocation.registration_id:
            return
        self._rows[row.id] = replace(row, slots_used=max(0, row.slots_used - 1))

    async def beat(self, node_id: NodeId, registration_id: str, *, draining: bool, now: datetime) -> bool:
        row = self._rows.get(node_id)
        if row is None or row.registration_id != registration_id or row.state is NodeState.LOST:
            return False
        state = NodeState.DRAINING if draining else NodeState.ACTIVE
        self._rows[node_id] = replace(row, heartbeat_time=now, state=state)
        return True

    async def give_up(self, *, silent_since: datetime) -> list[NodeId]:
        silent = [
            row for row in self._rows.values() if row.state is not NodeState.LOST and row.heartbeat_time < silent_since
        ]
        for row in silent:
            self._rows[row.id] = replace(row, state=NodeState.LOST)
        return [row.id for row in silent]


class MemoryOutbox:
    """See Outbox."""

    def __init__(self, tables: _Tables) -> None:
        self._rows = tables.outbox

    async def announce(self, session: Session, *, what: str, now: datetime) -> None:
        self._rows.append(News(action="PUBLISH", subject=f"fleet.v1.session.{session.id}.{what}"))

    async def schedule_deadline(self, session: Session) -> None:
        self._rows.append(News(action="PUBLISH", subject=f"schedule.session.{session.id}"))

    async def cancel_deadline(self, session_id: SessionId) -> None:
        self._rows.append(News(action="PURGE", subject=f"schedule.session.{session_id}"))


class MemoryKeys:
    """See KeyRepository."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables

    async def caller(self, digest: bytes) -> Caller | None:
        found = self._tables.keys.get(digest)
        if found is None:
            return None
        organization_id, scope = found
        return Caller(organization_id=organization_id, scope=scope, max_timeout=self._tables.caps.get(organization_id))

    async def add(
        self, digest: bytes, *, organization_id: OrganizationId, scope: Scope, max_timeout: timedelta | None
    ) -> None:
        self._tables.keys[digest] = (organization_id, scope)
        self._tables.caps[organization_id] = max_timeout or self._tables.caps.get(organization_id)
