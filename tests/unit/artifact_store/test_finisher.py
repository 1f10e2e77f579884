"""Making videos of raw recordings, on fakes."""

import asyncio
from datetime import timedelta

import pytest

from artifact_store.domain.artifact import Artifact, ArtifactState
from artifact_store.usecases.artifacts import ArtifactPolicy, Artifacts
from artifact_store.usecases.finisher import Finisher, FinishPolicy
from tests.support.artifact_ends import a_session_end
from tests.support.artifact_fakes import (
    Crashed,
    FakeVideoMaker,
    MemoryBlobStore,
    MemoryDatabase,
    SteppedClock,
    a_new_artifact,
    a_new_recording,
    artifact_id,
    parts_of,
    sum_of,
)


class Workshop:
    """A finisher on fakes, and the fakes."""

    def __init__(self) -> None:
        self.database, self.blobs, self.clock = MemoryDatabase(), MemoryBlobStore(), SteppedClock()
        self.videos = FakeVideoMaker()
        self.artifacts = Artifacts(database=self.database, blobs=self.blobs, clock=self.clock, policy=ArtifactPolicy())
        self.finisher = self.another_finisher()

    def another_finisher(self) -> Finisher:
        return Finisher(
            database=self.database, blobs=self.blobs, videos=self.videos, clock=self.clock, policy=FinishPolicy()
        )

    def artifact(self, number: int = 1) -> Artifact:
        return self.database.rows[artifact_id(number)]

    async def begin_upload(self) -> None:
        """Have an upload begin of which nothing comes."""
        async with self.database.transaction() as tx:
            await tx.artifacts.add(Artifact.pending(a_new_artifact(), now=self.clock.now()))

    async def end_session(self) -> None:
        async with self.database.transaction() as tx:
            await tx.session_ends.put(a_session_end(end_time=self.clock.now()))

    async def upload(self, data: bytes, *, number: int = 1) -> None:
        await self.artifacts.upload(a_new_recording(number=number), parts_of(data))


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


async def test_a_recording_becomes_a_stored_video_and_its_raw_bytes_go(workshop: Workshop) -> None:
    await workshop.upload(b"frames")
    assert await workshop.finisher.finish_all() == 1
    artifact = workshop.artifact()
    assert artifact.state is ArtifactState.STORED
    assert artifact.content_type == "video/webm"
    assert artifact.display_name == "run.webm"
    assert artifact.blob is not None
    assert artifact.blob.sha256 == sum_of(b"video of frames").sha256
    assert workshop.blobs.objects == {artifact.blob.key: b"video of frames"}


async def test_recordings_are_finished_oldest_first_and_downloads_left_alone(workshop: Workshop) -> None:
    for number in (1, 2):
        await workshop.upload(b"frames", number=number)
        workshop.clock.step(timedelta(seconds=1))
    await workshop.artifacts.upload(a_new_artifact(number=3), parts_of(b"csv"))
    await workshop.finisher.finish_next()
    assert [workshop.artifact(number).state for number in (1, 2)] == [ArtifactState.STORED, ArtifactState.UPLOADED]
    assert await workshop.finisher.finish_all() == 1
    assert workshop.artifact(3).content_type == "text/csv"


async def test_a_broken_recording_fails_after_three_tries_with_the_reason(workshop: Workshop) -> None:
    await workshop.upload(b"broken")
    for tries in (1, 2):
        assert await workshop.finisher.finish_all() == 1
        assert workshop.artifact().state is ArtifactState.UPLOADED
        assert workshop.artifact().finish_tries == tries
        workshop.clock.step(timedelta(minutes=1))
    await workshop.finisher.finish_all()
    assert workshop.artifact().state is ArtifactState.FAILED
    assert "has no frames" in workshop.artifact().failure_message
    assert workshop.blobs.objects == {}


async def test_a_failed_try_waits_before_the_next(workshop: Workshop) -> None:
    await workshop.upload(b"broken")
    await workshop.finisher.finish_all()
    assert await workshop.finisher.finish_all() == 0


async def test_an_object_store_that_is_down_costs_no_try(workshop: Workshop) -> None:
    await workshop.upload(b"frames")
    workshop.blobs.down = True
    for _ in range(5):
        assert await workshop.finisher.finish_next()
        workshop.clock.step(timedelta(minutes=1))
    workshop.blobs.down = False
    await workshop.finisher.finish_all()
    assert workshop.artifact().state is ArtifactState.STORED


