"""session-api's use cases on a real Postgres, in one or several replicas; only the nodes are fakes."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from browserfleet.event.v1 import session_event_pb2
from fleetkit.clock import SystemClock
from fleetkit.errors import FleetError
from fleetkit.ids import RandomIds
from fleetkit.lifecycle import OwnedTasks, background, every
from fleetkit.postgres import Pool, open_pool
from fleetkit.settings import Secret
from session_api.adapters.postgres.database import PostgresDatabase
from session_api.control_plane import ControlPlane, ControlPolicy
from session_api.domain.browser import BrowserSpec
from session_api.domain.caller import Caller
from session_api.domain.identifiers import NodeId, OrganizationId, SessionId
from session_api.domain.node import Node, Registration
from session_api.domain.organization import Limits, Organization
from session_api.domain.session import Session
from session_api.usecases.admission import NewSession
from session_api.usecases.dispatching import Dispatching
from session_api.usecases.nodes import Nodes
from session_api.usecases.ports import Bells
from session_api.usecases.reaping import Reaping
from session_api.usecases.sessions import Sessions
from tests.support.fleet_builders import FakeNodes, a_caller, a_new_node
from tests.support.waiting import eventually

T = TypeVar("T")

# Longer than anything here takes.
PATIENCE = timedelta(seconds=30)
_TABLES = ("outbox", "usage", "session", "node", "node_watch", "api_key", "organization")
EMPTY_TABLES = "; ".join(f"DELETE FROM fleet.{table}" for table in _TABLES)
POLICY = ControlPolicy(token_secret=b"the same on every replica")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One session-api: its connections and its use cases."""

    pool: Pool
    database: PostgresDatabase
    plane: ControlPlane
    relay_bell: asyncio.Event
    queue_bell: asyncio.Event


@dataclass(frozen=True, slots=True, kw_only=True)
class RealFleet:
    """What the tests work with. What names no replica is done by the first one."""

    replicas: tuple[Replica, ...]
    gateway: FakeNodes
    caller: Caller

    @property
    def pool(self) -> Pool:
        return self.replicas[0].pool

    @property
    def database(self) -> PostgresDatabase:
        return self.replicas[0].database

    @property
    def sessions(self) -> Sessions:
        return self.replicas[0].plane.sessions

    @property
    def nodes(self) -> Nodes:
        return self.replicas[0].plane.nodes

    @property
    def reaping(self) -> Reaping:
        return self.replicas[0].plane.reaping

    @property
    def dispatching(self) -> Dispatching:
        return self.replicas[0].plane.dispatching

    def plane(self, number: int) -> ControlPlane:
        """Return the replica of a call's number: callers go round."""
        return self.replicas[number % len(self.replicas)].plane

    async def with_organization(self, caller: Caller, *, weight: float = 1.0) -> None:
        organization = Organization(id=caller.organization_id, limits=caller.limits, weight=weight)
        await self.plane(0).organizations.create(organization)

    async def with_node(self, *, name: str = "node-a", slots: int = 2) -> Registration:
        return await self.nodes.register(a_new_node(name=name, slots=slots))

    async def create(
        self,
        request: NewSession | None = None,
        *,
        at: int = 0,
        caller: Caller | None = None,
        wait: timedelta = PATIENCE,
    ) -> Session:
        return await self.plane(at).sessions.create(caller or self.caller, request or a_request(), wait=wait)

    async def close(self, session: Session, *, at: int = 0) -> Session:
        return await self.plane(at).sessions.close(self.caller, session.id)

    async def stored(self, session_id: SessionId) -> Session:
        async with self.database.single() as tx:
            return await tx.sessions.get(session_id)

    async def node(self, node_id: NodeId) -> Node:
        async with self.database.single() as tx:
            return await tx.nodes.get(node_id)

    async def slots_used(self, node_id: NodeId) -> int:
        return (await self.node(node_id)).slots_used

    async def news(self, session_id: SessionId) -> list[session_event_pb2.SessionEvent]:
        """Return what the outbox holds of a session, in order."""
        rows = await self.pool.fetch(
            "SELECT payload FROM fleet.outbox WHERE subject LIKE $1 ORDER BY id", f"fleet.v1.session.{session_id}.%"
        )
        return [session_event_pb2.SessionEvent.FromString(row["payload"]) for row in rows]

    async def announced(self, session_id: SessionId) -> list[str]:
        return [event.type for event in await self.news(session_id)]

    async def queued(self, number: int) -> None:
        """Return when so many sessions wait for a slot."""

        async def check() -> bool:
            waiting: int = await self.pool.fetchval("SELECT count(*) FROM fleet.session WHERE state = 'QUEUED'")
            return waiting == number

        await eventually(check, within=10, what=f"{number} sessions wait")

    async def expiring_in(self, session: Session, span: timedelta) -> None:
        """Move a running session's deadline to so long from now, before it or after."""
        await self.pool.execute(
            "UPDATE fleet.session SET expire_time = at.deadline, due_time = at.deadline,"
            " timeout = at.deadline - start_time FROM (SELECT clock_timestamp() + $2::interval AS deadline) AS at"
            " WHERE id = $1",
            session.id,
            span,
        )

    async def waiting_rows(self) -> int:
        count: int = await self.pool.fetchval("SELECT count(*) FROM fleet.outbox")
        return count

    @contextlib.asynccontextmanager
    async def giving_slots_away(self, *replicas: Replica) -> AsyncIterator[None]:
        """Have these replicas, or all of them, serve the queue within the block, as the service does."""
        passes = (
            every(timedelta(seconds=1), replica.plane.dispatching.dispatch, wake=replica.queue_bell)
            for replica in replicas or self.replicas
        )
        async with background(*passes):
            yield


