"""From the end of a session to the end of what it left, on real servers."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from artifact_store import bootstrap
from artifact_store.adapters.minio_blobs import MinioBlobStore, open_blobs
from artifact_store.adapters.postgres.database import open_database
from artifact_store.domain.artifact import ArtifactKind
from artifact_store.domain.errors import BlobStoreUnavailable
from artifact_store.domain.retention import Retention
from artifact_store.usecases.expirer import Expirer, ExpiryPolicy
from artifact_store.usecases.session_ends import EndedSessions
from fleetkit.bus import connect_bus, ensure_streams
from fleetkit.clock import SystemClock
from fleetkit.settings import Secret
from local_stack.servers.nats import RunningNats
from local_stack.servers.s3 import RunningS3
from tests.integration.artifact_store.bus import Bus
from tests.integration.artifact_store.deletions import BreakingWay
from tests.integration.artifact_store.service import Artifact, Service, Setup, running
from tests.support.artifact_ends import SESSION, a_session_end, an_event
from tests.support.artifact_recordings import a_recording
from tests.support.artifact_servers import s3_settings
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)
# The store is shared with other tests, and so is the session: these artifacts have objects of their own.
_NUMBERS = range(201, 206)


@pytest.fixture
async def bus(nats_server: RunningNats) -> AsyncIterator[Bus]:
    async with connect_bus(nats_server.url, Secret(nats_server.token), name="test") as client:
        await ensure_streams(client.jetstream())
        yield Bus(client)


@pytest.fixture
async def keeping(setup: Setup, nats_server: RunningNats) -> Setup:
    """A service that keeps downloads for an hour and recordings for ever, and looks often."""
    await bootstrap.migrate(setup.settings.postgres_dsn)
    settings = replace(
        setup.settings,
        nats_url=nats_server.url,
        nats_token=Secret(nats_server.token),
        retention=Retention(ttls={ArtifactKind.DOWNLOAD: HOUR}),
        expire_interval=timedelta(milliseconds=200),
    )
    return replace(setup, settings=settings)


@pytest.fixture
async def blobs(s3: RunningS3) -> AsyncIterator[MinioBlobStore]:
    async with open_blobs(s3_settings(s3), clock=SystemClock(), max_uploads=2) as opened:
        yield opened


async def _objects(blobs: MinioBlobStore, service_artifacts: list[str]) -> list[str]:
    return [key for name in service_artifacts for key in await blobs.keys(f"o_one/{SESSION}/{name}/")]


async def _found(service: Service, number: int) -> bool:
    try:
        await service.get(number)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return True


async def test_a_download_lives_from_its_upload_until_its_time_after_the_sessions_end(
    keeping: Setup, bus: Bus, blobs: MinioBlobStore
) -> None:
    async with running(keeping) as service:
        await service.download(101)
        raw = a_recording([0, 200])
        await service.upload(raw, number=102, kind=Artifact.KIND_RECORDING, content_type="video/x-matroska")
        await service.ended(102)
        names = [artifact.id for artifact in await service.listed()]
        assert not (await service.get(101)).artifact.HasField("expire_time")

        end_time = datetime.now(UTC) - HOUR / 2
        await bus.publish(an_event(number=1, sequence=5, event_time=end_time))

        async def expires() -> Artifact | None:
            artifact = (await service.get(101)).artifact
            return artifact if artifact.HasField("expire_time") else None

        artifact = await eventually(expires, within=20, what="the download has a time to expire")
        assert artifact.expire_time.ToDatetime(UTC) == end_time + HOUR
        by_kind = {listed.kind: listed.HasField("expire_time") for listed in await service.listed()}
        assert by_kind == {Artifact.KIND_DOWNLOAD: True, Artifact.KIND_RECORDING: False}

        await bus.publish(an_event(number=2, sequence=6, event_time=end_time - HOUR))

        async def gone() -> bool:
            return not await _found(service, 101)

        await eventually(gone, within=20, what="the download is deleted")
        assert [listed.kind for listed in await service.listed()] == [Artifact.KIND_RECORDING]
        assert await _found(service, 102)

        async def one_object() -> bool:
            return len(await _objects(blobs, names)) == 1

        await eventually(one_object, within=20, what="only the video is left in the store")


async def test_a_pass_that_the_object_store_breaks_is_taken_up_and_leaves_nothing(
    setup: Setup, s3: RunningS3, blobs: MinioBlobStore
) -> None:
    await bootstrap.migrate(setup.settings.postgres_dsn)
    async with running(setup) as service:
        await service.download(*_NUMBERS)
        names = [artifact.id for artifact in await service.listed()]
        way = BreakingWay(s3.server.endpoint)
        async with way.open(), _expirer(setup, s3, way, lease_ttl=timedelta(0)) as expirer:
            way.deletes_left = 2
            with pytest.raises(BlobStoreUnavailable):
                await expirer.delete_expired()
            assert way.refused
            assert len(await _objects(blobs, names)) == 3
            # Nobody is shown a thing whose bytes may be gone.
            assert await service.listed() == []
            way.deletes_left = None
            assert await expirer.delete_expired() == 3
        assert await _objects(blobs, names) == []
        for number in _NUMBERS:
            assert not await _found(service, number)


@contextlib.asynccontextmanager
async def _expirer(setup: Setup, s3: RunningS3, way: BreakingWay, *, lease_ttl: timedelta) -> AsyncIterator[Expirer]:
    """An expirer for which the session has ended long ago, and to which the store is reached that way."""
    clock = SystemClock()
    through = replace(s3_settings(s3), endpoint=way.endpoint)
    policy = ExpiryPolicy(retention=Retention(ttls={ArtifactKind.DOWNLOAD: HOUR}), lease_ttl=lease_ttl)
    async with (
        open_database(setup.settings.postgres_dsn) as database,
        open_blobs(through, clock=clock, max_uploads=2) as blobs,
    ):
        await EndedSessions(database=database, clock=clock).ended(a_session_end(), message_id="evt_1")
        yield Expirer(database=database, blobs=blobs, clock=clock, policy=policy)
