"""Uploading, listing and getting, on fakes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from artifact_store.domain.artifact import Artifact, ArtifactState, OrganizationId, SessionId
from artifact_store.domain.errors import (
    ArtifactChanged,
    ArtifactExists,
    ArtifactNotFound,
    ArtifactTooLarge,
    BlobStoreUnavailable,
    UploadCorrupt,
)
from artifact_store.usecases.artifacts import ArtifactPolicy, Artifacts
from artifact_store.usecases.ports import ArtifactQuery
from artifact_store.usecases.tally import BlobSum
from fleetkit.paging import PageRequest
from tests.support.artifact_fakes import (
    ORGANIZATION,
    SESSION,
    MemoryBlobStore,
    MemoryDatabase,
    SteppedClock,
    a_new_artifact,
    a_new_recording,
    artifact_id,
    parts_of,
    sum_of,
)

DATA = b"0123456789" * 1000


class Store:
    """Artifacts on fakes, and the fakes."""

    def __init__(self) -> None:
        self.database, self.blobs, self.clock = MemoryDatabase(), MemoryBlobStore(), SteppedClock()
        self.received: list[Artifact] = []
        self.artifacts = Artifacts(
            database=self.database,
            blobs=self.blobs,
            clock=self.clock,
            policy=ArtifactPolicy(max_bytes=100_000),
            on_received=self.received.append,
        )

    @property
    def state(self) -> ArtifactState:
        return self.database.rows[artifact_id()].state

    async def names(self, session_id: SessionId = SESSION) -> list[str]:
        query = ArtifactQuery(organization_id=ORGANIZATION, session_id=session_id)
        return [artifact.display_name for artifact in (await self.artifacts.list(query, PageRequest())).items]


@pytest.fixture
def store() -> Store:
    return Store()


async def _without_sum(data: bytes) -> AsyncIterator[bytes | BlobSum]:
    yield data


async def _with_sum(data: bytes, wrong: BlobSum) -> AsyncIterator[bytes | BlobSum]:
    yield data
    yield wrong


async def _never_read() -> AsyncIterator[bytes | BlobSum]:
    raise AssertionError("the bytes were read")
    yield b""


async def test_an_uploaded_download_is_stored_with_its_size_and_sum(store: Store) -> None:
    artifact = await store.artifacts.upload(a_new_artifact(), parts_of(DATA))
    assert artifact.state is ArtifactState.STORED
    assert artifact.blob is not None
    assert (artifact.blob.size_bytes, artifact.blob.sha256) == (len(DATA), sum_of(DATA).sha256)
    assert store.blobs.objects == {artifact.blob.key: DATA}
    assert artifact.end_time == store.clock.now()


async def test_the_key_is_made_of_ids_and_never_of_the_name(store: Store) -> None:
    await store.artifacts.upload(a_new_artifact(display_name="../../secret"), parts_of(DATA))
    assert list(store.blobs.objects) == [f"{ORGANIZATION}/{SESSION}/{artifact_id()}/1"]
    assert await store.names() == ["secret"]


async def test_an_artifact_is_listed_while_its_bytes_come(store: Store) -> None:
    may_end, begun = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes | BlobSum]:
        yield DATA
        begun.set()
        await may_end.wait()
        yield sum_of(DATA)

    upload = asyncio.create_task(store.artifacts.upload(a_new_artifact(), slow()))
    await begun.wait()
    assert await store.names() == ["report.csv"]
    assert store.state is ArtifactState.PENDING
    may_end.set()
    assert (await upload).state is ArtifactState.STORED


async def test_uploading_again_what_is_stored_changes_nothing_and_reads_nothing(store: Store) -> None:
    first = await store.artifacts.upload(a_new_artifact(), parts_of(DATA))
    assert await store.artifacts.upload(a_new_artifact(display_name="other"), _never_read()) == first
    assert store.blobs.uploads == 1


@pytest.mark.parametrize(
    "parts",
    [
        _without_sum(DATA),
        _with_sum(DATA, sum_of(DATA[:-1])),
        _with_sum(DATA, BlobSum(size_bytes=len(DATA) + 1, sha256=sum_of(DATA).sha256)),
    ],
    ids=["no sum", "sum of other bytes", "wrong size"],
)
async def test_a_corrupt_upload_leaves_no_object_and_may_be_tried_again(
    store: Store, parts: AsyncIterator[bytes | BlobSum]
) -> None:
    with pytest.raises(UploadCorrupt):
        await store.artifacts.upload(a_new_artifact(), parts)
    assert store.blobs.objects == {}
    assert store.state is ArtifactState.PENDING
    again = await store.artifacts.upload(a_new_artifact(), parts_of(DATA))
    assert again.state is ArtifactState.STORED


async def test_an_upload_past_the_limit_fails_for_good(store: Store) -> None:
    with pytest.raises(ArtifactTooLarge) as caught:
        await store.artifacts.upload(a_new_artifact(), parts_of(b"x" * 100_001))
    assert caught.value.metadata == {"limit_bytes": "100000"}
    assert store.state is ArtifactState.FAILED
    assert store.blobs.objects == {}


async def test_with_the_object_store_down_the_upload_is_refused_and_works_later(store: Store) -> None:
    store.blobs.down = True
    with pytest.raises(BlobStoreUnavailable) as caught:
        await store.artifacts.upload(a_new_artifact(), parts_of(DATA))
    assert caught.value.retry_after is not None
    assert store.state is ArtifactState.PENDING
    store.blobs.down = False
    assert (await store.artifacts.upload(a_new_artifact(), parts_of(DATA))).state is ArtifactState.STORED


async def test_a_newer_try_of_an_upload_wins_over_one_that_hangs(store: Store) -> None:
    may_end, begun = asyncio.Event(), asyncio.Event()

    async def hanging() -> AsyncIterator[bytes | BlobSum]:
        yield b"old"
        begun.set()
        await may_end.wait()
        yield sum_of(b"old")

    old = asyncio.create_task(store.artifacts.upload(a_new_artifact(), hanging()))
    await begun.wait()
    new = await store.artifacts.upload(a_new_artifact(), parts_of(b"new"))
    may_end.set()
    assert await old == new
    assert list(store.blobs.objects.values()) == [b"new"]


async def test_of_two_tries_that_both_go_on_the_older_is_told_to_wait(store: Store) -> None:
    may_end, begun = asyncio.Event(), asyncio.Event()

    async def hanging() -> AsyncIterator[bytes | BlobSum]:
        begun.set()
        await may_end.wait()
        yield sum_of(b"")

    old = asyncio.create_task(store.artifacts.upload(a_new_artifact(), hanging()))
    await begun.wait()
    with pytest.raises(UploadCorrupt):
        await store.artifacts.upload(a_new_artifact(), _without_sum(b""))
    may_end.set()
    with pytest.raises(ArtifactChanged):
        await old
    assert store.blobs.objects == {}


async def test_what_an_earlier_try_left_in_the_object_store_is_removed(store: Store) -> None:
    with pytest.raises(UploadCorrupt):
        await store.artifacts.upload(a_new_artifact(), _without_sum(DATA))
    store.blobs.objects[f"{ORGANIZATION}/{SESSION}/{artifact_id()}/1"] = b"left by a crash"
    await store.artifacts.upload(a_new_artifact(), parts_of(DATA))
    assert list(store.blobs.objects.values()) == [DATA]


@pytest.mark.parametrize(
    "other", [{"organization_id": OrganizationId("o_two")}, {"session_id": SessionId(f"pbs_{'2':0>26}")}]
)
async def test_the_id_of_another_sessions_artifact_is_refused(store: Store, other: dict[str, OrganizationId]) -> None:
    await store.artifacts.upload(a_new_artifact(), parts_of(DATA))
    with pytest.raises(ArtifactExists):
        await store.artifacts.upload(a_new_artifact(**other), _never_read())  # type: ignore[arg-type]  # either field


async def test_a_raw_recording_stays_pending_and_is_announced(store: Store) -> None:
    artifact = await store.artifacts.upload(a_new_recording(), parts_of(DATA))
    assert artifact.state is ArtifactState.UPLOADED
    assert artifact.end_time is None
    assert [received.id for received in store.received] == [artifact.id]


async def test_a_stored_artifact_comes_with_a_url_and_a_pending_one_does_not(store: Store) -> None:
    await store.artifacts.upload(a_new_artifact(), parts_of(DATA))
    await store.artifacts.upload(a_new_recording(number=2), parts_of(DATA))
    _, url = await store.artifacts.get(artifact_id(), of=ORGANIZATION)
    assert url is not None
    assert url.expire_time == store.clock.now() + timedelta(minutes=15)
    _, no_url = await store.artifacts.get(artifact_id(2), of=ORGANIZATION)
    assert no_url is None


async def test_another_organizations_artifact_is_not_found_in_the_same_words_as_none(store: Store) -> None:
    await store.artifacts.upload(a_new_artifact(), parts_of(DATA))
    with pytest.raises(ArtifactNotFound) as foreign:
        await store.artifacts.get(artifact_id(), of=OrganizationId("o_two"))
    with pytest.raises(ArtifactNotFound) as missing:
        await store.artifacts.get(artifact_id(9), of=ORGANIZATION)
    assert foreign.value.message == missing.value.message


async def test_a_session_that_left_nothing_has_an_empty_list(store: Store) -> None:
    assert await store.names(SessionId("pbs_other")) == []
