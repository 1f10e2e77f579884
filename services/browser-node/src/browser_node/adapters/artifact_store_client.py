"""artifact-store's UploadArtifact over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
from opentelemetry import trace

from browser_node.domain.artifact import ArtifactKind
from browser_node.usecases.ports import SpooledArtifact
from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from fleetkit.rpc.client import bearer, typed_errors
from fleetkit.telemetry import context_of

_CHUNK_BYTES = 256 * 1024
# An upload may take this long, and this much longer for each megabyte: one that stands still ends.
_BASE_TIMEOUT = timedelta(seconds=60)
_TIMEOUT_PER_MEGABYTE = timedelta(seconds=2)

_KINDS = {
    ArtifactKind.DOWNLOAD: artifact_pb2.Artifact.KIND_DOWNLOAD,
    ArtifactKind.RECORDING: artifact_pb2.Artifact.KIND_RECORDING,
}

_tracer = trace.get_tracer(__name__)


class GrpcArtifactStore:
    """An ArtifactStore. An upload belongs to the trace of the call that started the session's browser."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = artifact_service_pb2_grpc.ArtifactServiceStub(channel)

    async def upload(self, item: SpooledArtifact) -> None:
        origin = item.artifact.origin
        attributes = {"browserfleet.session_id": origin.session_id, "browserfleet.artifact_id": item.artifact_id}
        parent = context_of(origin.trace_headers)
        timeout = _BASE_TIMEOUT + _TIMEOUT_PER_MEGABYTE * (item.size_bytes / 1_000_000)
        with (
            _tracer.start_as_current_span("store artifact", context=parent, attributes=attributes),
            typed_errors(),
        ):
            await self._stub.UploadArtifact(
                _messages(item), timeout=timeout.total_seconds(), metadata=bearer(origin.artifact_token)
            )


async def _messages(item: SpooledArtifact) -> AsyncIterator[artifact_service_pb2.UploadArtifactRequest]:
    artifact = item.artifact
    yield artifact_service_pb2.UploadArtifactRequest(
        header=artifact_service_pb2.UploadHeader(
            artifact_id=item.artifact_id,
            session_id=artifact.origin.session_id,
            run_id=artifact.run_id or "",
            kind=_KINDS[artifact.kind],
            display_name=artifact.display_name,
            content_type=artifact.content_type,
        )
    )
    file = await asyncio.to_thread(item.path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield artifact_service_pb2.UploadArtifactRequest(chunk=chunk)
    finally:
        file.close()
    yield artifact_service_pb2.UploadArtifactRequest(
        trailer=artifact_service_pb2.UploadTrailer(size_bytes=item.size_bytes, sha256=item.sha256)
    )
