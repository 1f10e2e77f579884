"""What the use cases need from the world."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from artifact_store.domain.artifact import Artifact, ArtifactId, ArtifactKind, OrganizationId, SessionId
from artifact_store.domain.retention import SessionEnd
from fleetkit.paging import Page, PageRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactQuery:
    """A session's artifacts as its organization may see them; `kind` None: all kinds."""

    organization_id: OrganizationId
    session_id: SessionId
    kind: ArtifactKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedUrl:
    url: str
    expire_time: datetime


class ArtifactRepository(Protocol):
    """Artifacts within one transaction; `get` and `list` see none that is being deleted. Every method raises Unavailable when the database does not answer."""

    async def get(self, artifact_id: ArtifactId) -> Artifact:
        """Raises ArtifactNotFound."""
        ...

    async def find(self, artifact_id: ArtifactId) -> Artifact | None:
        """Return the artifact, locked until the transaction ends."""
        ...

    async def add(self, artifact: Artifact) -> None:
        """Raises ArtifactChanged when somebody else has added it meanwhile."""
        ...

    async def save(self, artifact: Artifact) -> None:
        """Raises ArtifactChanged unless the stored revision is the one before this one."""
        ...

    async def list(self, query: ArtifactQuery, page: PageRequest) -> Page[Artifact]:
        """Return a page, oldest first."""
        ...

    async def claimable(self, *, now: datetime) -> Artifact | None:
        """Return the oldest UPLOADED artifact that nobody holds, locked; one that another transaction locks is skipped."""
        ...

    async def abandoned(self, *, before: datetime, unheard_before: datetime) -> Artifact | None:
        """Return a PENDING artifact to which nothing happened since `before`, locked as in `claimable`.

        Its session has ended before that too; or nobody ever told so, and nothing happened since `unheard_before`.
        """
        ...

    async def expired(
        self, *, now: datetime, ended_before: Mapping[ArtifactKind, datetime], limit: int
    ) -> Sequence[Artifact]:
        """Return artifacts to delete, locked as in `claimable`, first those whose deletion stopped half-way.

        These are STORED and FAILED ones of sessions that ended by the time given for their kind, and those with a
        `delete_time` whose lease is over.
        """
        ...

    async def remove(self, artifact: Artifact) -> None:
        """Remove this very revision. Raises ArtifactChanged when it is no longer the stored one."""
        ...

    async def renew(self, artifact: Artifact, *, lease_expire_time: datetime) -> bool:
        """Move the lease of this very revision; False when the revision is no longer the stored one."""
        ...


class Inbox(Protocol):
    """Which events were applied. Every method raises Unavailable when the database does not answer."""

    async def receive(self, message_id: str, *, now: datetime) -> bool:
        """Note an event with this transaction; False when it was noted before, also by one that commits just now."""
        ...

    async def prune(self, *, before: datetime, limit: int) -> int:
        """Forget up to `limit` events that were received before then; return how many."""
        ...


class SessionEnds(Protocol):
    """The sessions that have ended. Every method raises Unavailable when the database does not answer."""

    async def find(self, session_id: SessionId) -> SessionEnd | None: ...

    async def put(self, end: SessionEnd) -> bool:
        """Store an end; False, and nothing changes, unless its sequence is above that of the one that is known."""
        ...

    async def prune(self, *, before: datetime, limit: int) -> int:
        """Forget up to `limit` sessions that ended before then and have no artifact left; return how many."""
        ...


class Transaction(Protocol):
    @property
    def artifacts(self) -> ArtifactRepository: ...

    @property
    def inbox(self) -> Inbox: ...

    @property
    def session_ends(self) -> SessionEnds: ...


class Database(Protocol):
    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commit at the end of the block, roll back when it raises. Raises Unavailable."""
        ...


class BlobStore(Protocol):
    """Objects by key. Every method raises BlobStoreUnavailable when the store does not answer."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str) -> None:
        """Store a stream of unknown length, reading no faster than the store takes it, in bounded memory.

        When `chunks` raises, or the call is cancelled, no object appears and the error leaves.
        """
        ...

    async def size(self, key: str) -> int | None:
        """Return the size in bytes; None when there is no such object."""
        ...

    def get(self, key: str) -> AsyncIterator[bytes]:
        """Read an object from its start. Raises BlobMissing."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; removing what is not there changes nothing."""
        ...

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, at most 1000."""
        ...

    async def signed_url(self, key: str, *, display_name: str, content_type: str, ttl: timedelta) -> SignedUrl:
        """Return a URL that serves the object as an attachment of this name; `ttl` is capped to an hour."""
        ...


class VideoMaker(Protocol):
    def webm(self, raw: AsyncIterator[bytes]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Make a seekable WebM of a raw recording, also of one that was cut off; its bytes, within the block.

        Raises VideoBroken when there is not one frame in it or it is not a recording of ours.
        """
        ...
