"""Deletes what has expired, and forgets what nobody asks for any more."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from artifact_store.domain.artifact import Artifact
from artifact_store.domain.errors import ArtifactChanged
from artifact_store.domain.retention import Retention
from artifact_store.usecases.ports import BlobStore, Database
from fleetkit.clock import Clock

log = logging.getLogger(__name__)

# A pass is bounded; what is left waits for the next one.
_BATCH = 100
_BATCHES_IN_A_PASS = 10
_PRUNED_IN_A_PASS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryPolicy:
    """What expires when; how long a deletion that stopped half-way rests, and how long what events told is remembered.

    Events are remembered for longer than the bus keeps them, so that none comes after it was forgotten. So are ends
    of sessions without artifacts, for the sake of a node that brings some late; not for longer, since every pass
    looks at each of them.
    """

    retention: Retention
    lease_ttl: timedelta = timedelta(minutes=2)
    event_ttl: timedelta = timedelta(days=8)


class Expirer:
    """Any number of copies may run: what one deletes the others leave alone, until it has not got on for a while."""

    def __init__(self, *, database: Database, blobs: BlobStore, clock: Clock, policy: ExpiryPolicy) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._policy = policy

    async def delete_expired(self) -> int:
        """Delete artifacts that have expired, bytes first, and return how many. Raises Unavailable.

        Only artifacts in a final state expire: no upload and no making of a video is ever cut off. From the moment
        at which the deletion begins the artifact is not found; a deletion that stops half-way is taken up again.
        """
        count = 0
        for _ in range(_BATCHES_IN_A_PASS):
            batch = await self._claim()
            for artifact in batch:
                await self._delete(artifact)
                count += 1
            if len(batch) < _BATCH:
                break
        if count:
            log.info("deleted %d expired artifacts", count)
        return count

    async def forget(self) -> int:
        """Forget old events, and ended sessions of which nothing is left; return how many. Raises Unavailable."""
        before = self._clock.now() - self._policy.event_ttl
        async with self._database.transaction() as tx:
            events = await tx.inbox.prune(before=before, limit=_PRUNED_IN_A_PASS)
        async with self._database.transaction() as tx:
            ends = await tx.session_ends.prune(before=before, limit=_PRUNED_IN_A_PASS)
        return events + ends

    async def _claim(self) -> list[Artifact]:
        now = self._clock.now()
        async with self._database.transaction() as tx:
            expired = await tx.artifacts.expired(
                now=now, ended_before=self._policy.retention.ended_before(now), limit=_BATCH
            )
            deleting = [artifact.deleting(now=now, lease_ttl=self._policy.lease_ttl) for artifact in expired]
            for artifact in deleting:
                await tx.artifacts.save(artifact)
        return deleting

    async def _delete(self, artifact: Artifact) -> None:
        # Also what tries that failed have left there.
        for key in await self._blobs.keys(artifact.key_prefix):
            await self._blobs.delete(key)
        try:
            async with self._database.transaction() as tx:
                await tx.artifacts.remove(artifact)
        except ArtifactChanged:
            log.info("somebody else has gone on deleting artifact %s", artifact.id)
