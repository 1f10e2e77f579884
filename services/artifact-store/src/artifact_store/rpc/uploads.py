"""The messages of an upload, in their order."""

from collections.abc import AsyncIterator

from artifact_store.usecases.tally import BlobSum
from browserfleet.artifact.v1 import artifact_service_pb2
from fleetkit.errors import InvalidArgument

UploadRequest = artifact_service_pb2.UploadArtifactRequest


async def read_header(requests: AsyncIterator[UploadRequest]) -> artifact_service_pb2.UploadHeader:
    """Return what the first message says. Raises InvalidArgument when it is not a header."""
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidArgument("The first message of an upload must be its header.", fields={"header": "is required"})
    return first.header


async def parts(requests: AsyncIterator[UploadRequest]) -> AsyncIterator[bytes | BlobSum]:
    """Yield the bytes and then their sum. Raises InvalidArgument at a second header."""
    async for request in requests:
        match request.WhichOneof("part"):
            case "chunk":
                yield request.chunk
            case "trailer":
                yield BlobSum(size_bytes=request.trailer.size_bytes, sha256=request.trailer.sha256)
            case _:
                raise InvalidArgument("An upload has one header.", fields={"header": "must come once"})
