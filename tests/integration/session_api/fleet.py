"""session-api's use cases on a real Postgres; only the nodes are fakes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from fleetkit.clock import SystemClock
from fleetkit.ids import RandomIds
from fleetkit.lifecycle import OwnedTasks
from fleetkit.postgres import Pool, open_pool
from fleetkit.settings import Secret
from session_api.adapters.postgres.database import PostgresDatabase
from session_api.domain.caller import Caller, Scope
from session_api.domain.node import Registration
from session_api.domain.session import BrowserSpec, NodeId, Session, SessionId
from session_api.usecases.access import Access
from session_api.usecases.creation import NewSession
from session_api.usecases.nodes import Nodes
from session_api.usecases.sessions import Sessions
from tests.support.fleet_builders import ORGANIZATION, FakeNodes, a_caller, a_new_node


@dataclass(frozen=True, slots=True, kw_only=True)
class RealFleet:
    """What the tests work with."""

    pool: Pool
    database: PostgresDatabase
    gateway: FakeNodes
    wake: asyncio.Event
    sessions: Sessions
    nodes: Nodes
    caller: Caller

    async def with_node(self, *, name: str = "node-a", slots: int = 2) -> Registration:
        return await self.nodes.register(a_new_node(name=name, slots=slots))

    async def create(self, *, request_id: str = "", timeout: timedelta | None = None) -> Session:
        request = NewSession(spec=BrowserSpec(), timeout=timeout, request_id=request_id)
        return await self.sessions.create(self.caller, request)

    async def stored(self, session_id: SessionId) -> Session:
        async with self.database.transaction() as tx:
            return await tx.sessions.get(session_id)

    async def slots_used(self, node_id: NodeId) -> int:
        async with self.database.transaction() as tx:
            node = await tx.nodes.get(node_id)
        assert node is not None
        return node.slots_used

    async def waiting_rows(self) -> int:
        count: int = await self.pool.fetchval("SELECT count(*) FROM fleet.outbox")
        return count


@contextlib.asynccontextmanager
async def a_real_fleet(dsn: str, *, pool_size: int = 20) -> AsyncIterator[RealFleet]:
    """Work on a migrated database within the block, with one organization in it."""
    gateway, ids, wake = FakeNodes(), RandomIds(), asyncio.Event()
    async with open_pool(Secret(dsn), max_size=pool_size) as pool, OwnedTasks() as tasks:
        database = PostgresDatabase(pool, ids)
        await Access(database=database).create_key(organization_id=ORGANIZATION, scope=Scope.MEMBER)
        yield RealFleet(
            pool=pool,
            database=database,
            gateway=gateway,
            wake=wake,
            sessions=Sessions(database=database, nodes=gateway, ids=ids, tasks=tasks, relay=wake),
            nodes=Nodes(database=database, clock=SystemClock(), ids=ids, relay=wake, lease=timedelta(seconds=15)),
            caller=a_caller(),
        )
