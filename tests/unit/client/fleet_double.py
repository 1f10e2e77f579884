"""A fleet's front door in this process, which tests script and question."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc

SESSION_ID = "pbs_" + "0" * 26
ARTIFACT_ID = "art_" + "0" * 26
END_TIME = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

# One generated context type serves every method; its message types do not matter here.
Context: TypeAlias = "grpc.aio.ServicerContext[Message, Message]"


def refusal(
    code: grpc.StatusCode,
    reason: str,
    *,
    retry_after: timedelta | None = None,
    fields: dict[str, str] | None = None,
    **metadata: str,
) -> status_pb2.Status:
    """A status as the fleet sends it."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain="browserfleet", metadata=metadata)]
    if fields:
        violations = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in fields.items()]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if retry_after is not None:
        delay = Duration()
        delay.FromTimedelta(retry_after)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code.value[0], message="refused")
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


UNAVAILABLE = refusal(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")


def a_session(
    *,
    session_id: str = SESSION_ID,
    state: str = "RUNNING",
    close_reason: str = "UNSPECIFIED",
    queue_position: int | None = None,
) -> session_pb2.Session:
    session = session_pb2.Session(
        id=session_id,
        state=session_pb2.Session.State.Value(f"STATE_{state}"),
        close_reason=session_pb2.CloseReason.Value(f"CLOSE_REASON_{close_reason}"),
        cdp_url=f"http://127.0.0.1:1/attach/{session_id}",
    )
    if queue_position is not None:
        session.queue.CopyFrom(session_pb2.QueuePlace(position=queue_position, message="Every slot is taken."))
    if state in ("CLOSED", "FAILED"):
        session.end_time.FromDatetime(END_TIME)
    return session


def news(
    kind: str, session: session_pb2.Session | None = None, *, resume_token: str = ""
) -> session_service_pb2.WatchSessionsResponse:
    number = session_service_pb2.WatchSessionsResponse.Type.Value(f"TYPE_{kind}")
    return session_service_pb2.WatchSessionsResponse(type=number, session=session, resume_token=resume_token)


def an_artifact(*, artifact_id: str = ARTIFACT_ID, state: str = "STORED", name: str = "a.csv") -> artifact_pb2.Artifact:
    return artifact_pb2.Artifact(
        id=artifact_id,
        session_id=SESSION_ID,
        kind=artifact_pb2.Artifact.KIND_DOWNLOAD,
        state=artifact_pb2.Artifact.State.Value(f"STATE_{state}"),
        display_name=name,
    )


class FleetDouble:
    """What the front door answers, and what it was asked.

    `refusals[method]` are sent first, one a call; `before[method]` runs within each call. `created` are the answers of
    the next creates, before `session` is. Each watch sends one of `watches`, and ends if that ends with a status.
    """

    def __init__(self) -> None:
        self.address = ""
        self.session = a_session()
        self.created: list[session_pb2.Session] = []
        self.watches: list[list[session_service_pb2.WatchSessionsResponse | status_pb2.Status]] = []
        # Set when a caller leaves a watch.
        self.left = asyncio.Event()
        self.session_pages: list[list[session_pb2.Session]] = []
        self.artifact_pages: list[list[artifact_pb2.Artifact]] = []
        self.artifact = an_artifact()
        self.download_url = ""
        self.refusals: dict[str, list[status_pb2.Status]] = defaultdict(list)
        self.before: dict[str, Callable[[], Awaitable[object]]] = {}
        self.calls: list[tuple[str, Message]] = []
        self.credentials: set[object] = set()
        self.traces: set[object] = set()

    def asked(self, method: str) -> int:
        return sum(name == method for name, _ in self.calls)

    async def called(self, method: str, request: Message, context: Context) -> None:
        self.calls.append((method, request))
        metadata = dict(context.invocation_metadata() or ())
        self.credentials.add(metadata.get("authorization"))
        self.traces.add(metadata.get("traceparent"))
        if self.refusals[method]:
            await context.abort_with_status(rpc_status.to_status(self.refusals[method].pop(0)))
        if method in self.before:
            await self.before[method]()


class _Sessions(session_service_pb2_grpc.SessionServiceServicer):
    def __init__(self, double: FleetDouble) -> None:
        self._double = double

    async def CreateSession(
        self, request: session_service_pb2.CreateSessionRequest, context: Context
    ) -> session_pb2.Session:
        await self._double.called("CreateSession", request, context)
        return self._double.created.pop(0) if self._double.created else self._double.session

    async def GetSession(self, request: session_service_pb2.GetSessionRequest, context: Context) -> session_pb2.Session:
        await self._double.called("GetSession", request, context)
        return self._double.session

    async def CreateAttachEndpoint(
        self, request: session_service_pb2.CreateAttachEndpointRequest, context: Context
    ) -> session_pb2.AttachEndpoint:
        await self._double.called("CreateAttachEndpoint", request, context)
        door = (
            "live" if request.scope in {session_pb2.ATTACH_SCOPE_VIEW, session_pb2.ATTACH_SCOPE_CONTROL} else "attach"
        )
        path = f"/{door}/{request.session_id}?token=fresh"
        return session_pb2.AttachEndpoint(
            direct_url=f"ws://node.test{path}", edge_url=f"wss://edge.test{path}", scope=request.scope
        )

    async def ExtendSession(
        self, request: session_service_pb2.ExtendSessionRequest, context: Context
    ) -> session_pb2.Session:
        await self._double.called("ExtendSession", request, context)
        return self._double.session

    async def CloseSession(
        self, request: session_service_pb2.CloseSessionRequest, context: Context
    ) -> session_pb2.Session:
        await self._double.called("CloseSession", request, context)
        return a_session(state="CLOSED", close_reason="USER_REQUESTED")

    async def OccupySession(
        self, request: session_service_pb2.OccupySessionRequest, context: Context
    ) -> session_pb2.Session:
        await self._double.called("OccupySession", request, context)
        session = a_session()
        session.occupied = True
        session.occupancy.generation = 7
        return session

    async def ReleaseSession(
        self, request: session_service_pb2.ReleaseSessionRequest, context: Context
    ) -> session_pb2.Session:
        await self._double.called("ReleaseSession", request, context)
        return a_session()

    async def WatchSessions(
        self, request: session_service_pb2.WatchSessionsRequest, context: Context
    ) -> AsyncIterator[session_service_pb2.WatchSessionsResponse]:
        await self._double.called("WatchSessions", request, context)
        for item in self._double.watches.pop(0):
            if isinstance(item, status_pb2.Status):
                await context.abort_with_status(rpc_status.to_status(item))
            else:
                yield item
        try:
            await asyncio.Event().wait()
        finally:
            self._double.left.set()

    async def TakeControl(
        self, request: session_service_pb2.TakeControlRequest, context: Context
    ) -> session_pb2.Session:
        raise NotImplementedError("the client does not call it")

    async def ReleaseControl(
        self, request: session_service_pb2.ReleaseControlRequest, context: Context
    ) -> session_pb2.Session:
        raise NotImplementedError("the client does not call it")

    async def ReapSession(
        self, request: session_service_pb2.ReapSessionRequest, context: Context
    ) -> session_pb2.Session:
        raise NotImplementedError("not a caller's method")

    async def ListSessions(
        self, request: session_service_pb2.ListSessionsRequest, context: Context
    ) -> session_service_pb2.ListSessionsResponse:
        await self._double.called("ListSessions", request, context)
        number = int(request.page_token or 0)
        more = number + 1 < len(self._double.session_pages)
        return session_service_pb2.ListSessionsResponse(
            sessions=self._double.session_pages[number], next_page_token=str(number + 1) if more else ""
        )


class _Artifacts(artifact_service_pb2_grpc.ArtifactServiceServicer):
    def __init__(self, double: FleetDouble) -> None:
        self._double = double

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[artifact_service_pb2.UploadArtifactRequest], context: Context
    ) -> artifact_pb2.Artifact:
        raise NotImplementedError("not a caller's method")

    async def ListArtifacts(
        self, request: artifact_service_pb2.ListArtifactsRequest, context: Context
    ) -> artifact_service_pb2.ListArtifactsResponse:
        await self._double.called("ListArtifacts", request, context)
        number = int(request.page_token or 0)
        more = number + 1 < len(self._double.artifact_pages)
        return artifact_service_pb2.ListArtifactsResponse(
            artifacts=self._double.artifact_pages[number], next_page_token=str(number + 1) if more else ""
        )

    async def GetArtifact(
        self, request: artifact_service_pb2.GetArtifactRequest, context: Context
    ) -> artifact_service_pb2.GetArtifactResponse:
        await self._double.called("GetArtifact", request, context)
        return artifact_service_pb2.GetArtifactResponse(
            artifact=self._double.artifact, download_url=self._double.download_url
        )


@contextlib.asynccontextmanager
async def serving_double() -> AsyncIterator[FleetDouble]:
    double = FleetDouble()
    server = grpc.aio.server()
    session_service_pb2_grpc.add_SessionServiceServicer_to_server(_Sessions(double), server)
    artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server(_Artifacts(double), server)
    double.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield double
    finally:
        await server.stop(None)
