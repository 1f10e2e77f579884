"""The whole service on real Postgres and a real S3 server."""

import asyncio
import io
from collections.abc import AsyncIterator

import av
import httpx
import pytest

from artifact_store import bootstrap
from fleetkit.postgres import SchemaOutdated
from tests.integration.artifact_store.service import Artifact, Service, Setup, running
from tests.support.artifact_fakes import sum_of
from tests.support.artifact_recordings import a_recording


@pytest.fixture
async def service(setup: Setup) -> AsyncIterator[Service]:
    await bootstrap.migrate(setup.settings.postgres_dsn)
    async with running(setup) as serving:
        yield serving


async def _download(url: str) -> bytes:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(url)).content


async def test_a_file_of_several_parts_comes_back_by_its_url(service: Service) -> None:
    data = bytes(range(256)) * 80_000
    stored = await service.upload(data, number=1, kind=Artifact.KIND_DOWNLOAD, content_type="application/zip")
    assert (stored.state, stored.size_bytes, stored.sha256) == (Artifact.STATE_STORED, len(data), sum_of(data).sha256)
    assert await _download((await service.get(1)).download_url) == data


async def test_a_raw_recording_becomes_a_video_soon_after_its_upload(service: Service) -> None:
    raw = a_recording([0, 200, 400, 2000])
    pending = await service.upload(raw, number=2, kind=Artifact.KIND_RECORDING, content_type="video/x-matroska")
    assert pending.state == Artifact.STATE_PENDING
    answer = await service.ended(2)
    assert answer.artifact.state == Artifact.STATE_STORED
    assert (answer.artifact.content_type, answer.artifact.display_name) == ("video/webm", "file-2.webm")
    video = await _download(answer.download_url)
    assert sum_of(video).sha256 == answer.artifact.sha256
    with av.open(io.BytesIO(video), "r") as container:
        assert len(list(container.decode(video=0))) == 4


async def test_a_recording_that_waited_for_the_service_is_finished_at_its_start(setup: Setup) -> None:
    await bootstrap.migrate(setup.settings.postgres_dsn)
    async with running(setup) as first:
        upload = first.upload(
            a_recording(list(range(0, 20_000, 200))),
            number=3,
            kind=Artifact.KIND_RECORDING,
            content_type="video/x-matroska",
        )
        await upload
    async with running(setup) as second:
        assert (await second.ended(3)).artifact.state == Artifact.STATE_STORED


async def test_without_its_migrations_the_service_does_not_start(setup: Setup) -> None:
    with pytest.raises(SchemaOutdated):
        await bootstrap.run(setup.settings, asyncio.Event())
