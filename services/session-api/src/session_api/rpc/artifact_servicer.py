"""ArtifactService for callers with an API key: reads go on to artifact-store, under a token for their organization.

Nothing but metadata passes here; bytes come from the signed URL.
"""

# The async stubs exist in the type stubs alone.
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from fleetkit import errors
from fleetkit.rpc.caller import current_caller
from fleetkit.rpc.client import bearer, typed_errors
from fleetkit.rpc.context import Context
from fleetkit.tokens import TokenSigner
from session_api.domain.caller import Caller
from session_api.domain.errors import ArtifactStoreUnavailable
from session_api.domain.identifiers import SessionId
from session_api.usecases.sessions import Sessions

_TIMEOUT_SECONDS = 10.0
_TOKEN_TTL = timedelta(minutes=2)


class ArtifactServicer(artifact_service_pb2_grpc.ArtifactServiceServicer):
    """Passes reads on, after it saw to it that the session is the caller's."""

    def __init__(
        self, *, store: artifact_service_pb2_grpc.ArtifactServiceAsyncStub, signer: TokenSigner, sessions: Sessions
    ) -> None:
        self._store = store
        self._signer = signer
        self._sessions = sessions

    async def UploadArtifact(self, request_iterator: object, context: Context) -> artifact_pb2.Artifact:
        raise errors.Unimplemented("Uploads go from nodes to artifact-store directly.")

    async def ListArtifacts(
        self, request: artifact_service_pb2.ListArtifactsRequest, context: Context
    ) -> artifact_service_pb2.ListArtifactsResponse:
        session = await self._sessions.get(current_caller(Caller), SessionId(request.session_id))
        with _store_errors():
            return await self._store.ListArtifacts(
                request, metadata=self._token(session.organization_id), timeout=_TIMEOUT_SECONDS
            )

    async def GetArtifact(
        self, request: artifact_service_pb2.GetArtifactRequest, context: Context
    ) -> artifact_service_pb2.GetArtifactResponse:
        organization_id = current_caller(Caller).organization_id
        with _store_errors():
            return await self._store.GetArtifact(
                request, metadata=self._token(organization_id), timeout=_TIMEOUT_SECONDS
            )

    def _token(self, organization_id: str) -> tuple[tuple[str, str], ...]:
        return bearer(
            self._signer.sign(
                audience="artifact-store",
                subject="session-api",
                ttl=_TOKEN_TTL,
                organization=organization_id,
                scope="read",
            )
        )


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    try:
        with typed_errors():
            yield
    except (errors.Unavailable, errors.DeadlineExceeded) as error:
        raise ArtifactStoreUnavailable("artifact-store does not answer.", retry_after=timedelta(seconds=1)) from error
