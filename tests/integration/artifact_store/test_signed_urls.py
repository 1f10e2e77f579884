"""Signed URLs of the real S3 server, used as a browser uses them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from artifact_store.adapters.minio_blobs import MinioBlobStore, open_blobs
from artifact_store.adapters.s3_probe import S3Capabilities
from artifact_store.domain.errors import BlobStoreUnavailable
from fleetkit.clock import SystemClock
from local_stack.servers.s3 import RunningS3
from tests.support.artifact_fakes import chunks_of
from tests.support.artifact_servers import s3_settings
from tests.support.waiting import eventually

KEY = "o_one/pbs_one/art_signed/1"
DATA = b"a,b\n1,2\n"


@pytest.fixture
async def blobs(s3: RunningS3) -> AsyncIterator[MinioBlobStore]:
    async with open_blobs(s3_settings(s3), clock=SystemClock(), max_uploads=2) as store:
        await store.put(KEY, chunks_of(DATA), content_type="text/csv")
        yield store


async def _url(
    blobs: MinioBlobStore,
    *,
    name: str = "report.csv",
    content_type: str = "text/csv",
    ttl: timedelta = timedelta(minutes=1),
) -> str:
    return (await blobs.signed_url(KEY, display_name=name, content_type=content_type, ttl=ttl)).url


async def _fetch(url: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url, headers=headers)


async def test_the_bytes_come_as_an_attachment_with_the_true_name(blobs: MinioBlobStore) -> None:
    answer = await _fetch(await _url(blobs, name='月次 "report"; x.csv'))
    assert answer.content == DATA
    assert answer.headers["content-type"] == "text/csv"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"__ _report__ x.csv\"; filename*=UTF-8''%E6%9C%88%E6%AC%A1%20%22report%22%3B%20x.csv"
    )


async def test_a_range_is_answered_with_a_part(blobs: MinioBlobStore) -> None:
    answer = await _fetch(await _url(blobs), Range="bytes=2-4")
    assert (answer.status_code, answer.content) == (206, DATA[2:5])


async def test_a_range_past_the_end_is_refused(blobs: MinioBlobStore) -> None:
    assert (await _fetch(await _url(blobs), Range="bytes=1000-")).status_code == 416


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", ""])
async def test_what_a_browser_would_run_is_served_as_plain_bytes(blobs: MinioBlobStore, content_type: str) -> None:
    answer = await _fetch(await _url(blobs, content_type=content_type))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_a_changed_url_is_refused(blobs: MinioBlobStore) -> None:
    url = await _url(blobs)
    assert (await _fetch(url.replace("attachment", "inline%20%20%20%20"))).status_code == 403
    assert (await _fetch(url.replace("art_signed", "art_other1"))).status_code == 403
    assert (await _fetch(url.partition("?")[0])).status_code == 403


async def test_an_expired_url_is_refused(blobs: MinioBlobStore) -> None:
    url = await _url(blobs, ttl=timedelta(seconds=1))

    async def is_refused() -> bool:
        return (await _fetch(url)).status_code == 403

    await eventually(is_refused, within=10, what="the URL has expired")


async def test_urls_carry_the_public_endpoint_and_are_made_without_asking_the_server(s3: RunningS3) -> None:
    settings = replace(s3_settings(s3), public_endpoint="https://files.example.test")
    store = MinioBlobStore(replace(settings, endpoint="http://127.0.0.1:1"), clock=SystemClock())
    try:
        assert (await _url(store)).startswith("https://files.example.test/artifacts/o_one/")
    finally:
        store.close()


async def test_the_probe_finds_what_the_server_can_do(blobs: MinioBlobStore) -> None:
    assert await blobs.prepare() == S3Capabilities(conditional_put=True, ranges=True)


async def test_a_missing_bucket_is_made(s3: RunningS3) -> None:
    settings = replace(s3_settings(s3), bucket="made-by-a-test")
    async with open_blobs(settings, clock=SystemClock(), max_uploads=1) as store:
        await store.put(KEY, chunks_of(DATA), content_type="text/csv")
        assert await store.size(KEY) == len(DATA)


@pytest.mark.parametrize("wrong", [{"endpoint": "http://127.0.0.1:1"}, {"access_key": "nobody"}])
async def test_a_server_that_is_away_or_refuses_us_is_unavailable(s3: RunningS3, wrong: dict[str, str]) -> None:
    settings = replace(s3_settings(s3), **wrong)  # type: ignore[arg-type]  # fields by name
    with pytest.raises(BlobStoreUnavailable) as caught:
        async with open_blobs(settings, clock=SystemClock(), max_uploads=1):
            pass
    assert caught.value.retry_after is not None
