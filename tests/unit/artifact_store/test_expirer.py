"""Deleting what has expired, on fakes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from artifact_store.domain.artifact import ArtifactKind, SessionId
from artifact_store.domain.errors import ArtifactNotFound, BlobStoreUnavailable
from artifact_store.domain.retention import Retention
from artifact_store.usecases.artifacts import ArtifactPolicy, Artifacts
from artifact_store.usecases.expirer import Expirer, ExpiryPolicy
from artifact_store.usecases.finisher import Finisher, FinishPolicy
from artifact_store.usecases.ports import ArtifactQuery
from artifact_store.usecases.session_ends import EndedSessions
from artifact_store.usecases.tally import BlobSum
from fleetkit.paging import PageRequest
from tests.support.artifact_ends import a_session_end
from tests.support.artifact_fakes import (
    ORGANIZATION,
    SESSION,
    FakeVideoMaker,
    MemoryBlobStore,
    MemoryDatabase,
    SteppedClock,
    a_new_artifact,
    a_new_recording,
    artifact_id,
    chunks_of,
    parts_of,
    sum_of,
)

DAY = timedelta(days=1)
RETENTION = Retention(ttls={ArtifactKind.DOWNLOAD: 3 * DAY})
QUERY = ArtifactQuery(organization_id=ORGANIZATION, session_id=SESSION)


class Archive:
    """Artifacts, their expirer and the fakes below; downloads are kept for three days, recordings for ever."""

    def __init__(self) -> None:
        self.database, self.blobs, self.clock = MemoryDatabase(), MemoryBlobStore(), SteppedClock()
        self.artifacts = Artifacts(
            database=self.database, blobs=self.blobs, clock=self.clock, policy=ArtifactPolicy(retention=RETENTION)
        )
        self.sessions = EndedSessions(database=self.database, clock=self.clock)
        self.expirer = self.another_expirer()

    def another_expirer(self, retention: Retention = RETENTION) -> Expirer:
        policy = ExpiryPolicy(retention=retention)
        return Expirer(database=self.database, blobs=self.blobs, clock=self.clock, policy=policy)

    async def upload(self, *numbers: int) -> None:
        for number in numbers:
            await self.artifacts.upload(a_new_artifact(number=number), parts_of(b"csv"))

    async def end_session(self, session_id: SessionId = SESSION) -> datetime:
        """End a session now; return when its downloads expire."""
        end = a_session_end(session_id=session_id, end_time=self.clock.now())
        await self.sessions.ended(end, message_id=f"evt_{session_id}")
        return end.end_time + 3 * DAY

    async def listed(self) -> list[str]:
        return [artifact.id for artifact in (await self.artifacts.list(QUERY, PageRequest())).items]


@pytest.fixture
def archive() -> Archive:
    return Archive()


async def test_a_download_expires_its_ttl_after_the_end_of_its_session_and_says_when(archive: Archive) -> None:
    await archive.upload(1)
    archive.clock.step(10 * DAY)
    expire_time = await archive.end_session()
    assert (await archive.artifacts.get(artifact_id(), of=ORGANIZATION))[0].expire_time == expire_time
    (listed,) = (await archive.artifacts.list(QUERY, PageRequest())).items
    assert listed.expire_time == expire_time
    archive.clock.step(3 * DAY - timedelta(seconds=1))
    assert await archive.expirer.delete_expired() == 0
    archive.clock.step(timedelta(seconds=1))
    assert await archive.expirer.delete_expired() == 1
    assert archive.blobs.objects == {}
    assert archive.database.rows == {}


async def test_what_was_deleted_is_not_found_and_not_listed(archive: Archive) -> None:
    await archive.upload(1)
    await archive.end_session()
    archive.clock.step(3 * DAY)
    await archive.expirer.delete_expired()
    assert await archive.listed() == []
    with pytest.raises(ArtifactNotFound):
        await archive.artifacts.get(artifact_id(), of=ORGANIZATION)


async def test_nothing_of_a_session_that_has_not_ended_expires(archive: Archive) -> None:
    await archive.upload(1)
    await archive.end_session(SessionId("pbs_other"))
    archive.clock.step(1000 * DAY)
    assert await archive.expirer.delete_expired() == 0
    assert (await archive.artifacts.get(artifact_id(), of=ORGANIZATION))[0].expire_time is None


async def test_a_kind_without_a_ttl_is_kept_for_ever(archive: Archive) -> None:
    await archive.artifacts.upload(a_new_recording(), parts_of(b"frames"))
    finisher = Finisher(
        database=archive.database,
        blobs=archive.blobs,
        videos=FakeVideoMaker(),
        clock=archive.clock,
        policy=FinishPolicy(),
    )
    await finisher.finish_all()
    await archive.end_session()
    archive.clock.step(1000 * DAY)
    assert await archive.expirer.delete_expired() == 0
    artifact, url = await archive.artifacts.get(artifact_id(), of=ORGANIZATION)
    assert url is not None
    assert artifact.expire_time is None


async def test_a_raw_recording_is_not_deleted_before_it_was_finished(archive: Archive) -> None:
    await archive.artifacts.upload(a_new_recording(), parts_of(b"frames"))
    await archive.end_session()
    archive.clock.step(1000 * DAY)
    everything_expires = archive.another_expirer(Retention(ttls={ArtifactKind.RECORDING: DAY}))
    assert await everything_expires.delete_expired() == 0
    assert await archive.listed() == [artifact_id()]


async def test_an_upload_that_goes_on_is_not_deleted(archive: Archive) -> None:
    await archive.end_session()
    archive.clock.step(1000 * DAY)
    half_way, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow_parts() -> AsyncIterator[bytes | BlobSum]:
        yield b"c"
        half_way.set()
        await may_go_on.wait()
        yield sum_of(b"c")

    upload = asyncio.create_task(archive.artifacts.upload(a_new_artifact(), slow_parts()))
    await half_way.wait()
    assert await archive.expirer.delete_expired() == 0
    may_go_on.set()
    await upload
    # It came after its time: the next pass takes it.
    assert await archive.expirer.delete_expired() == 1


async def test_what_failed_tries_left_in_the_store_goes_too(archive: Archive) -> None:
    await archive.upload(1)
    left = f"{archive.database.rows[artifact_id()].key_prefix}7"
    await archive.blobs.put(left, chunks_of(b"c"), content_type="text/csv")
    await archive.blobs.put("o_one/another", chunks_of(b"c"), content_type="text/csv")
    await archive.end_session()
    archive.clock.step(3 * DAY)
    await archive.expirer.delete_expired()
    assert list(archive.blobs.objects) == ["o_one/another"]


async def test_a_pass_that_the_object_store_stops_half_way_is_taken_up_again(archive: Archive) -> None:
    await archive.upload(1, 2, 3)
    await archive.end_session()
    archive.clock.step(3 * DAY)
    archive.blobs.deletes_left = 1
    with pytest.raises(BlobStoreUnavailable):
        await archive.expirer.delete_expired()
    assert len(archive.database.rows) == 2
    # What may have lost its bytes is shown to nobody, and nobody else needs the setting to go on.
    assert await archive.listed() == []
    archive.blobs.down, archive.blobs.deletes_left = False, None
    keeps_everything = archive.another_expirer(Retention())
    assert await keeps_everything.delete_expired() == 0
    archive.clock.step(timedelta(minutes=2))
    assert await keeps_everything.delete_expired() == 2
    assert archive.blobs.objects == {}
    assert archive.database.rows == {}


async def test_two_copies_delete_everything_once(archive: Archive) -> None:
    await archive.upload(*range(1, 11))
    await archive.end_session()
    archive.clock.step(3 * DAY)
    counts = await asyncio.gather(archive.expirer.delete_expired(), archive.another_expirer().delete_expired())
    assert sum(counts) == 10
    assert archive.database.rows == {}


async def test_an_upload_that_is_repeated_while_it_is_being_deleted_changes_nothing(archive: Archive) -> None:
    await archive.upload(1)
    await archive.end_session()
    archive.clock.step(3 * DAY)
    archive.blobs.deletes_left = 0
    with pytest.raises(BlobStoreUnavailable):
        await archive.expirer.delete_expired()
    archive.blobs.down, archive.blobs.deletes_left = False, None
    await archive.upload(1)
    archive.clock.step(timedelta(minutes=2))
    assert await archive.expirer.delete_expired() == 1
    assert archive.blobs.objects == {}


async def test_a_pass_is_bounded(archive: Archive) -> None:
    await archive.upload(*range(1, 1102))
    await archive.end_session()
    archive.clock.step(3 * DAY)
    assert [await archive.expirer.delete_expired() for _ in range(3)] == [1000, 101, 0]


async def test_what_events_told_is_forgotten_after_the_bus_has_dropped_them_but_not_while_artifacts_need_it(
    archive: Archive,
) -> None:
    await archive.upload(1)
    await archive.end_session()
    await archive.end_session(SessionId("pbs_other"))
    archive.clock.step(7 * DAY)
    assert await archive.expirer.forget() == 0
    archive.clock.step(2 * DAY)
    assert await archive.expirer.forget() == 3
    assert archive.database.received == {}
    assert list(archive.database.ends) == [SESSION]
    await archive.expirer.delete_expired()
    assert await archive.expirer.forget() == 1
