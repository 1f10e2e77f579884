"""session-api's front door with callers of every kind before it, and the requests they make."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from browserfleet.browser.v1 import browser_pb2
from browserfleet.error.v1 import error_reason_pb2
from browserfleet.node.v1 import node_pb2, node_service_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from fleetkit.rpc.client import bearer
from fleetkit.rpc.times import duration
from session_api.domain.caller import Scope, api_key_digest
from session_api.domain.session import OrganizationId
from tests.support.fleet_builders import ORGANIZATION, OTHER_ORGANIZATION
from tests.support.fleet_rpc import FrontDoor, serving_front_door
from tests.unit.session_api.fleet import Fleet

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The front door, the fleet behind it, keys of every scope, and some sessions."""

    door: FrontDoor
    fleet: Fleet
    member: Metadata
    stranger: Metadata
    service: Metadata
    node: Metadata
    revoked: Metadata
    running: str
    closed: str

    async def create(self, request: session_service_pb2.CreateSessionRequest) -> session_pb2.Session:
        return await self.door.sessions.CreateSession(request, metadata=self.member, timeout=10)

    async def get(self, session_id: str, *, metadata: Metadata | None = None) -> session_pb2.Session:
        request = session_service_pb2.GetSessionRequest(session_id=session_id)
        return await self.door.sessions.GetSession(
            request, metadata=self.member if metadata is None else metadata, timeout=10
        )

    async def close(self, session_id: str, *, metadata: Metadata | None = None) -> session_pb2.Session:
        request = session_service_pb2.CloseSessionRequest(session_id=session_id)
        return await self.door.sessions.CloseSession(request, metadata=metadata or self.member, timeout=10)

    async def extend(
        self, session_id: str, by: Duration | None, *, metadata: Metadata | None = None
    ) -> session_pb2.Session:
        request = session_service_pb2.ExtendSessionRequest(session_id=session_id, additional_time=by)
        return await self.door.sessions.ExtendSession(request, metadata=metadata or self.member, timeout=10)

    async def list(
        self, request: session_service_pb2.ListSessionsRequest, *, metadata: Metadata | None = None
    ) -> session_service_pb2.ListSessionsResponse:
        return await self.door.sessions.ListSessions(request, metadata=metadata or self.member, timeout=10)

    async def reap(self, session_id: str, *, metadata: Metadata) -> session_pb2.Session:
        request = session_service_pb2.ReapSessionRequest(session_id=session_id)
        return await self.door.sessions.ReapSession(request, metadata=metadata, timeout=10)

    async def register(
        self, request: node_service_pb2.RegisterNodeRequest, *, metadata: Metadata | None = None
    ) -> node_service_pb2.RegisterNodeResponse:
        return await self.door.nodes.RegisterNode(request, metadata=metadata or self.node, timeout=10)

    async def beat(self, request: node_service_pb2.HeartbeatRequest) -> node_service_pb2.HeartbeatResponse:
        return await self.door.nodes.Heartbeat(request, metadata=self.node, timeout=10)

    async def raw(self, method: str, body: bytes) -> object:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.door.channel.unary_unary(method)
        return await call(body, metadata=self.member, timeout=10)


@contextlib.asynccontextmanager
async def an_entry(fleet: Fleet) -> AsyncIterator[Entry]:
    """Serve within the block."""

    async def key(scope: Scope, organization_id: OrganizationId = ORGANIZATION) -> Metadata:
        return bearer(await fleet.access.create_key(organization_id=organization_id, scope=scope))

    revoked = await key(Scope.MEMBER)
    fleet.database.revoke(api_key_digest(revoked[0][1].removeprefix("Bearer ")))
    await fleet.with_node(slots=3)
    running, closed = await fleet.create(request_id="taken"), await fleet.create()
    async with serving_front_door(database=fleet.database, sessions=fleet.sessions, nodes=fleet.nodes) as door:
        entry = Entry(
            door=door,
            fleet=fleet,
            member=await key(Scope.MEMBER),
            stranger=await key(Scope.MEMBER, OTHER_ORGANIZATION),
            service=await key(Scope.SERVICE, OTHER_ORGANIZATION),
            node=await key(Scope.NODE),
            revoked=revoked,
            running=running.id,
            closed=closed.id,
        )
        await entry.close(closed.id)
        yield entry


def a_creation(**fields: object) -> session_service_pb2.CreateSessionRequest:
    return session_service_pb2.CreateSessionRequest(**fields)  # type: ignore[arg-type]  # wrong on purpose, in part


def lasting(minutes: float) -> session_service_pb2.CreateSessionRequest:
    return a_creation(timeout=duration(timedelta(minutes=minutes)))


def a_registration(**changes: object) -> node_service_pb2.RegisterNodeRequest:
    fields: dict[str, object] = {
        "name": "node-x",
        "address": "127.0.0.1:1",
        "attach_url": "ws://127.0.0.1:2",
        "slots": 1,
        "browsers": [node_pb2.InstalledBrowser(browser_type=browser_pb2.BROWSER_TYPE_CHROME, product="Chrome/1")],
    }
    return node_service_pb2.RegisterNodeRequest(**fields | changes)  # type: ignore[arg-type]  # wrong on purpose


def a_list(**fields: object) -> session_service_pb2.ListSessionsRequest:
    return session_service_pb2.ListSessionsRequest(**fields)  # type: ignore[arg-type]  # wrong on purpose, in part


def filtered(**fields: object) -> session_service_pb2.ListSessionsRequest:
    return a_list(filter=session_service_pb2.SessionFilter(**fields))  # type: ignore[arg-type]  # wrong on purpose


def reason_of(error: grpc.aio.AioRpcError) -> str | None:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError has what from_call reads
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            assert info.domain == "browserfleet"
            assert f"ERROR_REASON_{info.reason}" in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118  # not a dict
            return str(info.reason)
    return None
