"""The fleet's gRPC front door, one method per call; messages in, messages out."""

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta

import grpc

from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from browserfleet.client.calls import CREATE_TIMEOUT, Calls
from browserfleet.client.durations import Span, to_duration
from browserfleet.session.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc


class FrontDoor:
    """Sends each call with its own deadline; repeats those whose repetition changes nothing."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._sessions = session_service_pb2_grpc.SessionServiceStub(channel)
        self._artifacts = artifact_service_pb2_grpc.ArtifactServiceStub(channel)
        self._calls = calls

    async def create(
        self, request: session_service_pb2.CreateSessionRequest, *, timeout: timedelta = CREATE_TIMEOUT
    ) -> session_pb2.Session:
        # Safe to repeat under its request ID.
        return await self._calls.send(
            self._sessions.CreateSession, request, timeout=timeout, repeatable=bool(request.request_id)
        )

    async def get(self, session_id: str) -> session_pb2.Session:
        request = session_service_pb2.GetSessionRequest(session_id=session_id)
        return await self._calls.send(self._sessions.GetSession, request, repeatable=True)

    async def extend(self, session_id: str, additional_time: Span) -> session_pb2.Session:
        request = session_service_pb2.ExtendSessionRequest(
            session_id=session_id, additional_time=to_duration(additional_time)
        )
        # Twice would add the time twice.
        return await self._calls.send(self._sessions.ExtendSession, request, repeatable=False)

    async def close(self, session_id: str) -> session_pb2.Session:
        request = session_service_pb2.CloseSessionRequest(session_id=session_id)
        return await self._calls.send(self._sessions.CloseSession, request, repeatable=True)

    async def endpoint(self, request: session_service_pb2.CreateAttachEndpointRequest) -> session_pb2.AttachEndpoint:
        return await self._calls.send(self._sessions.CreateAttachEndpoint, request, repeatable=True)

    async def occupy(self, request: session_service_pb2.OccupySessionRequest) -> session_pb2.Session:
        return await self._calls.send(self._sessions.OccupySession, request, repeatable=True)

    async def release(self, session_id: str, generation: int) -> session_pb2.Session:
        request = session_service_pb2.ReleaseSessionRequest(session_id=session_id, generation=generation)
        return await self._calls.send(self._sessions.ReleaseSession, request, repeatable=True)

    def watch(
        self, request: session_service_pb2.WatchSessionsRequest
    ) -> AsyncGenerator[session_service_pb2.WatchSessionsResponse, None]:
        return self._calls.stream(self._sessions.WatchSessions, request)

    async def sessions(
        self, matching: session_service_pb2.SessionFilter, page_size: int
    ) -> AsyncIterator[session_pb2.Session]:
        request = session_service_pb2.ListSessionsRequest(page_size=page_size, filter=matching)
        while True:
            page = await self._calls.send(self._sessions.ListSessions, request, repeatable=True)
            for session in page.sessions:
                yield session
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def artifacts(
        self, session_id: str, kind: "artifact_pb2.Artifact.Kind.ValueType"
    ) -> AsyncIterator[artifact_pb2.Artifact]:
        request = artifact_service_pb2.ListArtifactsRequest(session_id=session_id, kind=kind)
        while True:
            page = await self._calls.send(self._artifacts.ListArtifacts, request, repeatable=True)
            for artifact in page.artifacts:
                yield artifact
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def artifact(self, artifact_id: str) -> artifact_service_pb2.GetArtifactResponse:
        request = artifact_service_pb2.GetArtifactRequest(artifact_id=artifact_id)
        return await self._calls.send(self._artifacts.GetArtifact, request, repeatable=True)
