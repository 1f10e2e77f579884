"""Fakes of artifact-store's ports, builders of its values, and a clock that tests step."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from artifact_store.domain.artifact import (
    Artifact,
    ArtifactId,
    ArtifactKind,
    ArtifactState,
    NewArtifact,
    OrganizationId,
    SessionId,
)
from artifact_store.domain.errors import (
    ArtifactChanged,
    ArtifactNotFound,
    BlobMissing,
    BlobStoreUnavailable,
    VideoBroken,
)
from artifact_store.domain.retention import SessionEnd
from artifact_store.usecases.ports import ArtifactQuery, SignedUrl
from artifact_store.usecases.tally import BlobSum
from fleetkit.paging import Page, PageRequest
from tests.support.artifact_ends import ORGANIZATION, SESSION, START_TIME, MemoryInbox, MemorySessionEnds

__all__ = ["ORGANIZATION", "SESSION", "START_TIME"]


class SteppedClock:
    def __init__(self) -> None:
        self._elapsed = timedelta()

    def now(self) -> datetime:
        return START_TIME + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed.total_seconds()

    def step(self, by: timedelta) -> None:
        self._elapsed += by


def artifact_id(number: int = 1) -> ArtifactId:
    return ArtifactId(f"art_{number:0>26}")


def a_new_artifact(
    *,
    number: int = 1,
    organization_id: OrganizationId = ORGANIZATION,
    session_id: SessionId = SESSION,
    kind: ArtifactKind = ArtifactKind.DOWNLOAD,
    display_name: str = "report.csv",
    content_type: str = "text/csv",
) -> NewArtifact:
    return NewArtifact(
        id=artifact_id(number),
        organization_id=organization_id,
        session_id=session_id,
        run_id="",
        kind=kind,
        display_name=display_name,
        content_type=content_type,
    )


def a_new_recording(*, number: int = 1) -> NewArtifact:
    return a_new_artifact(
        number=number, kind=ArtifactKind.RECORDING, display_name="run.mkv", content_type="video/x-matroska"
    )


def sum_of(data: bytes) -> BlobSum:
    return BlobSum(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


async def parts_of(data: bytes, *, chunk: int = 1000) -> AsyncIterator[bytes | BlobSum]:
    """The parts of an upload that goes well."""
    async for piece in chunks_of(data, chunk=chunk):
        yield piece
    yield sum_of(data)


async def chunks_of(data: bytes, *, chunk: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), chunk):
        yield data[start : start + chunk]


class MemoryBlobStore:
    """Objects in a dict. `down` makes every method fail; `uploads` counts the writes that came through.

    With `deletes_left` set only so many more objects are deleted before it goes down.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False
        self.uploads = 0
        self.deletes_left: int | None = None

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str) -> None:
        self._check()
        data = b"".join([chunk async for chunk in chunks])
        self._check()
        self.objects[key] = data
        self.uploads += 1

    async def size(self, key: str) -> int | None:
        self._check()
        return len(self.objects[key]) if key in self.objects else None

    async def get(self, key: str) -> AsyncIterator[bytes]:
        self._check()
        if key not in self.objects:
            raise BlobMissing
        async for chunk in chunks_of(self.objects[key]):
            yield chunk

    async def delete(self, key: str) -> None:
        if self.deletes_left is not None:
            self.down = self.deletes_left == 0
            self.deletes_left -= 1
        self._check()
        self.objects.pop(key, None)

    async def keys(self, prefix: str) -> list[str]:
        self._check()
        return sorted(key for key in self.objects if key.startswith(prefix))

    async def signed_url(self, key: str, *, display_name: str, content_type: str, ttl: timedelta) -> SignedUrl:
        self._check()
        lifetime = min(ttl, timedelta(hours=1))
        return SignedUrl(url=f"memory:{key}?{display_name}", expire_time=START_TIME + lifetime)

    def _check(self) -> None:
        if self.down:
            raise BlobStoreUnavailable("The object store does not answer.", retry_after=timedelta(seconds=5))


