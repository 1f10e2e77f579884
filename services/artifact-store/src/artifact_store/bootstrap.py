"""Puts artifact-store together; reads as its start order."""

import asyncio
import contextlib
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from pathlib import Path

from artifact_store.adapters.minio_blobs import MinioBlobStore, S3Settings, open_blobs
from artifact_store.adapters.nats_session_events import PLAN, NatsSessionEvents
from artifact_store.adapters.postgres import database as postgres
from artifact_store.adapters.video_process import ProcessVideoMaker
from artifact_store.rpc.access import TokenAuthenticator
from artifact_store.rpc.artifact_servicer import ArtifactServicer, artifact_service
from artifact_store.settings import Settings
from artifact_store.usecases.artifacts import ArtifactPolicy, Artifacts
from artifact_store.usecases.expirer import Expirer, ExpiryPolicy
from artifact_store.usecases.finisher import Finisher, FinishPolicy
from artifact_store.usecases.session_ends import EndedSessions
from fleetkit.clock import Clock, SystemClock
from fleetkit.durable_consumer import DurableConsumer
from fleetkit.lifecycle import background, every
from fleetkit.paging import PageTokens
from fleetkit.rpc.server import serving
from fleetkit.settings import Secret
from fleetkit.tokens import TokenVerifier

log = logging.getLogger(__name__)

_ABANDONED_INTERVAL = timedelta(minutes=5)
_FORGET_INTERVAL = timedelta(hours=1)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop`. Raises Unavailable when Postgres or the object store do not answer at the start."""
    clock = SystemClock()
    arrived = asyncio.Event()
    async with (
        postgres.open_database(settings.postgres_dsn) as database,
        _open_blobs(settings, clock) as blobs,
        _videos(settings) as videos,
    ):
        artifacts = Artifacts(
            database=database,
            blobs=blobs,
            clock=clock,
            policy=ArtifactPolicy(
                max_bytes=settings.max_artifact_bytes, url_ttl=settings.url_ttl, retention=settings.retention
            ),
            on_received=lambda _: arrived.set(),
        )
        finisher = Finisher(
            database=database,
            blobs=blobs,
            videos=videos,
            clock=clock,
            policy=_finish_policy(settings),
        )
        expirer = Expirer(
            database=database, blobs=blobs, clock=clock, policy=ExpiryPolicy(retention=settings.retention)
        )
        # Every replica must make the same page tokens, and all of them hold this secret.
        tokens = PageTokens(settings.s3_secret_key.reveal().encode())
        authenticator = TokenAuthenticator(TokenVerifier(settings.token_public_key.reveal()))
        service = artifact_service(ArtifactServicer(artifacts, page_tokens=tokens))
        async with (
            background(
                every(settings.finish_interval, finisher.finish_all, wake=arrived),
                every(_ABANDONED_INTERVAL, finisher.fail_abandoned),
                every(settings.expire_interval, expirer.delete_expired),
                every(_FORGET_INTERVAL, expirer.forget),
                *_events(settings, EndedSessions(database=database, clock=clock)),
            ),
            serving(settings.grpc_listen, [service], authenticator=authenticator, tls=settings.tls) as server,
        ):
            log.info("artifact-store serves on port %d", server.port)
            await stop.wait()


async def migrate(dsn: Secret) -> None:
    """Bring the database up to this version."""
    await postgres.migrate(dsn)


def _events(settings: Settings, sessions: EndedSessions) -> list[Coroutine[object, object, object]]:
    """Return what listens to the bus, if there is one: nothing else here waits for it."""
    if settings.nats_url is None:
        return []
    handle = NatsSessionEvents(sessions).receive
    return [DurableConsumer(PLAN, url=settings.nats_url, token=settings.nats_token, handle=handle).run()]


def _finish_policy(settings: Settings) -> FinishPolicy:
    if settings.nats_url is None:
        # No end will ever be heard of.
        return FinishPolicy(upload_ttl=settings.upload_ttl, unheard_ttl=settings.upload_ttl)
    return FinishPolicy(upload_ttl=settings.upload_ttl)


def _open_blobs(settings: Settings, clock: Clock) -> contextlib.AbstractAsyncContextManager[MinioBlobStore]:
    s3 = S3Settings(
        endpoint=settings.s3_endpoint,
        public_endpoint=settings.s3_public_endpoint,
        region=settings.s3_region,
        bucket=settings.s3_bucket,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
    )
    return open_blobs(s3, clock=clock, max_uploads=settings.max_uploads)


@contextlib.asynccontextmanager
async def _videos(settings: Settings) -> AsyncIterator[ProcessVideoMaker]:
    scratch = settings.scratch_dir or Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="artifact-store-"))
    videos = ProcessVideoMaker(scratch=scratch, timeout=settings.finish_timeout)
    await asyncio.to_thread(videos.prepare)
    try:
        yield videos
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
