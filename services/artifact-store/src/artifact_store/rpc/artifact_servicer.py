"""ArtifactService."""

from collections.abc import AsyncIterator

from artifact_store.domain.artifact import ArtifactId, SessionId
from artifact_store.rpc.access import reader, uploader
from artifact_store.rpc.convert import artifact_to_proto, download_to_proto, kind_from_proto, new_artifact
from artifact_store.rpc.uploads import parts, read_header
from artifact_store.usecases.artifacts import Artifacts
from artifact_store.usecases.ports import ArtifactQuery
from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from fleetkit.paging import PageTokens
from fleetkit.rpc.context import Context
from fleetkit.rpc.server import Service
from fleetkit.telemetry import log_context

UploadRequest = artifact_service_pb2.UploadArtifactRequest


class ArtifactServicer(artifact_service_pb2_grpc.ArtifactServiceServicer):
    """Translates; the token's claims bound every call to one organization."""

    def __init__(self, artifacts: Artifacts, *, page_tokens: PageTokens) -> None:
        self._artifacts = artifacts
        self._page_tokens = page_tokens

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[UploadRequest], context: Context
    ) -> artifact_pb2.Artifact:
        node = uploader()
        header = await read_header(request_iterator)
        node.admit(header.session_id)
        with log_context(session_id=header.session_id, artifact_id=header.artifact_id):
            new = new_artifact(header, node.organization_id)
            return artifact_to_proto(await self._artifacts.upload(new, parts(request_iterator)))

    async def ListArtifacts(
        self, request: artifact_service_pb2.ListArtifactsRequest, context: Context
    ) -> artifact_service_pb2.ListArtifactsResponse:
        query = ArtifactQuery(
            organization_id=reader().organization_id,
            session_id=SessionId(request.session_id),
            kind=kind_from_proto(request.kind),
        )
        tied_to = f"{query.organization_id} {query.session_id} {query.kind}"
        wanted = self._page_tokens.request(page_size=request.page_size, page_token=request.page_token, query=tied_to)
        page = await self._artifacts.list(query, wanted)
        return artifact_service_pb2.ListArtifactsResponse(
            artifacts=[artifact_to_proto(artifact) for artifact in page.items],
            next_page_token=self._page_tokens.token(page, query=tied_to),
        )

    async def GetArtifact(
        self, request: artifact_service_pb2.GetArtifactRequest, context: Context
    ) -> artifact_service_pb2.GetArtifactResponse:
        artifact, url = await self._artifacts.get(ArtifactId(request.artifact_id), of=reader().organization_id)
        return download_to_proto(artifact, url)


def artifact_service(servicer: ArtifactServicer) -> Service:
    """Return the servicer as something to serve."""
    name = artifact_service_pb2.DESCRIPTOR.services_by_name["ArtifactService"].full_name
    return Service(
        name, lambda server: artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server(servicer, server)
    )
