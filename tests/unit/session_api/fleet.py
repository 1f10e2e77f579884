"""session-api's use cases on fakes."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from fleetkit.ids import RandomIds
from fleetkit.lifecycle import OwnedTasks, background
from session_api.control_plane import ControlPlane, ControlPolicy
from session_api.domain.browser import BrowserSpec, BrowserType, SpecSecrets
from session_api.domain.caller import Caller
from session_api.domain.capabilities import Capabilities
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.node import Registration
from session_api.domain.organization import Limits, Organization
from session_api.domain.session import IdlePolicy, Session, SessionState
from session_api.usecases.admission import NewSession, QueuePolicy
from session_api.usecases.ports import Bells
from tests.support.fleet_builders import (
    ORGANIZATION,
    OTHER_ORGANIZATION,
    Bell,
    FakeNodes,
    SteppedClock,
    a_caller,
    a_new_node,
)
from tests.support.fleet_memory import MemoryDatabase
from tests.support.waiting import until

LEASE = timedelta(seconds=15)
# Longer than any test waits by itself.
LONG = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the tests of use cases work with. The queue moves when a test dispatches it."""

    clock: SteppedClock
    database: MemoryDatabase
    gateway: FakeNodes
    relay_bell: Bell
    queue_bell: Bell
    plane: ControlPlane

    async def with_node(
        self,
        *,
        name: str = "node-a",
        slots: int = 2,
        browsers: tuple[BrowserType, ...] = (BrowserType.CHROME,),
        capabilities: Capabilities | None = None,
    ) -> Registration:
        node = a_new_node(name=name, slots=slots, browsers=browsers, capabilities=capabilities)
        return await self.plane.nodes.register(node)

    async def create(
        self, *, caller: Caller | None = None, wait: timedelta = LONG, request: NewSession | None = None
    ) -> Session:
        return await self.plane.sessions.create(caller or a_caller(), request or a_request(), wait=wait)

    async def queue(self, *, caller: Caller | None = None, request: NewSession | None = None) -> Session:
        """Create a session that finds no slot, without waiting for one."""
        session = await self.create(caller=caller, request=request, wait=timedelta(0))
        assert session.state is SessionState.QUEUED
        return session

    async def dispatch(self) -> int:
        """Make one pass over the queue, and see the browsers that were placed come up."""
        placed = await self.plane.dispatching.dispatch()
        await until(lambda: not any(row.state is SessionState.STARTING for row in self.database.sessions()))
        return placed

    async def close(self, session: Session, *, caller: Caller | None = None) -> Session:
        return await self.plane.sessions.close(caller or a_caller(), session.id)

    async def in_state(self, session_id: SessionId, state: SessionState) -> Session:
        """Wait until a session has come to a state."""
        await until(lambda: self.database.session(session_id).state is state)
        return self.database.session(session_id)

    async def waiting_for_slot(self, create: "asyncio.Task[Session]") -> Session:
        """Wait until the session of a create that is under way stands in the queue; return it."""
        await until(lambda: create.done() or any(row.state is SessionState.QUEUED for row in self.database.sessions()))
        (queued,) = [row for row in self.database.sessions() if row.state is SessionState.QUEUED]
        return queued

    def limit(self, limits: Limits, organization_id: OrganizationId = ORGANIZATION, *, weight: float = 1.0) -> Caller:
        """Give an organization limits, and return a caller of it."""
        self.database.put_organization(Organization(id=organization_id, limits=limits, weight=weight))
        return a_caller(organization_id=organization_id, limits=limits)

    def slots_used(self, node: Registration | NodeId) -> int:
        return self.database.node(node.node_id if isinstance(node, Registration) else node).slots_used


def a_request(
    *,
    request_id: str = "",
    timeout: timedelta | None = None,
    browser_type: BrowserType = BrowserType.CHROME,
    spec: BrowserSpec | None = None,
    secrets: SpecSecrets | None = None,
    labels: Mapping[str, str] | None = None,
    idle: IdlePolicy | None = None,
    queue_timeout: timedelta | None = None,
) -> NewSession:
    return NewSession(
        spec=spec or BrowserSpec(browser_type=browser_type),
        secrets=secrets or SpecSecrets(),
        timeout=timeout,
        labels=labels or {},
        idle=idle,
        queue_timeout=queue_timeout,
        request_id=request_id,
    )


@contextlib.asynccontextmanager
async def a_fleet(*, queue: QueuePolicy | None = None, gateway: FakeNodes | None = None) -> AsyncIterator[Fleet]:
    """A fleet of two organizations and no node, within the block."""
    clock, relay_bell, queue_bell, gateway = SteppedClock(), Bell(), Bell(), gateway or FakeNodes()
    database = MemoryDatabase(clock)
    for organization_id in (ORGANIZATION, OTHER_ORGANIZATION):
        database.put_organization(Organization(id=organization_id))
    async with OwnedTasks(grace=timedelta(seconds=1)) as tasks:
        plane = ControlPlane(
            database=database,
            nodes=gateway,
            clock=clock,
            ids=RandomIds(),
            tasks=tasks,
            bells=Bells(relay=relay_bell, queue=queue_bell),
            chance=random.Random(1),
            policy=ControlPolicy(node_lease=LEASE, queue=queue or QueuePolicy(), token_secret=b"secret"),
        )
        async with background(plane.hub.run()):
            yield Fleet(
                clock=clock,
                database=database,
                gateway=gateway,
                relay_bell=relay_bell,
                queue_bell=queue_bell,
                plane=plane,
            )
            # Whoever still waits or watches leaves.
            plane.hub.stop()