def a_request(
    *,
    request_id: str = "",
    timeout: timedelta | None = None,
    queue_timeout: timedelta = timedelta(0),
    labels: dict[str, str] | None = None,
) -> NewSession:
    """Return a wish for a session that does not wait for a slot unless it is told to."""
    return NewSession(
        spec=BrowserSpec(), timeout=timeout, labels=labels or {}, queue_timeout=queue_timeout, request_id=request_id
    )


@contextlib.asynccontextmanager
async def a_real_fleet(
    dsn: str, *, replicas: int = 1, pool_size: int = 20, policy: ControlPolicy = POLICY
) -> AsyncIterator[RealFleet]:
    """Work on a migrated database within the block, with one organization in it."""
    gateway = FakeNodes()
    async with contextlib.AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(_a_replica(dsn, gateway, pool_size=pool_size, policy=policy))
            for _ in range(replicas)
        ]
        fleet = RealFleet(replicas=tuple(made), gateway=gateway, caller=a_caller())
        await fleet.with_organization(fleet.caller)
        yield fleet


@contextlib.asynccontextmanager
async def _a_replica(dsn: str, gateway: FakeNodes, *, pool_size: int, policy: ControlPolicy) -> AsyncIterator[Replica]:
    ids, relay_bell, queue_bell = RandomIds(), asyncio.Event(), asyncio.Event()
    async with (
        open_pool(Secret(dsn), max_size=pool_size) as pool,
        # Calls of a test that failed may hang: nobody waits for them.
        OwnedTasks(grace=timedelta(seconds=1)) as tasks,
    ):
        database = PostgresDatabase(pool, ids)
        plane = ControlPlane(
            database=database,
            nodes=gateway,
            clock=SystemClock(),
            ids=ids,
            tasks=tasks,
            bells=Bells(relay=relay_bell, queue=queue_bell),
            chance=random.Random(1),
            policy=policy,
        )
        async with background(plane.hub.run()):
            yield Replica(pool=pool, database=database, plane=plane, relay_bell=relay_bell, queue_bell=queue_bell)


async def outcomes(*calls: Awaitable[T]) -> tuple[list[T], list[FleetError]]:
    """Return what succeeded and what was refused; anything but a typed error fails the test."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    good: list[T] = []
    refused: list[FleetError] = []
    for result in results:
        if isinstance(result, FleetError):
            refused.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            good.append(result)
    return good, refused


def reasons(errors: Sequence[FleetError]) -> set[str]:
    return {error.reason for error in errors}


def an_organization(name: str, *, limits: Limits | None = None) -> Caller:
    """Return a caller of an organization of its own."""
    return a_caller(organization_id=OrganizationId(name), limits=limits)
