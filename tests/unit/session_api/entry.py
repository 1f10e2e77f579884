"""session-api's front door with callers of every kind before it."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from browserfleet.node.v1 import node_service_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit.rpc.client import bearer
from session_api.control_plane import ControlPlane
from session_api.domain.caller import Scope
from session_api.domain.identifiers import KeyId, NodeId, OrganizationId
from session_api.domain.session import Session
from tests.support.fleet_builders import ORGANIZATION, OTHER_ORGANIZATION, a_caller
from tests.support.fleet_rpc import FrontDoor, serving_front_door
from tests.unit.session_api.fleet import Fleet, a_request

A = TypeVar("A")
Metadata = tuple[tuple[str, str], ...]
OPERATOR = a_caller(scope=Scope.SERVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The front door, the fleet behind it with one node, keys of every kind, and some sessions."""

    door: FrontDoor
    fleet: Fleet
    member: Metadata
    admin: Metadata
    # A member of another organization.
    stranger: Metadata
    service: Metadata
    node: Metadata
    revoked: Metadata
    expired: Metadata
    node_id: NodeId
    running: str
    closed: str

    @property
    def plane(self) -> ControlPlane:
        return self.fleet.plane

    async def call(
        self,
        method: Callable[..., Awaitable[A]],
        request: Message | bytes,
        *,
        key: Metadata | None = None,
        timeout: float = 10,
    ) -> A:
        """Call a method, as a member unless a key is given."""
        return await method(request, metadata=self.member if key is None else key, timeout=timeout)

    async def create(
        self, request: session_service_pb2.CreateSessionRequest, *, key: Metadata | None = None
    ) -> session_pb2.Session:
        return await self.call(self.door.sessions.CreateSession, request, key=key)

    async def get(self, session_id: str, *, key: Metadata | None = None) -> session_pb2.Session:
        request = session_service_pb2.GetSessionRequest(session_id=session_id)
        return await self.call(self.door.sessions.GetSession, request, key=key)

    async def close(self, session_id: str, *, key: Metadata | None = None) -> session_pb2.Session:
        request = session_service_pb2.CloseSessionRequest(session_id=session_id)
        return await self.call(self.door.sessions.CloseSession, request, key=key)

    async def extend(self, session_id: str, by: Duration | None, *, key: Metadata | None = None) -> session_pb2.Session:
        request = session_service_pb2.ExtendSessionRequest(session_id=session_id, additional_time=by)
        return await self.call(self.door.sessions.ExtendSession, request, key=key)

    async def list(
        self, request: session_service_pb2.ListSessionsRequest, *, key: Metadata | None = None
    ) -> session_service_pb2.ListSessionsResponse:
        return await self.call(self.door.sessions.ListSessions, request, key=key)

    async def reap(self, session_id: str, *, key: Metadata | None = None) -> session_pb2.Session:
        request = session_service_pb2.ReapSessionRequest(session_id=session_id)
        return await self.call(self.door.sessions.ReapSession, request, key=self.service if key is None else key)

    async def register(
        self, request: node_service_pb2.RegisterNodeRequest, *, key: Metadata | None = None
    ) -> node_service_pb2.RegisterNodeResponse:
        return await self.call(self.door.nodes.RegisterNode, request, key=self.node if key is None else key)

    async def beat(self, request: node_service_pb2.HeartbeatRequest) -> node_service_pb2.HeartbeatResponse:
        return await self.call(self.door.nodes.Heartbeat, request, key=self.node)

    async def raw(self, method: str, body: bytes, *, key: Metadata | None = None) -> bytes:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.door.channel.unary_unary(method)
        return await self.call(call, body, key=key)

    async def a_session(self) -> Session:
        """Return one more session that runs, as the use cases know it."""
        return await self.fleet.create()


@contextlib.asynccontextmanager
async def an_entry(fleet: Fleet) -> AsyncIterator[Entry]:
    """Serve within the block."""
    organizations = fleet.plane.organizations

    async def new_key(scope: Scope, organization_id: OrganizationId = ORGANIZATION) -> tuple[Metadata, KeyId]:
        new = await organizations.create_key(OPERATOR, organization_id, scope=scope, display_name=scope.lower())
        return bearer(new.secret), new.key.id

    async def key(scope: Scope, organization_id: OrganizationId = ORGANIZATION) -> Metadata:
        return (await new_key(scope, organization_id))[0]

    revoked, revoked_id = await new_key(Scope.MEMBER)
    await organizations.revoke_key(OPERATOR, revoked_id)
    expired, expired_id = await new_key(Scope.MEMBER)
    await organizations.rotate_key(OPERATOR, expired_id, overlap=timedelta(hours=1))
    fleet.clock.step(timedelta(hours=1))
    registration = await fleet.with_node(slots=3)
    running, closed = await fleet.create(request=a_request(request_id="taken")), await fleet.create()
    await fleet.close(closed)
    async with serving_front_door(fleet.plane, database=fleet.database) as door:
        yield Entry(
            door=door,
            fleet=fleet,
            member=await key(Scope.MEMBER),
            admin=await key(Scope.ADMIN),
            stranger=await key(Scope.MEMBER, OTHER_ORGANIZATION),
            service=await key(Scope.SERVICE, OTHER_ORGANIZATION),
            node=await key(Scope.NODE),
            revoked=revoked,
            expired=expired,
            node_id=registration.node_id,
            running=running.id,
            closed=closed.id,
        )
        # Watches would stay until they are cut off.
        fleet.plane.hub.stop()
