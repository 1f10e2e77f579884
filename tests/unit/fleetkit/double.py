"""A servicer that behaves as a test says, behind the real interceptors."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import grpc

from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from fleetkit.ids import RandomIds
from fleetkit.rpc.client import channel
from fleetkit.rpc.server import Service, serving

Behavior = Callable[[], Awaitable[session_pb2.Session]]
_NAME = session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name


class Everybody:
    """An Authenticator that lets everybody in, or fails as it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        if self._error is not None:
            raise self._error
        return "somebody"


class _Servicer(session_service_pb2_grpc.SessionServiceServicer):
    def __init__(self, behavior: Behavior) -> None:
        self._behavior = behavior

    async def GetSession(self, request: session_service_pb2.GetSessionRequest, context: object) -> session_pb2.Session:
        return await self._behavior()

    async def CreateSession(
        self, request: session_service_pb2.CreateSessionRequest, context: object
    ) -> session_pb2.Session:
        return await self._behavior()


@dataclass(frozen=True, slots=True)
class Double:
    """The server's address and a stub for it."""

    address: str
    channel: grpc.aio.Channel
    stub: "session_service_pb2_grpc.SessionServiceAsyncStub"

    async def get(self, *, timeout: float | None = 10) -> session_pb2.Session:
        request = session_service_pb2.GetSessionRequest(session_id=RandomIds().new("pbs"))
        return await self.stub.GetSession(request, timeout=timeout)


@contextlib.asynccontextmanager
async def serving_double(
    behavior: Behavior, *, authenticator: Everybody | None = None, unary_limit: timedelta | None = None
) -> AsyncIterator[Double]:
    """Serve GetSession and CreateSession on a free port within the block."""
    service = Service(
        _NAME,
        lambda server: session_service_pb2_grpc.add_SessionServiceServicer_to_server(_Servicer(behavior), server),  # type: ignore[abstract]  # two methods suffice,
    )
    limit = unary_limit or timedelta(seconds=60)
    async with (
        serving("127.0.0.1:0", [service], authenticator=authenticator or Everybody(), unary_limit=limit) as server,
        channel(f"127.0.0.1:{server.port}", retries=False) as opened,
    ):
        stub = session_service_pb2_grpc.SessionServiceStub(opened)
        yield Double(f"127.0.0.1:{server.port}", opened, stub)
