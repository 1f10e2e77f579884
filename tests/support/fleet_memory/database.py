"""Transactions of the database in memory: one after the other, undone when their block raises."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

from fleetkit.clock import Clock
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.node import Node
from session_api.domain.organization import Organization
from session_api.domain.session import Session
from session_api.domain.usage import UsageRecord
from tests.support.fleet_memory.nodes import MemoryNodes
from tests.support.fleet_memory.organizations import MemoryKeys, MemoryOrganizations, MemoryUsage
from tests.support.fleet_memory.outbox import MemoryOutbox
from tests.support.fleet_memory.queue import MemoryQueue
from tests.support.fleet_memory.sessions import MemorySessions
from tests.support.fleet_memory.tables import News, SessionRow, Tables


class MemoryDatabase:
    """See Database. `fails_with`, while set, is raised by every transaction: an outage.

    `waiting` is the number of transactions that have yet to begin because another has not ended. What a test looks at
    is what is committed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tables = Tables()
        self._one_at_a_time = asyncio.Lock()
        self.fails_with: Exception | None = None
        self.waiting = 0

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator["MemoryTransaction"]:
        async with self._turn():
            try:
                yield MemoryTransaction(self._tables, self._clock)
            except BaseException:
                self._tables.roll_back()
                raise
            self._tables.commit()

    @contextlib.asynccontextmanager
    async def single(self) -> AsyncIterator["MemoryTransaction"]:
        async with self._turn():
            transaction = MemoryTransaction(self._tables, self._clock)
            # News are written at the end of a transaction: where there is none they would be lost.
            del transaction.outbox
            try:
                yield transaction
            finally:
                self._tables.commit()

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self.fails_with is not None:
            raise self.fails_with
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
        return self._tables.sessions.committed()[session_id].session

    def sessions(self) -> list[Session]:
        return [row.session for row in self._tables.sessions.committed().values()]

    def node(self, node_id: NodeId) -> Node:
        return self._tables.nodes.committed()[node_id]

    def nodes(self) -> list[Node]:
        return list(self._tables.nodes.committed().values())

    def organization(self, organization_id: OrganizationId) -> Organization:
        return self._tables.organizations.committed()[organization_id]

    def usage(self) -> list[UsageRecord]:
        return list(self._tables.usage.committed().values())

    def put(self, *sessions: Session) -> None:
        """Store sessions as they are, as if they had come there by themselves."""
        for session in sessions:
            row = SessionRow(session=session, due_time=session.due_time, change=self._tables.transaction)
            self._tables.sessions.put(session.id, row)
        self._tables.transaction += 1

    def put_node(self, node: Node) -> None:
        self._tables.nodes.put(node.id, node)

    def put_organization(self, organization: Organization) -> None:
        self._tables.organizations.put(organization.id, organization)

    def revoke(self, digest: bytes) -> None:
        """End a key at once, as its owner would."""
        key = self._tables.keys[digest]
        self._tables.keys.put(digest, key.revoked(now=self._clock.now()))


class MemoryTransaction:
    """See Transaction."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._clock = clock
        self.sessions = MemorySessions(tables, clock)
        self.queue = MemoryQueue(tables)
        self.nodes = MemoryNodes(tables, clock)
        self.outbox = MemoryOutbox(tables)
        self.organizations = MemoryOrganizations(tables, clock)
        self.keys = MemoryKeys(tables, clock)
        self.usage = MemoryUsage(tables)

    async def now(self) -> datetime:
        return self._clock.now()
