"""What can be wrong with an artifact, each with its reason."""

from fleetkit.errors import Aborted, AlreadyExists, DataLoss, NotFound, ResourceExhausted, Unavailable


class ArtifactNotFound(NotFound):
    """No such artifact, or another organization's."""

    reason = "ARTIFACT_NOT_FOUND"


class ArtifactExists(AlreadyExists):
    """The ID belongs to an artifact of another session."""

    reason = "ARTIFACT_EXISTS"


class ArtifactChanged(Aborted):
    """Somebody else changed the artifact since it was read."""


class ArtifactTooLarge(ResourceExhausted):
    """More bytes came than one artifact may have; metadata `limit_bytes`."""

    reason = "ARTIFACT_TOO_LARGE"


class UploadCorrupt(DataLoss):
    """The bytes that arrived are not the bytes that were announced."""

    reason = "UPLOAD_CORRUPT"


class BlobStoreUnavailable(Unavailable):
    """The object store does not answer, or refuses us."""

    reason = "BLOB_STORE_UNAVAILABLE"


class BlobMissing(Exception):
    """The object store answers, and has no such object."""


class VideoBroken(Exception):
    """A recording cannot be made into a video, however often it is tried."""
