"""What callers do with artifacts: upload, list, get."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from artifact_store.domain.artifact import Artifact, ArtifactId, ArtifactState, Blob, NewArtifact, OrganizationId
from artifact_store.domain.errors import (
    ArtifactChanged,
    ArtifactExists,
    ArtifactNotFound,
    ArtifactTooLarge,
    BlobStoreUnavailable,
)
from artifact_store.domain.retention import Retention
from artifact_store.usecases.ports import ArtifactQuery, BlobStore, Database, SignedUrl
from artifact_store.usecases.tally import BlobSum, Tally
from fleetkit.clock import Clock
from fleetkit.errors import Unavailable
from fleetkit.paging import Page, PageRequest

log = logging.getLogger(__name__)

_RACE_RETRY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactPolicy:
    """How large an artifact may be, how long a signed URL is good, and how long artifacts are kept."""

    max_bytes: int = 5 * 1024**3
    url_ttl: timedelta = timedelta(minutes=15)
    retention: Retention = field(default_factory=Retention)


class Artifacts:
    """The verbs of the API. `on_received` is told of each artifact whose bytes have all come."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        clock: Clock,
        policy: ArtifactPolicy,
        on_received: Callable[[Artifact], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._policy = policy
        self._on_received = on_received

    async def upload(self, new: NewArtifact, parts: AsyncIterator[bytes | BlobSum]) -> Artifact:
        """Store an artifact; `parts` are its bytes and, last, their sum. The artifact is listed from the start.

        Idempotent by ID: an artifact whose bytes are there already is returned, and `parts` is not read. After a
        failure it stays PENDING and no object is left, so that the upload may be tried again.
        Raises ArtifactExists, UploadCorrupt, ArtifactTooLarge (the artifact is FAILED then), Unavailable.
        """
        artifact = await self._begin(new)
        if not artifact.awaits_bytes:
            return artifact
        tally = Tally()
        checked = tally.verified(parts, limit_bytes=self._policy.max_bytes)
        try:
            async with contextlib.aclosing(checked):
                await self._blobs.put(artifact.write_key, checked, content_type=artifact.content_type)
        except ArtifactTooLarge as error:
            await self._save(artifact.failed(error.message, now=self._clock.now()))
            raise
        blob = Blob(key=artifact.write_key, size_bytes=tally.sum.size_bytes, sha256=tally.sum.sha256)
        return await self._received(artifact, blob)

    async def list(self, query: ArtifactQuery, page: PageRequest) -> Page[Artifact]:
        """Return a session's artifacts, oldest first; none for a session that left nothing or is not theirs."""
        async with self._database.transaction() as tx:
            found = await tx.artifacts.list(query, page)
        return replace(found, items=[self._dated(artifact) for artifact in found.items])

    async def get(self, artifact_id: ArtifactId, *, of: OrganizationId) -> tuple[Artifact, SignedUrl | None]:
        """Return an artifact and, when it is STORED, the way to its bytes.

        Raises ArtifactNotFound also for another organization's artifact, in the same words.
        """
        async with self._database.transaction() as tx:
            artifact = self._dated(await tx.artifacts.get(artifact_id))
        if artifact.organization_id != of:
            raise ArtifactNotFound("There is no such artifact.")
        if artifact.state is not ArtifactState.STORED or artifact.blob is None:
            return artifact, None
        url = await self._blobs.signed_url(
            artifact.blob.key,
            display_name=artifact.display_name,
            content_type=artifact.content_type,
            ttl=self._policy.url_ttl,
        )
        return artifact, url

    def _dated(self, artifact: Artifact) -> Artifact:
        return replace(artifact, expire_time=self._policy.retention.expire_time(artifact))

    async def _begin(self, new: NewArtifact) -> Artifact:
        async with self._database.transaction() as tx:
            known = await tx.artifacts.find(new.id)
            if known is None:
                artifact = Artifact.pending(new, now=self._clock.now())
                await tx.artifacts.add(artifact)
                return artifact
            if not known.is_upload_of(new):
                raise ArtifactExists("The artifact ID belongs to another session.")
            if not known.awaits_bytes:
                return known
            restarted = known.restarted(now=self._clock.now())
            await tx.artifacts.save(restarted)
            return restarted

    async def _received(self, artifact: Artifact, blob: Blob) -> Artifact:
        received = artifact.received(blob, now=self._clock.now())
        try:
            await self._save(received)
        except ArtifactChanged:
            await self._discard(blob.key)
            return await self._winner(artifact)
        if artifact.revision > 1:
            await self._discard_older(artifact)
        self._on_received(received)
        return received

    async def _winner(self, artifact: Artifact) -> Artifact:
        async with self._database.transaction() as tx:
            current = await tx.artifacts.get(artifact.id)
        if current.awaits_bytes:
            raise ArtifactChanged("A newer upload of this artifact is going on.", retry_after=_RACE_RETRY)
        return current

    async def _save(self, artifact: Artifact) -> None:
        async with self._database.transaction() as tx:
            await tx.artifacts.save(artifact)

    async def _discard_older(self, artifact: Artifact) -> None:
        # A try whose save did not come through has left its object.
        with contextlib.suppress(BlobStoreUnavailable):
            for key in artifact.outdated(await self._blobs.keys(artifact.key_prefix)):
                await self._blobs.delete(key)

    async def _discard(self, key: str) -> None:
        try:
            await self._blobs.delete(key)
        except Unavailable:
            log.warning("an object that nobody needs stays in the store: %s", key)