async def test_a_recording_that_a_crash_left_is_taken_again_when_the_lease_ends(workshop: Workshop) -> None:
    await workshop.upload(b"fatal")
    with pytest.raises(Crashed):
        await workshop.finisher.finish_next()
    assert await workshop.finisher.finish_all() == 0
    workshop.blobs.objects = dict.fromkeys(workshop.blobs.objects, b"frames")
    workshop.clock.step(timedelta(seconds=61))
    assert await workshop.finisher.finish_all() == 1
    assert workshop.artifact().state is ArtifactState.STORED


async def test_a_finisher_that_is_stopped_hands_its_recording_back_at_once(workshop: Workshop) -> None:
    await workshop.upload(b"frames")
    workshop.videos.may_go_on.clear()
    stopped = asyncio.create_task(workshop.finisher.finish_next())
    await workshop.videos.started.wait()
    stopped.cancel()
    await asyncio.wait({stopped})
    assert stopped.cancelled()
    workshop.videos.may_go_on.set()
    assert await workshop.another_finisher().finish_all() == 1
    assert workshop.artifact().finish_tries == 1


async def test_a_finisher_that_lost_its_lease_changes_nothing_when_it_wakes(workshop: Workshop) -> None:
    await workshop.upload(b"frames")
    workshop.videos.may_go_on.clear()
    slow = asyncio.create_task(workshop.finisher.finish_next())
    await workshop.videos.started.wait()
    workshop.videos.started.clear()
    workshop.clock.step(timedelta(seconds=61))
    other = asyncio.create_task(workshop.another_finisher().finish_next())
    await workshop.videos.started.wait()
    workshop.videos.may_go_on.set()
    await asyncio.gather(slow, other)
    artifact = workshop.artifact()
    assert artifact.state is ArtifactState.STORED
    assert artifact.blob is not None
    assert list(workshop.blobs.objects) == [artifact.blob.key]


async def test_a_recording_that_crashes_every_finisher_is_given_up(workshop: Workshop) -> None:
    await workshop.upload(b"fatal")
    for _ in range(3):
        with pytest.raises(Crashed):
            await workshop.another_finisher().finish_next()
        workshop.clock.step(timedelta(seconds=61))
    await workshop.finisher.finish_all()
    assert workshop.artifact().state is ArtifactState.FAILED


async def test_a_recording_whose_bytes_are_gone_fails_at_once(workshop: Workshop) -> None:
    await workshop.upload(b"frames")
    workshop.blobs.objects.clear()
    await workshop.finisher.finish_all()
    assert workshop.artifact().state is ArtifactState.FAILED


async def test_an_upload_of_an_ended_session_that_nobody_tries_any_more_fails_after_a_day(workshop: Workshop) -> None:
    await workshop.begin_upload()
    workshop.clock.step(timedelta(hours=30))
    await workshop.end_session()
    workshop.clock.step(timedelta(hours=23))
    assert await workshop.finisher.fail_abandoned() == 0
    workshop.clock.step(timedelta(hours=2))
    assert await workshop.finisher.fail_abandoned() == 1
    assert workshop.artifact().state is ArtifactState.FAILED
    assert "never came" in workshop.artifact().failure_message


async def test_an_upload_that_comes_late_but_within_the_day_is_taken(workshop: Workshop) -> None:
    await workshop.begin_upload()
    await workshop.end_session()
    workshop.clock.step(timedelta(hours=23))
    assert await workshop.finisher.fail_abandoned() == 0
    stored = await workshop.artifacts.upload(a_new_artifact(), parts_of(b"late"))
    assert stored.state is ArtifactState.STORED
    workshop.clock.step(timedelta(hours=48))
    assert await workshop.finisher.fail_abandoned() == 0


async def test_an_upload_whose_sessions_end_nobody_told_of_fails_in_the_end(workshop: Workshop) -> None:
    await workshop.begin_upload()
    workshop.clock.step(timedelta(days=7))
    assert await workshop.finisher.fail_abandoned() == 0
    workshop.clock.step(timedelta(days=2))
    assert await workshop.finisher.fail_abandoned() == 1
