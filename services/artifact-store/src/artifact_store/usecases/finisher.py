"""Makes raw recordings into videos, one at a time, and gives up on uploads that never came."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from artifact_store.domain.artifact import FINISHED_RECORDING, Artifact, Blob
from artifact_store.domain.errors import ArtifactChanged, BlobMissing, VideoBroken
from artifact_store.usecases.ports import BlobStore, Database, VideoMaker
from artifact_store.usecases.tally import Tally
from fleetkit.clock import Clock
from fleetkit.errors import FleetError, Unavailable

log = logging.getLogger(__name__)

# A pass is bounded; what is left waits for the next one.
_MOST_IN_A_PASS = 100
_HAND_BACK_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishPolicy:
    """How often a recording is tried, how long a claim lasts unrenewed, and when an upload counts as lost.

    That is `upload_ttl` after its last try and the end of its session; or `unheard_ttl` after its last try, when
    nobody has told of the session's end: longer than a session lives and its end stays on the bus.
    """

    max_tries: int = 3
    lease_ttl: timedelta = timedelta(seconds=15)
    retry_interval: timedelta = timedelta(seconds=10)
    upload_ttl: timedelta = timedelta(hours=24)
    unheard_ttl: timedelta = timedelta(days=8)


class Finisher:
    """Any number of copies may run: each recording is claimed under a lease, and its revision fences late writers."""

    def __init__(
        self, *, database: Database, blobs: BlobStore, videos: VideoMaker, clock: Clock, policy: FinishPolicy
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._videos = videos
        self._clock = clock
        self._policy = policy

    async def finish_all(self) -> int:
        """Finish what waits, oldest first, and return how many were taken. Raises Unavailable."""
        taken = 0
        while taken < _MOST_IN_A_PASS and await self.finish_next():
            taken += 1
        return taken

    async def finish_next(self) -> bool:
        """Take one recording to STORED, or FAILED, or back; False when none waits.

        A crash at any moment leaves it UPLOADED, and it is taken again when the lease has run out.
        """
        claimed = await self._claim()
        if claimed is None:
            return False
        try:
            await self._finish(claimed)
        except ArtifactChanged:
            # The lease ran out and somebody else has taken it: what we wrote is not referred to.
            log.warning("lost the claim on recording %s", claimed.id)
            await self._discard(claimed.write_key)
        return True

    async def fail_abandoned(self) -> int:
        """Mark as FAILED the uploads of ended sessions that nobody has tried for `upload_ttl`; return how many."""
        count = 0
        while count < _MOST_IN_A_PASS and await self._fail_one_abandoned():
            count += 1
        return count

    async def _claim(self) -> Artifact | None:
        now = self._clock.now()
        async with self._database.transaction() as tx:
            waiting = await tx.artifacts.claimable(now=now)
            if waiting is None:
                return None
            claimed = waiting.claimed(now=now, lease_ttl=self._policy.lease_ttl)
            await tx.artifacts.save(claimed)
        return claimed

    async def _finish(self, claimed: Artifact) -> None:
        raw = claimed.blob
        if raw is None or claimed.finish_tries > self._policy.max_tries:
            await self._fail(claimed, "The recording could not be made into a video.")
            return
        try:
            async with self._renewing(claimed):
                video = await self._make(claimed, raw)
        except asyncio.CancelledError:
            await asyncio.shield(self._hand_back(claimed))
            raise
        except BlobMissing:
            await self._fail(claimed, "The bytes of the recording are gone from the object store.")
        except VideoBroken as error:
            await self._try_again(claimed, error)
        except Unavailable as error:
            log.warning("recording %s waits: %s", claimed.id, error.message)
            await self._release(claimed, counts=False)
        else:
            await self._save(claimed.finished(video, now=self._clock.now()))
            await self._discard(raw.key)
            log.info("recording %s is a video of %d bytes", claimed.id, video.size_bytes)

    async def _make(self, claimed: Artifact, raw: Blob) -> Blob:
        tally = Tally()
        async with self._videos.webm(self._blobs.get(raw.key)) as video:
            await self._blobs.put(claimed.write_key, tally.passing(video), content_type=FINISHED_RECORDING)
        return Blob(key=claimed.write_key, size_bytes=tally.sum.size_bytes, sha256=tally.sum.sha256)

    async def _try_again(self, claimed: Artifact, error: VideoBroken) -> None:
        log.warning("try %d of recording %s failed: %s", claimed.finish_tries, claimed.id, error)
        if claimed.finish_tries >= self._policy.max_tries:
            await self._fail(claimed, f"The recording could not be made into a video: {error}")
        else:
            await self._release(claimed, counts=True)

    async def _fail(self, claimed: Artifact, message: str) -> None:
        await self._save(claimed.failed(message, now=self._clock.now()))
        if claimed.blob is not None:
            await self._discard(claimed.blob.key)

    async def _hand_back(self, claimed: Artifact) -> None:
        """Let another copy, or our next life, begin at once; should it not work, the lease runs out."""
        released = claimed.released(now=self._clock.now(), retry_after=timedelta(0), counts=False)
        with contextlib.suppress(FleetError, TimeoutError):
            async with asyncio.timeout(_HAND_BACK_SECONDS):
                await self._save(released)

    async def _release(self, claimed: Artifact, *, counts: bool) -> None:
        wait = self._policy.retry_interval * claimed.finish_tries
        await self._save(claimed.released(now=self._clock.now(), retry_after=wait, counts=counts))

    @contextlib.asynccontextmanager
    async def _renewing(self, claimed: Artifact) -> AsyncIterator[None]:
        async def renew() -> None:
            while True:
                await asyncio.sleep(self._policy.lease_ttl.total_seconds() / 3)
                await self._renew(claimed)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _renew(self, claimed: Artifact) -> None:
        expire_time = self._clock.now() + self._policy.lease_ttl
        try:
            async with self._database.transaction() as tx:
                held = await tx.artifacts.renew(claimed, lease_expire_time=expire_time)
        except Unavailable:
            # The next turn tries again; the revision decides in the end.
            return
        if not held:
            log.warning("the claim on recording %s is lost", claimed.id)

    async def _fail_one_abandoned(self) -> bool:
        now = self._clock.now()
        async with self._database.transaction() as tx:
            artifact = await tx.artifacts.abandoned(
                before=now - self._policy.upload_ttl, unheard_before=now - self._policy.unheard_ttl
            )
            if artifact is None:
                return False
            await tx.artifacts.save(
                artifact.failed(
                    "The bytes never came: the session has ended, and its node has not brought them.", now=now
                )
            )
        return True

    async def _save(self, artifact: Artifact) -> None:
        async with self._database.transaction() as tx:
            await tx.artifacts.save(artifact)

    async def _discard(self, key: str) -> None:
        try:
            await self._blobs.delete(key)
        except Unavailable:
            log.warning("an object that nobody needs stays in the store: %s", key)
