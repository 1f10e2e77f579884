"""session-api's use cases on fakes."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from fleetkit.ids import RandomIds
from fleetkit.lifecycle import OwnedTasks
from session_api.domain.node import Registration
from session_api.domain.session import BrowserSpec, Session
from session_api.usecases.access import Access
from session_api.usecases.creation import NewSession
from session_api.usecases.nodes import Nodes
from session_api.usecases.sessions import Sessions
from tests.support.fleet_builders import Bell, FakeNodes, SteppedClock, a_caller, a_new_node
from tests.support.fleet_memory import MemoryDatabase

LEASE = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the tests of use cases work with."""

    clock: SteppedClock
    database: MemoryDatabase
    gateway: FakeNodes
    bell: Bell
    sessions: Sessions
    nodes: Nodes
    access: Access

    async def with_node(self, *, name: str = "node-a", slots: int = 2) -> Registration:
        return await self.nodes.register(a_new_node(name=name, slots=slots))

    async def create(self, *, request_id: str = "", timeout: timedelta | None = None) -> Session:
        return await self.sessions.create(a_caller(), a_request(request_id=request_id, timeout=timeout))

    def slots_used(self, registration: Registration) -> int:
        return self.database.node(registration.node_id).slots_used


def a_request(*, request_id: str = "", timeout: timedelta | None = None, spec: BrowserSpec | None = None) -> NewSession:
    return NewSession(spec=spec or BrowserSpec(), timeout=timeout, request_id=request_id)


@contextlib.asynccontextmanager
async def a_fleet() -> AsyncIterator[Fleet]:
    clock, ids, bell, gateway = SteppedClock(), RandomIds(), Bell(), FakeNodes()
    database = MemoryDatabase(clock)
    async with OwnedTasks(grace=timedelta(seconds=1)) as tasks:
        yield Fleet(
            clock=clock,
            database=database,
            gateway=gateway,
            bell=bell,
            sessions=Sessions(database=database, nodes=gateway, ids=ids, tasks=tasks, relay=bell),
            nodes=Nodes(database=database, clock=clock, ids=ids, relay=bell, lease=LEASE),
            access=Access(database=database),
        )
