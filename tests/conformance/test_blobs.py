"""One suite for every BlobStore: the fake, and the `minio` client against a real S3 server."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from artifact_store.adapters.minio_blobs import PART_BYTES, open_blobs
from artifact_store.domain.errors import BlobMissing
from artifact_store.usecases.ports import BlobStore
from fleetkit.clock import SystemClock
from local_stack.servers.s3 import RunningS3
from tests.support.artifact_fakes import MemoryBlobStore, chunks_of
from tests.support.artifact_servers import s3_settings


@pytest.fixture(params=["fake", "s3"])
async def blobs(request: pytest.FixtureRequest) -> AsyncIterator[BlobStore]:
    if request.param == "fake":
        yield MemoryBlobStore()
        return
    running: RunningS3 = request.getfixturevalue("s3")
    async with open_blobs(s3_settings(running), clock=SystemClock(), max_uploads=4) as store:
        yield store


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return f"o_one/{hashlib.sha256(request.node.nodeid.encode()).hexdigest()}/1"


async def _read(blobs: BlobStore, key: str) -> bytes:
    return b"".join([chunk async for chunk in blobs.get(key)])


@pytest.mark.parametrize("size", [0, 1, 1000, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 12345])
async def test_what_was_put_comes_back_whole(blobs: BlobStore, key: str, size: int) -> None:
    data = bytes(bytearray(range(256)) * (size // 256 + 1))[:size]
    await blobs.put(key, chunks_of(data, chunk=700_001), content_type="text/csv")
    assert await blobs.size(key) == size
    assert await _read(blobs, key) == data


async def test_putting_again_replaces_the_object(blobs: BlobStore, key: str) -> None:
    for data in (b"one", b"other"):
        await blobs.put(key, chunks_of(data), content_type="text/csv")
    assert await _read(blobs, key) == b"other"


async def test_a_missing_object_has_no_size_and_cannot_be_read(blobs: BlobStore, key: str) -> None:
    assert await blobs.size(key) is None
    with pytest.raises(BlobMissing):
        await _read(blobs, key)


async def test_deleting_what_is_not_there_changes_nothing(blobs: BlobStore, key: str) -> None:
    await blobs.delete(key)
    await blobs.put(key, chunks_of(b"x"), content_type="text/csv")
    await blobs.delete(key)
    await blobs.delete(key)
    assert await blobs.size(key) is None


async def test_keys_lists_what_begins_with_the_prefix(blobs: BlobStore, key: str) -> None:
    prefix = key.removesuffix("1")
    for number in (1, 2):
        await blobs.put(f"{prefix}{number}", chunks_of(b"x"), content_type="text/csv")
    await blobs.put(f"{prefix[:-1]}-other/1", chunks_of(b"x"), content_type="text/csv")
    assert await blobs.keys(prefix) == [f"{prefix}1", f"{prefix}2"]


async def _failing(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1_000_000 + 1):
        yield bytes(1_000_000)
    raise ValueError("the sender is gone")


@pytest.mark.parametrize("size", [0, 2 * PART_BYTES])
async def test_a_stream_that_raises_leaves_no_object_and_its_own_error(blobs: BlobStore, key: str, size: int) -> None:
    with pytest.raises(ValueError, match="the sender is gone"):
        await blobs.put(key, _failing(size), content_type="text/csv")
    assert await blobs.size(key) is None
    assert await blobs.keys(key) == []


@pytest.mark.parametrize("size", [0, 2 * PART_BYTES])
async def test_a_cancelled_put_leaves_no_object(blobs: BlobStore, key: str, size: int) -> None:
    hangs = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        for _ in range(size // 1_000_000 + 1):
            yield bytes(1_000_000)
        hangs.set()
        await asyncio.Event().wait()

    put = asyncio.create_task(blobs.put(key, hanging(), content_type="text/csv"))
    await hangs.wait()
    put.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await put
    assert put.cancelled()
    assert await blobs.size(key) is None


async def test_a_signed_url_lives_an_hour_at_most(blobs: BlobStore, key: str) -> None:
    short = await blobs.signed_url(key, display_name="a", content_type="text/csv", ttl=timedelta(minutes=1))
    long = await blobs.signed_url(key, display_name="a", content_type="text/csv", ttl=timedelta(days=3650))
    assert timedelta(minutes=58) < long.expire_time - short.expire_time < timedelta(minutes=60)
