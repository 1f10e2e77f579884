"""Objects in any S3 server, through the blocking `minio` client in threads of its own."""

import asyncio
import contextlib
import functools
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, ParamSpec, TypeVar, cast

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from artifact_store.adapters.download_headers import attachment, served_content_type
from artifact_store.adapters.part_reader import PartReader, PartSource
from artifact_store.adapters.s3_probe import S3Capabilities, probe
from artifact_store.domain.errors import BlobMissing, BlobStoreUnavailable
from artifact_store.usecases.ports import SignedUrl
from fleetkit.clock import Clock
from fleetkit.settings import Secret

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# One part in memory for each upload that goes on; S3 wants 5 MiB at least, and 10,000 parts at most.
PART_BYTES = 8 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_LISTED_KEYS = 1000
MAX_URL_TTL = timedelta(hours=1)
_RETRY_AFTER = timedelta(seconds=5)
# How long a cancelled upload may take to abort.
_ABORT_SECONDS = 30.0
# Threads for everything that does not wait for a sender.
_SHORT_CALLS = 16
_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """Where the bucket is. `public_endpoint` is the address that callers reach, used in signed URLs only."""

    endpoint: str
    public_endpoint: str
    region: str
    bucket: str
    access_key: str
    secret_key: Secret


class MinioBlobStore:
    """Objects of one bucket. At most `max_uploads` large ones are written at once; further ones wait."""

    def __init__(self, settings: S3Settings, *, clock: Clock, max_uploads: int = 32) -> None:
        self._settings = settings
        self._clock = clock
        self._http = urllib3.PoolManager(
            maxsize=max_uploads + _SHORT_CALLS,
            timeout=urllib3.Timeout(connect=3, read=30),
            retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        )
        self._client = _client(settings, settings.endpoint, self._http)
        # A URL is signed together with its host; with a region known this client makes no calls of its own.
        self._signer = _client(settings, settings.public_endpoint, self._http)
        self._threads = ThreadPoolExecutor(max_uploads + _SHORT_CALLS, thread_name_prefix="s3")
        self._uploads = asyncio.Semaphore(max_uploads)

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, content_type: str) -> None:
        async with self._uploads:
            source = PartSource(chunks)
            first = await source.take(PART_BYTES + 1)
            if len(first) <= PART_BYTES:
                reader, length = None, len(first)
                data: BinaryIO = io.BytesIO(first)
            else:
                reader, length = PartReader(first, source), -1
                data = cast(BinaryIO, reader)  # the client calls nothing but read
            write: Future[object] = self._threads.submit(
                self._client.put_object,
                self._settings.bucket,
                key,
                data,
                length,
                content_type=content_type,
                part_size=PART_BYTES if reader else 0,
                # More than one reads ahead without a bound.
                num_parallel_uploads=1,
            )
            await self._written(key, asyncio.wrap_future(write), reader)

    async def size(self, key: str) -> int | None:
        try:
            found = await self._call(self._client.stat_object, self._settings.bucket, key)
        except BlobMissing:
            return None
        return found.size

    async def get(self, key: str) -> AsyncIterator[bytes]:
        response = await self._call(self._client.get_object, self._settings.bucket, key)
        try:
            while chunk := await self._call(response.read, _READ_BYTES):
                yield chunk
        finally:
            # Not returned to the pool half read.
            response.close()

    async def delete(self, key: str) -> None:
        with contextlib.suppress(BlobMissing):
            await self._call(self._client.remove_object, self._settings.bucket, key)

    async def keys(self, prefix: str) -> list[str]:
        def listed() -> list[str]:
            found = self._client.list_objects(self._settings.bucket, prefix=prefix, recursive=True)
            return [
                entry.object_name for entry, _ in zip(found, range(_LISTED_KEYS), strict=False) if entry.object_name
            ]

        return await self._call(listed)

    async def signed_url(self, key: str, *, display_name: str, content_type: str, ttl: timedelta) -> SignedUrl:
        lifetime = min(ttl, MAX_URL_TTL)
        expire_time = self._clock.now() + lifetime
        url = self._signer.presigned_get_object(
            self._settings.bucket,
            key,
            expires=lifetime,
            response_headers={
                "response-content-disposition": attachment(display_name),
                "response-content-type": served_content_type(content_type),
            },
        )
        return SignedUrl(url=url, expire_time=expire_time)

    async def prepare(self) -> S3Capabilities:
        """Make the bucket where it is missing and try the server out. Raises BlobStoreUnavailable."""
        if not await self._call(self._client.bucket_exists, self._settings.bucket):
            await self._make_bucket()
        return await self._call(probe, self._client, self._http, self._settings.bucket)

    def close(self) -> None:
        """Let go of the threads and connections; calls that still run are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    async def _make_bucket(self) -> None:
        try:
            await self._call(self._client.make_bucket, self._settings.bucket, self._settings.region)
        except BlobStoreUnavailable:
            # Another replica was first.
            if not await self._call(self._client.bucket_exists, self._settings.bucket):
                raise
        log.info("made bucket %s", self._settings.bucket)

    async def _written(self, key: str, write: asyncio.Future[object], reader: PartReader | None) -> None:
        try:
            with _typed_errors():
                await asyncio.shield(write)
        except asyncio.CancelledError:
            if reader is not None:
                reader.abandon()
            await asyncio.shield(self._undone(key, write))
            raise

    async def _undone(self, key: str, write: asyncio.Future[object]) -> None:
        await asyncio.wait({write}, timeout=_ABORT_SECONDS)
        if write.done() and not write.cancelled() and write.exception() is None:
            with contextlib.suppress(BlobStoreUnavailable):
                await self.delete(key)

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        with _typed_errors():
            return await loop.run_in_executor(self._threads, functools.partial(function, *args, **kwargs))


def _client(settings: S3Settings, endpoint: str, http: urllib3.PoolManager) -> Minio:
    scheme, _, host = endpoint.rpartition("://")
    return Minio(
        host.rstrip("/"),
        access_key=settings.access_key,
        secret_key=settings.secret_key.reveal(),
        secure=scheme == "https",
        region=settings.region,
        http_client=http,
    )


@contextlib.contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in _MISSING:
            raise BlobMissing from error
        raise _unavailable(error) from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> BlobStoreUnavailable:
    log.warning("the object store failed: %s", error)
    return BlobStoreUnavailable("The object store does not answer.", retry_after=_RETRY_AFTER)


@contextlib.asynccontextmanager
async def open_blobs(settings: S3Settings, *, clock: Clock, max_uploads: int) -> AsyncIterator[MinioBlobStore]:
    """Use the bucket within the block, made where it is missing. Raises BlobStoreUnavailable."""
    store = MinioBlobStore(settings, clock=clock, max_uploads=max_uploads)
    try:
        await store.prepare()
        yield store
    finally:
        store.close()