@dataclass
class MemoryArtifactRepository:
    rows: dict[ArtifactId, Artifact]
    ends: dict[SessionId, SessionEnd]

    async def get(self, artifact_id: ArtifactId) -> Artifact:
        if artifact_id not in self.rows or self.rows[artifact_id].delete_time is not None:
            raise ArtifactNotFound("There is no such artifact.")
        return self._read(self.rows[artifact_id])

    async def find(self, artifact_id: ArtifactId) -> Artifact | None:
        return self._read(self.rows[artifact_id]) if artifact_id in self.rows else None

    async def add(self, artifact: Artifact) -> None:
        if artifact.id in self.rows:
            raise ArtifactChanged("It is there.")
        self.rows[artifact.id] = _written(artifact)

    async def save(self, artifact: Artifact) -> None:
        if artifact.id not in self.rows or self.rows[artifact.id].revision != artifact.revision - 1:
            raise ArtifactChanged("It was changed.")
        self.rows[artifact.id] = _written(artifact)

    async def list(self, query: ArtifactQuery, page: PageRequest) -> Page[Artifact]:
        found = [
            self._read(row)
            for row in sorted(self.rows.values(), key=_position)
            if (row.organization_id, row.session_id) == (query.organization_id, query.session_id)
            and query.kind in {None, row.kind}
            and row.delete_time is None
            and (page.after is None or _position(row) > page.after)
        ]
        items = found[: page.size]
        return Page(items=items, next_after=_position(items[-1]) if len(found) > page.size else None)

    async def claimable(self, *, now: datetime) -> Artifact | None:
        waiting = [row for row in self.rows.values() if row.state is ArtifactState.UPLOADED]
        free = [row for row in waiting if row.lease_expire_time is None or row.lease_expire_time <= now]
        return min((self._read(row) for row in free), key=_position, default=None)

    async def abandoned(self, *, before: datetime, unheard_before: datetime) -> Artifact | None:
        pending = [self._read(row) for row in self.rows.values() if row.state is ArtifactState.PENDING]
        resting = [row for row in pending if row.update_time < before]
        lost = [
            row
            for row in resting
            if row.update_time < unheard_before or (row.session_end_time and row.session_end_time < before)
        ]
        return min(lost, key=_position, default=None)

    async def expired(
        self, *, now: datetime, ended_before: Mapping[ArtifactKind, datetime], limit: int
    ) -> Sequence[Artifact]:
        rows = [self._read(row) for row in self.rows.values()]
        half_deleted = [
            row for row in rows if row.delete_time and row.lease_expire_time and row.lease_expire_time <= now
        ]
        whole = [
            row
            for row in rows
            if row.ended
            and row.delete_time is None
            and row.session_end_time is not None
            and row.kind in ended_before
            and row.session_end_time <= ended_before[row.kind]
        ]
        return [*half_deleted, *whole][:limit]

    async def remove(self, artifact: Artifact) -> None:
        if artifact.id not in self.rows or self.rows[artifact.id].revision != artifact.revision:
            raise ArtifactChanged("It was changed.")
        del self.rows[artifact.id]

    async def renew(self, artifact: Artifact, *, lease_expire_time: datetime) -> bool:
        row = self.rows.get(artifact.id)
        if row is None or row.revision != artifact.revision:
            return False
        self.rows[artifact.id] = replace(row, lease_expire_time=lease_expire_time)
        return True

    def _read(self, row: Artifact) -> Artifact:
        end = self.ends.get(row.session_id)
        ended = end is not None and end.organization_id == row.organization_id
        return replace(row, session_end_time=end.end_time if end and ended else None)


def _written(artifact: Artifact) -> Artifact:
    return replace(artifact, session_end_time=None, expire_time=None)


def _position(row: Artifact) -> str:
    return f"{row.create_time.isoformat()}/{row.id}"


@dataclass
class MemoryTransaction:
    artifacts: MemoryArtifactRepository
    inbox: MemoryInbox
    session_ends: MemorySessionEnds


@dataclass
class MemoryDatabase:
    """Rows in a dict; transactions run one after the other and roll back."""

    rows: dict[ArtifactId, Artifact] = field(default_factory=dict)
    received: dict[str, datetime] = field(default_factory=dict)
    ends: dict[SessionId, SessionEnd] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        async with self.lock:
            before = dict(self.rows), dict(self.received), dict(self.ends)
            used = {(row.organization_id, row.session_id) for row in self.rows.values()}
            try:
                yield MemoryTransaction(
                    artifacts=MemoryArtifactRepository(self.rows, self.ends),
                    inbox=MemoryInbox(self.received),
                    session_ends=MemorySessionEnds(self.ends, used),
                )
            except BaseException:
                self.rows, self.received, self.ends = before
                raise


class Crashed(BaseException):
    """The process is no more: nothing catches this, and nothing is cleaned up."""


class FakeVideoMaker:
    """Makes `video of <raw bytes>`; recordings that begin with `broken` cannot be made, with `fatal` they crash."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    @contextlib.asynccontextmanager
    async def webm(self, raw: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
        data = b"".join([chunk async for chunk in raw])
        self.started.set()
        await self.may_go_on.wait()
        if data.startswith(b"broken"):
            raise VideoBroken("the recording has no frames")
        if data.startswith(b"fatal"):
            raise Crashed
        yield chunks_of(b"video of " + data)
