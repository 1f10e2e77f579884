"""Fakes of artifact-store's ports, builders of its values, and a clock that tests step."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

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
from artifact_store.usecases.ports import ArtifactQuery, SignedUrl
from artifact_store.usecases.tally import BlobSum
from fleetkit.paging import Page, PageRequest

START_TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORGANIZATION = OrganizationId("o_one")
SESSION = SessionId(f"pbs_{'1':0>26}")


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
    """Objects in a dict. `down` makes every method fail; `uploads` counts the writes that came through."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False
        self.uploads = 0

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

    async def get(self, artifact_id: ArtifactId) -> Artifact:
        if artifact_id not in self.rows:
            raise ArtifactNotFound("There is no such artifact.")
        return self.rows[artifact_id]

    async def find(self, artifact_id: ArtifactId) -> Artifact | None:
        return self.rows.get(artifact_id)

    async def add(self, artifact: Artifact) -> None:
        if artifact.id in self.rows:
            raise ArtifactChanged("It is there.")
        self.rows[artifact.id] = artifact

    async def save(self, artifact: Artifact) -> None:
        if artifact.id not in self.rows or self.rows[artifact.id].revision != artifact.revision - 1:
            raise ArtifactChanged("It was changed.")
        self.rows[artifact.id] = artifact

    async def list(self, query: ArtifactQuery, page: PageRequest) -> Page[Artifact]:
        found = [
            row
            for row in sorted(self.rows.values(), key=_position)
            if (row.organization_id, row.session_id) == (query.organization_id, query.session_id)
            and query.kind in {None, row.kind}
            and (page.after is None or _position(row) > page.after)
        ]
        items = found[: page.size]
        return Page(items=items, next_after=_position(items[-1]) if len(found) > page.size else None)

    async def claimable(self, *, now: datetime) -> Artifact | None:
        waiting = [row for row in self.rows.values() if row.state is ArtifactState.UPLOADED]
        free = [row for row in waiting if row.lease_expire_time is None or row.lease_expire_time <= now]
        return min(free, key=_position, default=None)

    async def abandoned(self, *, before: datetime) -> Artifact | None:
        pending = [row for row in self.rows.values() if row.state is ArtifactState.PENDING]
        return min((row for row in pending if row.update_time < before), key=_position, default=None)

    async def renew(self, artifact: Artifact, *, lease_expire_time: datetime) -> bool:
        row = self.rows.get(artifact.id)
        if row is None or row.revision != artifact.revision:
            return False
        self.rows[artifact.id] = replace(row, lease_expire_time=lease_expire_time)
        return True


def _position(row: Artifact) -> str:
    return f"{row.create_time.isoformat()}/{row.id}"


@dataclass
class MemoryTransaction:
    artifacts: MemoryArtifactRepository


@dataclass
class MemoryDatabase:
    """Rows in a dict; transactions run one after the other and roll back."""

    rows: dict[ArtifactId, Artifact] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        async with self.lock:
            before = dict(self.rows)
            try:
                yield MemoryTransaction(MemoryArtifactRepository(self.rows))
            except BaseException:
                self.rows.clear()
                self.rows.update(before)
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
