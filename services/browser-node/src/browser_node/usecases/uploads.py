"""Brings what sessions leave to artifact-store, however long that is away."""

import asyncio
import logging
from datetime import timedelta

from browser_node.usecases.ports import ArtifactStore, SpooledArtifact, UploadQueue
from fleetkit.errors import (
    AlreadyExists,
    FailedPrecondition,
    FleetError,
    InvalidArgument,
    PermissionDenied,
    Unauthenticated,
)

log = logging.getLogger(__name__)

_FIRST_RETRY = timedelta(milliseconds=500)
_LAST_RETRY = timedelta(seconds=10)
_PARALLEL = 2
_FLUSH_POLL = timedelta(milliseconds=50)

# A repetition changes nothing: the upload itself is wrong, or its token is.
_PERMANENT = (InvalidArgument, PermissionDenied, Unauthenticated, AlreadyExists, FailedPrecondition)


class Uploads:
    """Works through the upload queue."""

    def __init__(self, *, queue: UploadQueue, store: ArtifactStore) -> None:
        self._queue = queue
        self._store = store

    async def run(self) -> None:
        """Upload for ever, a few at a time."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_PARALLEL):
                group.create_task(self._work())

    async def _work(self) -> None:
        pause = _FIRST_RETRY
        while True:
            item = await self._queue.next()
            try:
                settled = await self._upload(item)
            except OSError:
                log.exception("a spooled file cannot be read", extra={"artifact_id": item.artifact_id})
                await self._queue.refused(item, "cannot be read")
                settled = True
            if settled:
                pause = _FIRST_RETRY
                continue
            await asyncio.sleep(pause.total_seconds())
            pause = min(pause * 2, _LAST_RETRY)
            self._queue.retry(item)

    async def _upload(self, item: SpooledArtifact) -> bool:
        """Try once; False when it is worth another try."""
        context = {"artifact_id": item.artifact_id, "session_id": item.artifact.origin.session_id}
        try:
            await self._store.upload(item)
        except FleetError as error:
            if isinstance(error, _PERMANENT) or error.reason == "ARTIFACT_TOO_LARGE":
                log.error("an artifact was refused for good: %s", error.message, extra=context)
                await self._queue.refused(item, f"{error.reason}: {error.message}")
                return True
            log.warning("an artifact is not stored yet: %s", error.message, extra=context)
            return False
        await self._queue.stored(item)
        log.info("an artifact is stored", extra=context)
        return True

    async def flush(self, within: timedelta) -> None:
        """Wait until everything is stored, but not for ever: what stays is for the node's next life."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                while self._queue.waiting:  # noqa: ASYNC110  # once in a node's life; the queue needs no event for it
                    await asyncio.sleep(_FLUSH_POLL.total_seconds())
        except TimeoutError:
            log.warning("%d artifacts wait for the node's next start", self._queue.waiting)
