"""Artifacts between the wire and the domain."""

from artifact_store.domain.artifact import (
    Artifact,
    ArtifactId,
    ArtifactKind,
    ArtifactState,
    NewArtifact,
    OrganizationId,
    SessionId,
)
from artifact_store.usecases.ports import SignedUrl
from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2
from fleetkit.rpc.times import timestamp

_KINDS = {
    ArtifactKind.DOWNLOAD: artifact_pb2.Artifact.KIND_DOWNLOAD,
    ArtifactKind.RECORDING: artifact_pb2.Artifact.KIND_RECORDING,
}
_STATES = {
    ArtifactState.PENDING: artifact_pb2.Artifact.STATE_PENDING,
    ArtifactState.UPLOADED: artifact_pb2.Artifact.STATE_PENDING,
    ArtifactState.STORED: artifact_pb2.Artifact.STATE_STORED,
    ArtifactState.FAILED: artifact_pb2.Artifact.STATE_FAILED,
}


def kind_from_proto(kind: artifact_pb2.Artifact.Kind.ValueType) -> ArtifactKind | None:
    """Return the kind; None when it is unspecified."""
    return next((ours for ours, theirs in _KINDS.items() if theirs == kind), None)


def new_artifact(header: artifact_service_pb2.UploadHeader, organization_id: OrganizationId) -> NewArtifact:
    return NewArtifact(
        id=ArtifactId(header.artifact_id),
        organization_id=organization_id,
        session_id=SessionId(header.session_id),
        run_id=header.run_id,
        # The schema admits no other kinds than these two.
        kind=kind_from_proto(header.kind) or ArtifactKind.DOWNLOAD,
        display_name=header.display_name,
        content_type=header.content_type,
    )


def artifact_to_proto(artifact: Artifact) -> artifact_pb2.Artifact:
    stored = artifact.blob if artifact.state is ArtifactState.STORED else None
    return artifact_pb2.Artifact(
        id=artifact.id,
        session_id=artifact.session_id,
        run_id=artifact.run_id,
        kind=_KINDS[artifact.kind],
        state=_STATES[artifact.state],
        display_name=artifact.display_name,
        content_type=artifact.content_type,
        size_bytes=stored.size_bytes if stored else 0,
        sha256=stored.sha256 if stored else "",
        failure_message=artifact.failure_message,
        create_time=timestamp(artifact.create_time),
        end_time=timestamp(artifact.end_time),
        expire_time=timestamp(artifact.expire_time),
    )


def download_to_proto(artifact: Artifact, url: SignedUrl | None) -> artifact_service_pb2.GetArtifactResponse:
    return artifact_service_pb2.GetArtifactResponse(
        artifact=artifact_to_proto(artifact),
        download_url=url.url if url else "",
        url_expire_time=timestamp(url.expire_time if url else None),
    )
